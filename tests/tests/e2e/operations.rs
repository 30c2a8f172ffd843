//! What an operator sees: metrics, readiness, the log, a full disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use sd_protocol::{ErrorCode, Event, JobState};
use sd_tests::api::expect_error;
use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use crate::{long, quick, with};

/// The value of a sample by its name with labels.
fn sample(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

#[tokio::test]
async fn metrics_tell_what_happened() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let mut socket = Socket::greet(&worker).await?;
    let done = socket.submit(0, &quick()).await?.view.id;
    assert_eq!(api.ended(done.as_str()).await?.state, JobState::Succeeded);
    let running = socket.submit(1, &long()).await?.view.id;
    let waiting = socket.submit(2, &quick()).await?.view.id;
    socket
        .take("progress of the second job", |incoming| match incoming {
            Incoming::Event(frame) if frame.job == running && matches!(frame.event, Event::Progress { .. }) => Some(()),
            _ => None,
        })
        .await?;
    let metrics = async || Ok::<_, anyhow::Error>(api.get("/metrics").await?.error_for_status()?.text().await?);
    let text = metrics().await?;
    assert_eq!(sample(&text, "sd_worker_jobs_waiting")?, 1.0);
    assert_eq!(sample(&text, "sd_worker_jobs_running")?, 1.0);
    assert_eq!(sample(&text, "sd_worker_jobs_total{outcome=\"succeeded\"}")?, 1.0);
    assert_eq!(sample(&text, "sd_worker_viewers{transport=\"websocket\"}")?, 1.0);
    assert_eq!(sample(&text, "sd_worker_model_loads_total{model=\"builtin\"}")?, 1.0);
    assert_eq!(sample(&text, "sd_worker_cache_misses_total{cache=\"texts\"}")?, 1.0, "the prompt");
    let hits = sample(&text, "sd_worker_cache_hits_total{cache=\"texts\"}")?;
    assert_eq!(hits, 1.0, "the empty prompt was encoded when the model was warmed");
    assert!(sample(&text, "sd_worker_step_seconds_count")? >= 4.0);
    assert!(sample(&text, "sd_worker_previews_sent_total{transport=\"websocket\"}")? >= 1.0);
    assert!(sample(&text, "sd_worker_sent_bytes_total{transport=\"websocket\"}")? > 1000.0);
    assert!(sample(&text, "sd_worker_memory_bytes")? > 10e6);

    for job in [&running, &waiting] {
        api.cancel(job.as_str()).await?;
        assert_eq!(api.ended(job.as_str()).await?.state, JobState::Canceled);
    }
    let text = metrics().await?;
    assert_eq!(sample(&text, "sd_worker_jobs_total{outcome=\"canceled\"}")?, 2.0);
    assert_eq!(sample(&text, "sd_worker_cancel_seconds_count")?, 2.0);
    println!("cancel took {} s, both together", sample(&text, "sd_worker_cancel_seconds_sum")?);
    Ok(())
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral", "--queue-jobs", "1"]).await?;
    let api = worker.api();
    let running = api.submit(&long()).await?.id;
    let mut events = api.events(running.as_str(), "?preview=none").await?;
    while events.next().await?.context("the job begins")?.name != "started" {}
    api.submit(&quick()).await?;
    let refused = api.post("/v1/jobs", quick().to_string()).await?;
    let wait: u64 = refused.headers().get("retry-after").context("a time to come back")?.to_str()?.parse()?;
    ensure!(wait >= 1);
    let error = expect_error(refused, StatusCode::TOO_MANY_REQUESTS, ErrorCode::QueueFull).await?;
    ensure!(error.retry_after_ms.is_some() && error.message.contains("1 jobs are waiting"), "{error:?}");
    expect_error(api.get("/ready").await?, StatusCode::SERVICE_UNAVAILABLE, ErrorCode::QueueFull).await?;
    api.cancel(running.as_str()).await?;
    Ok(())
}

/// A file system of its own size, as long as this value lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn new(size: &str) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path()).output();
        Ok(mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder)))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills what is left, up to a page or two.
    fn fill(&self, name: &str) -> Result<PathBuf> {
        let filler = self.path().join(name);
        let mut bytes = vec![0x5d; 8 << 20];
        while std::fs::write(&filler, &bytes).is_err() {
            ensure!(bytes.len() > 8 << 10, "a file of no size fits");
            bytes.truncate(bytes.len() - (8 << 10));
        }
        Ok(filler)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !Command::new("umount").arg("--lazy").arg(self.path()).status().is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}

#[tokio::test]
async fn a_full_disk_fails_jobs_and_not_the_worker() -> Result<()> {
    let Some(disk) = SmallDisk::new("6m")? else {
        println!("SKIPPED: a full disk is not tried, because this process may not mount a small one; run it as root");
        return Ok(());
    };
    let folder = disk.path().join("data");
    let folder = folder.to_str().context("a temporary folder has a plain name")?;
    let worker = Worker::spawn(&["--data-dir", folder]).await?;
    let api = worker.api();
    let kept = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    assert_eq!(kept.state, JobState::Succeeded);
    let picture = api.picture(&kept).await?;
    let running = api.submit(&long()).await?.id;
    let first = disk.fill("first")?;
    let failed = api.ended(running.as_str()).await?;
    assert_eq!(failed.error.map(|error| error.code), Some(ErrorCode::StorageFull));
    // The reserve is spent on the end of that job; without it, the next one cannot even be written down.
    let second = disk.fill("second")?;
    let refused = api.post("/v1/jobs", with(quick(), json!({"prompt": "p".repeat(12 << 10)})).to_string()).await?;
    expect_error(refused, StatusCode::INSUFFICIENT_STORAGE, ErrorCode::StorageFull).await?;
    assert_eq!(api.picture(&kept).await?, picture);

    std::fs::remove_file(&first)?;
    std::fs::remove_file(&second)?;
    let again = api.ended(api.submit(&with(quick(), json!({"seed": 9}))).await?.id.as_str()).await?;
    assert_eq!(again.state, JobState::Succeeded, "with room again, all is well");
    worker.kill().await?;
    let worker = Worker::spawn(&["--data-dir", folder]).await?;
    assert_eq!(worker.api().view(running.as_str()).await?.state, JobState::Failed, "what was told was stored");
    Ok(())
}

#[tokio::test]
async fn what_draws_is_said() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_with(&folder, &["--device", "cpu"]).await?;
    let cpu = json!([{"name": "cpu", "label": "CPU", "dtype": "f32"}]);
    for path in ["/ready", "/v1/models"] {
        let said: Value = worker.api().get(path).await?.error_for_status()?.json().await?;
        assert_eq!(said["devices"], cpu, "{path}");
    }
    for (device, way_out) in [("cuda", "cargo xtask cuda"), ("metal", "--features metal")] {
        let refusal = Worker::refusal(&["--ephemeral", "--device", device], &[]).await?;
        let sentence = format!("Error: --device {device} is not possible: this worker was built without it.");
        ensure!(refusal.contains(&sentence) && refusal.contains(way_out), "{refusal}");
    }
    Ok(())
}
