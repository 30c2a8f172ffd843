//! The life of a job over plain HTTP.

use anyhow::{Context, Result, ensure};
use image::ImageFormat;
use reqwest::StatusCode;
use sd_protocol::{ErrorCode, Event, JobList, JobState};
use sd_tests::api::{SseEvent, expect_error};
use sd_tests::worker::Worker;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{long, quick, with};

#[tokio::test]
async fn a_job_goes_from_submit_to_picture() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let response = api.post("/v1/jobs", quick().to_string()).await?;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let location = response.headers().get("location").context("no Location")?.to_str()?.to_owned();
    let accepted: Value = response.json().await?;
    assert_eq!(location, format!("/v1/jobs/{}", accepted["id"].as_str().context("an id is a string")?));
    assert_eq!(accepted["stream_url"], format!("{location}/stream"));
    for field in ["model", "rng", "clip_skip", "guidance_scale", "batch_size", "scheduler", "sigmas", "preview"] {
        assert!(!accepted["request"][field].is_null(), "the view leaves out {field}: {accepted}");
    }

    let view = api.ended(accepted["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(view.state, JobState::Succeeded, "{view:?}");
    assert_eq!((view.step, view.steps), (4, 4));
    assert!(view.created_at_ms <= view.started_at_ms.unwrap() && view.started_at_ms <= view.finished_at_ms);
    let timings = view.timings.context("an ended job has timings")?;
    assert!(timings.denoise_ms > 0.0 && timings.decode_ms > 0.0, "{timings:?}");
    assert_eq!(api.get(&location).await?.json::<Value>().await?, serde_json::to_value(&view)?);

    let image = &view.images[0];
    let png = api.picture(&view).await?;
    assert_eq!(image::guess_format(&png)?, ImageFormat::Png);
    let picture = image::load_from_memory(&png)?;
    assert_eq!((picture.width(), picture.height()), (128, 128));
    assert_eq!((image.width, image.height, image.seed), (128, 128, 7));
    let digest: String = Sha256::digest(&png).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(image.sha256, digest);
    Ok(())
}

#[tokio::test]
async fn a_picture_has_an_etag_and_ranges() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let view = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    let (url, png) = (view.images[0].url.as_str(), api.picture(&view).await?);

    let whole = api.get(url).await?;
    assert_eq!(whole.headers()["content-type"], "image/png");
    let etag = whole.headers()["etag"].to_str()?.to_owned();
    assert_eq!(etag, format!("\"{}\"", view.images[0].sha256));
    let known = api.get_with(url, &[("if-none-match", &etag)]).await?;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    assert!(known.bytes().await?.is_empty());
    let other = api.get_with(url, &[("if-none-match", "\"another\"")]).await?;
    assert_eq!(other.status(), StatusCode::OK);

    let part = api.get_with(url, &[("range", "bytes=8-15")]).await?;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], format!("bytes 8-15/{}", png.len()).as_str());
    assert_eq!(part.bytes().await?, png[8..16]);
    let beyond = api.get_with(url, &[("range", "bytes=999999999-")]).await?;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    Ok(())
}

#[tokio::test]
async fn the_list_is_newest_first_and_has_pages() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let mut ids = Vec::new();
    for seed in 0..5 {
        let job = with(quick(), json!({"seed": seed, "steps": 1, "width": 64, "height": 64}));
        ids.push(api.submit(&job).await?.id);
    }
    api.ended(ids[4].as_str()).await?;
    ids.reverse();

    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page: JobList = api.get(&format!("/v1/jobs?limit=2{cursor}")).await?.json().await?;
        assert!(page.jobs.len() <= 2);
        listed.extend(page.jobs.into_iter().map(|job| job.id));
        pages += 1;
        let Some(next) = page.next_cursor else { break };
        ensure!(pages < 5, "the pages do not end");
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, ids);

    let succeeded: JobList = api.get("/v1/jobs?state=succeeded").await?.json().await?;
    assert_eq!(succeeded.jobs.len(), 5);
    let failed: JobList = api.get("/v1/jobs?state=failed").await?.json().await?;
    assert_eq!(failed.jobs.len(), 0);
    expect_error(api.get("/v1/jobs?limit=0").await?, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    expect_error(api.get("/v1/jobs?state=odd").await?, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    expect_error(api.get("/v1/jobs?cursor=odd").await?, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    Ok(())
}

#[tokio::test]
async fn cancel_is_idempotent_whatever_the_state() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let running = api.submit(&long()).await?.id;
    let queued = api.submit(&with(long(), json!({"seed": 8}))).await?.id;
    let mut events = api.events(running.as_str(), "?preview=none").await?;
    while let Some(event) = events.next().await? {
        if matches!(event.frame.map(|frame| frame.event), Some(Event::Progress { .. })) {
            break;
        }
    }
    for id in [&queued, &running] {
        api.cancel(id.as_str()).await?;
        api.cancel(id.as_str()).await?;
        let view = api.ended(id.as_str()).await?;
        assert_eq!(view.state, JobState::Canceled);
        assert!(view.images.is_empty() && view.error.is_none(), "{view:?}");
        assert_eq!(api.cancel(id.as_str()).await?, view);
    }
    let done = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    assert_eq!(api.cancel(done.id.as_str()).await?, done, "a job that succeeded stays as it is");
    Ok(())
}

#[tokio::test]
async fn the_event_stream_resumes() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let id = api.submit(&quick()).await?.id;
    let live = api.events(id.as_str(), "").await?.rest().await?;
    let previews = live.iter().filter(|event| event.name == "preview").count();
    assert!(previews >= 1, "a stream has previews unless told otherwise: {live:?}");
    for event in &live {
        let seq = event.frame.as_ref().and_then(|frame| frame.seq);
        assert_eq!(event.id, seq.map(|seq| seq.to_string()), "durable events and only those have an id: {event:?}");
        if let Some(frame) = &event.frame {
            assert_eq!(event.name, frame.event.name());
        }
    }
    let durable = |events: Vec<SseEvent>| -> Vec<_> {
        assert!(events.last().is_none_or(|event| event.name == "succeeded"), "after the end, silence: {events:?}");
        events.into_iter().filter(|event| event.id.is_some()).map(|event| (event.name, event.data)).collect()
    };
    let live = durable(live);
    let names: Vec<_> = live.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["queued", "started", "image", "succeeded"]);

    let replayed = api.events(id.as_str(), "?after=2").await?.rest().await?;
    assert_eq!(durable(replayed), live[2..]);
    let resumed = api.events_with(id.as_str(), "?after=1", &[("last-event-id", "3")]).await?.rest().await?;
    assert_eq!(durable(resumed), live[3..], "a reconnecting browser's header beats the address");
    let silent = api.get(&format!("/v1/jobs/{id}/stream?after=4")).await?;
    assert_eq!(silent.status(), StatusCode::NO_CONTENT, "which tells a browser not to connect again");
    Ok(())
}

#[tokio::test]
async fn an_id_makes_submit_repeatable() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let job = with(quick(), json!({"id": "mine"}));
    let first = api.submit(&job).await?;
    let again = api.submit(&job).await?;
    assert_eq!((first.id.as_str(), &first.id), ("mine", &again.id));
    assert_eq!(first.created_at_ms, again.created_at_ms);
    let other = with(job, json!({"seed": 8})).to_string();
    expect_error(api.post("/v1/jobs", other).await?, StatusCode::CONFLICT, ErrorCode::IdConflict).await?;
    let list: JobList = api.get("/v1/jobs").await?.json().await?;
    assert_eq!(list.jobs.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_named() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let missing = StatusCode::NOT_FOUND;
    for path in ["/v1/jobs/nobody", "/v1/jobs/nobody/stream", "/v1/jobs/nobody/images/0", "/v1/jobs/%20"] {
        expect_error(api.get(path).await?, missing, ErrorCode::JobNotFound).await.context(path)?;
    }
    expect_error(api.post("/v1/jobs/nobody/cancel", "").await?, missing, ErrorCode::JobNotFound).await?;
    expect_error(api.delete("/v1/jobs/nobody").await?, missing, ErrorCode::JobNotFound).await?;
    expect_error(api.get("/v1/nothing").await?, missing, ErrorCode::NotFound).await?;
    let status = StatusCode::METHOD_NOT_ALLOWED;
    expect_error(api.delete("/v1/jobs").await?, status, ErrorCode::MethodNotAllowed).await?;

    let view = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    let path = format!("/v1/jobs/{}", view.id);
    expect_error(api.get(&format!("{path}/images/1")).await?, missing, ErrorCode::ImageNotFound).await?;
    assert_eq!(api.delete(&path).await?.status(), StatusCode::NO_CONTENT);
    expect_error(api.get(&path).await?, missing, ErrorCode::JobNotFound).await?;
    Ok(())
}

#[tokio::test]
async fn the_catalogue_says_what_can_be_asked_for() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let models: Value = api.get("/v1/models").await?.error_for_status()?.json().await?;
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|entry| Some(entry["name"].as_str()?.to_owned())).collect()
    };
    assert!(!names(&models["models"]).is_empty(), "{models}");
    let schedulers = names(&models["schedulers"]);
    assert!(schedulers.len() >= 4, "{schedulers:?}");
    for scheduler in schedulers {
        let view = api.submit(&with(quick(), json!({"scheduler": scheduler, "width": 64, "height": 64}))).await?;
        let view = api.ended(view.id.as_str()).await?;
        assert_eq!(view.state, JobState::Succeeded, "{scheduler}: {view:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_preview_decoder_is_fetched_once() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let models: Value = api.get("/v1/models").await?.error_for_status()?.json().await?;
    let path = models["models"][0]["preview_decoder"].as_str().context("the built-in model has a preview decoder")?;
    let answer = api.get(path).await?.error_for_status()?;
    let etag = answer.headers()["etag"].to_str()?.to_owned();
    let file = answer.bytes().await?;
    let digest: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(etag, format!("\"{digest}\""));
    assert_eq!(api.get_with(path, &[("if-none-match", &etag)]).await?.status(), StatusCode::NOT_MODIFIED);
    let nobody = api.get("/v1/models/nobody/preview-decoder").await?;
    expect_error(nobody, StatusCode::NOT_FOUND, ErrorCode::NotFound).await?;
    Ok(())
}

#[tokio::test]
async fn a_batch_is_its_seeds() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let batch = api.submit(&with(quick(), json!({"batch_size": 2}))).await?;
    let batch = api.ended(batch.id.as_str()).await?;
    let seeds: Vec<_> = batch.images.iter().map(|image| (image.index, image.seed)).collect();
    assert_eq!(seeds, [(0, 7), (1, 8)]);
    assert_ne!(batch.images[0].sha256, batch.images[1].sha256);
    Ok(())
}
