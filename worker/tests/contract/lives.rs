//! From one worker to the next: what is stored outlives a stop, a crash and a cut of the power.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sd_protocol::limits::INTERRUPTIONS_MAX;
use sd_protocol::{ErrorCode, JobState};
use sd_worker::engine::EngineStatus;
use sd_worker::jobs::{JobFilter, Retention, Store, StoreError};
use sd_worker::service::OnCrash;
use serde_json::json;
use tempfile::TempDir;

use super::{Setting, Worker, anyone, durable_names, ended, no_previews, wait_until};

/// What a power cut at this moment would leave of a data folder.
fn after_a_cut(folder: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                fs::create_dir(&target).unwrap();
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let copied = tempfile::tempdir().unwrap();
    copy(folder, copied.path());
    copied
}

#[tokio::test]
async fn a_stopping_worker_without_a_store_ends_every_job() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let waiting = worker.submit(json!({"prompt": "waiting"})).await;
    worker.service.stop_accepting().await;
    assert_eq!(ended(&waiting).await.error.map(|error| error.code), Some(ErrorCode::ShuttingDown));
    assert_eq!(running.view().state, JobState::Running, "what is drawn has its drain");
    worker.service.halt().await;
    assert_eq!(ended(&running).await.error.map(|error| error.code), Some(ErrorCode::ShuttingDown));
    let late = worker.try_submit(json!({"prompt": "late"})).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::ShuttingDown);
    assert_eq!(worker.service.readiness().unwrap_err().code, ErrorCode::ShuttingDown);
    let status = worker.engine.status();
    worker.stop().await;
    assert_eq!(*status.borrow(), EngineStatus::Stopped);
}

#[tokio::test]
async fn a_drained_worker_finishes_what_it_draws() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::over(folder.path()).await;
    let running = worker.submit_held().await;
    worker.service.stop_accepting().await;
    worker.script.open_gate();
    assert_eq!(ended(&running).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn the_next_worker_takes_up_what_the_last_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::over(folder.path()).await;
    let running = worker.submit(json!({"prompt": "hold", "id": "running", "seed": 5})).await;
    wait_until(&running, |view| view.step >= 2).await;
    worker.submit(json!({"prompt": "low", "id": "low", "priority": -1})).await;
    worker.submit(json!({"prompt": "high", "id": "high"})).await;
    worker.stop().await;
    assert_eq!((running.view().state, running.view().step), (JobState::Queued, 0));
    // Whoever holds a job holds its store.
    drop(running);

    let worker = Worker::over(folder.path()).await;
    let revived = worker.service.find(&anyone(), "running").await.unwrap();
    worker.script.open_gate();
    let view = ended(&revived).await;
    assert_eq!((view.state, view.images.len(), view.images[0].seed), (JobState::Succeeded, 1, 5));
    let log = durable_names(&revived.read(0, no_previews()).drain(), 0);
    assert_eq!(log, ["queued", "started", "queued", "started", "image", "succeeded"]);
    let mut started = Vec::new();
    for id in ["high", "low"] {
        let cell = worker.service.find(&anyone(), id).await.unwrap();
        let view = ended(&cell).await;
        assert_eq!(durable_names(&cell.read(0, no_previews()).drain(), 0), ["queued", "started", "image", "succeeded"]);
        started.push(view.started_at_ms);
    }
    assert!(started[0] <= started[1], "the more urgent one went first");
    worker.stop().await;
}

#[tokio::test]
async fn after_a_crash_jobs_run_again_or_are_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::over(folder.path()).await;
    let running = worker.submit_held().await;
    let waiting = worker.submit(json!({"prompt": "waiting"})).await;
    for (on_crash, outcome) in [(OnCrash::Rerun, JobState::Succeeded), (OnCrash::Fail, JobState::Failed)] {
        let cut = after_a_cut(folder.path());
        let setting = Setting { on_crash, ..Setting::over(Store::open(cut.path()).unwrap()) };
        let next = Worker::with(setting).await;
        next.script.open_gate();
        let rerun = next.service.find(&anyone(), running.id().as_str()).await.unwrap();
        let view = ended(&rerun).await;
        assert_eq!(view.state, outcome);
        if outcome == JobState::Failed {
            assert_eq!(view.error.map(|error| error.code), Some(ErrorCode::Interrupted));
        }
        let waited = next.service.find(&anyone(), waiting.id().as_str()).await.unwrap();
        assert_eq!(ended(&waited).await.state, JobState::Succeeded, "what had not begun is not interrupted");
        next.stop().await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_kills_its_worker_is_given_up() {
    let mut folder = tempfile::tempdir().unwrap();
    let mut id: Option<String> = None;
    for life in 1..=INTERRUPTIONS_MAX {
        let worker = Worker::over(folder.path()).await;
        let cell = match &id {
            None => worker.submit(json!({"prompt": "hold"})).await,
            Some(id) => worker.service.find(&anyone(), id).await.unwrap(),
        };
        wait_until(&cell, |view| view.step >= 2).await;
        assert_eq!(cell.starts(), life);
        id = Some(cell.id().as_str().to_owned());
        let cut = after_a_cut(folder.path());
        worker.stop().await;
        folder = cut;
    }
    let worker = Worker::over(folder.path()).await;
    let cell = worker.service.find(&anyone(), &id.unwrap()).await.unwrap();
    assert_eq!(ended(&cell).await.error.map(|error| error.code), Some(ErrorCode::Interrupted));
    worker.stop().await;
}

#[tokio::test]
async fn jobs_and_pictures_outlive_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::over(folder.path()).await;
    let done = ended(&worker.submit(json!({"prompt": "done", "id": "done"})).await).await;
    worker.stop().await;

    // What a crash left between a file and its row.
    let stray = folder.path().join("images").join("stray.png");
    fs::write(&stray, b"half a picture").unwrap();
    let worker = Worker::over(folder.path()).await;
    assert!(!stray.exists());
    let found = worker.service.find(&anyone(), "done").await.unwrap();
    assert_eq!(found.view(), done);
    let path = worker.service.image_path(&worker.service.image(&found, 0).unwrap());
    let image = image::open(&path).unwrap();
    assert_eq!((image.width(), image.height()), (64, 64));
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse(_))), "a data folder serves one worker");
    worker.service.forget(&anyone(), "done").await.unwrap();
    assert!(!path.exists());
    assert_eq!(worker.service.find(&anyone(), "done").await.unwrap_err().code, ErrorCode::JobNotFound);
    worker.stop().await;
}

#[tokio::test]
async fn the_oldest_jobs_make_room() {
    let keep = |jobs, bytes| Retention { jobs, age: None, bytes };
    let limits = [keep(2, None), keep(100, Some(1)), Retention { age: Some(Duration::ZERO), ..keep(100, None) }];
    for (retention, kept) in limits.into_iter().zip([2, 1, 1]) {
        let setting = Setting { retention, ..Setting::over(Store::ephemeral().unwrap()) };
        let worker = Worker::with(setting).await;
        for number in 0..4 {
            ended(&worker.submit(json!({"prompt": "", "id": format!("job-{number}"), "seed": number})).await).await;
        }
        worker.service.retain().await;
        let left = worker.service.list(&anyone(), JobFilter::default(), None, 10).await.unwrap();
        assert_eq!(left.len(), kept, "{retention:?}");
        assert_eq!(left[0].id.as_str(), "job-3", "the newest stays whatever it takes");
        let gone = worker.service.find(&anyone(), "job-0").await.unwrap_err();
        assert_eq!(gone.code, ErrorCode::JobExpired);
        let again = worker.submit(json!({"prompt": "", "id": "job-0"})).await;
        assert_eq!(ended(&again).await.state, JobState::Succeeded, "and its name may be used again");
        worker.stop().await;
    }
}
