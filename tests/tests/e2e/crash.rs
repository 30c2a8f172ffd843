//! A worker that is killed at any moment loses nothing that it acknowledged, and shows no picture that is torn.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use sd_protocol::limits::INTERRUPTIONS_MAX;
use sd_protocol::{ErrorCode, Event, JobState, JobView};
use sd_tests::api::Api;
use sd_tests::worker::Worker;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const KILLS: u32 = 50;
/// Longest life of a worker after it listens: some are killed while they load, some in the middle of many jobs.
const LIFE_MAX: Duration = Duration::from_millis(1200);
/// Nothing may leave to make room, and there is room for more than one life draws.
const FLAGS: [&str; 4] = ["--keep-jobs", "1000000", "--queue-jobs", "200"];

fn job(number: u32) -> Value {
    // Every third picture has a content of its own; the others share files.
    let seed = if number.is_multiple_of(3) { number } else { number % 3 };
    json!({
        "id": format!("crash-{number}"), "prompt": "a green hill at noon", "width": 64, "height": 64, "steps": 2,
        "seed": seed, "batch_size": 1 + number % 2,
    })
}

/// Submits jobs until the worker is gone; the names of those that it acknowledged.
async fn submit_until_killed(api: &Api, next: &mut u32) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let job = job(*next);
        match api.post("/v1/jobs", job.to_string()).await {
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                *next += 1;
                acknowledged.push(job["id"].as_str().unwrap_or_default().to_owned());
            }
            // A full queue empties while this waits for its turn.
            Ok(_) => tokio::task::yield_now().await,
            // Acknowledged or not, nobody can know: this one is not asked for again under its name.
            Err(_) => {
                *next += 1;
                return acknowledged;
            }
        }
    }
}

/// Checks the record of one job: numbered without a gap, one end, every picture once.
async fn check_record(api: &Api, view: &JobView) -> Result<()> {
    let events = api.events(view.id.as_str(), "?preview=none").await?.rest().await?;
    let frames: Vec<_> =
        events.into_iter().filter_map(|event| event.frame).filter(|frame| frame.seq.is_some()).collect();
    let numbers: Vec<_> = frames.iter().filter_map(|frame| frame.seq).collect();
    ensure!(numbers == (1..=view.last_seq).collect::<Vec<_>>(), "{numbers:?}");
    let ends = frames.iter().filter(|frame| frame.event.is_terminal()).count();
    ensure!(ends == 1 && frames.last().is_some_and(|frame| frame.event.is_terminal()), "{frames:?}");
    let pictures: Vec<_> = frames
        .iter()
        .filter_map(|frame| if let Event::Image { image } = &frame.event { Some(image.index) } else { None })
        .collect();
    ensure!(pictures.iter().collect::<BTreeSet<_>>().len() == pictures.len(), "{pictures:?}");
    let starts = frames.iter().filter(|frame| matches!(frame.event, Event::Started { .. })).count();
    match &view.error {
        None => ensure!(pictures.len() == view.request.batch_size.unwrap_or(1) as usize, "{pictures:?}"),
        Some(error) => {
            ensure!(error.code == ErrorCode::Interrupted && starts == INTERRUPTIONS_MAX, "{starts} starts: {error:?}");
        }
    }
    for image in &view.images {
        let file = api.get(&image.url).await?.error_for_status()?.bytes().await?;
        let sha256: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(sha256 == image.sha256, "{} is torn", image.url);
        image::load_from_memory(&file).with_context(|| format!("{} is no picture", image.url))?;
    }
    Ok(())
}

#[tokio::test]
async fn fifty_kills_lose_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut next, mut acknowledged) = (0, Vec::new());
    for _ in 0..KILLS {
        let worker = Worker::spawn_in(&folder, &FLAGS).await?;
        let api = Api::new(worker.address());
        let random = RandomState::new().build_hasher().finish();
        let life = LIFE_MAX.mul_f64(random as f64 / u64::MAX as f64);
        let (found, killed) = tokio::join!(submit_until_killed(&api, &mut next), async {
            tokio::time::sleep(life).await;
            worker.kill().await
        });
        killed?;
        acknowledged.extend(found);
    }

    let worker = Worker::start_with(&folder, &FLAGS).await?;
    let api = worker.api();
    let mut outcomes = BTreeMap::<&str, u32>::new();
    let mut known = BTreeSet::new();
    for id in &acknowledged {
        let view = api.ended(id).await.with_context(|| format!("{id} was acknowledged"))?;
        ensure!(matches!(view.state, JobState::Succeeded | JobState::Failed), "{id} is {:?}", view.state);
        check_record(api, &view).await.with_context(|| format!("the record of {id}"))?;
        *outcomes.entry(view.state.as_str()).or_default() += 1;
        known.extend(view.images.into_iter().map(|image| image.sha256));
    }
    ensure!(acknowledged.len() > KILLS as usize, "only {} jobs were acknowledged", acknowledged.len());
    ensure!(outcomes.contains_key("succeeded"), "{outcomes:?}");
    let files = std::fs::read_dir(folder.path().join("images"))?.count();
    println!(
        "{KILLS} kills: {} jobs acknowledged, {outcomes:?}, {} different pictures known, {files} files",
        acknowledged.len(),
        known.len()
    );
    Ok(())
}
