//! Several devices: a thread draws on each, and the next job goes to whichever is free.

use sd_protocol::{ErrorCode, JobState};
use sd_worker::jobs::Store;
use serde_json::json;

use super::{Setting, Worker, ended};

async fn with_two() -> Worker {
    Worker::with(Setting { devices: 2, ..Setting::over(Store::ephemeral().unwrap()) }).await
}

#[tokio::test]
async fn two_jobs_are_drawn_at_the_same_time_and_the_third_waits() {
    let worker = with_two().await;
    let (first, second) = (worker.submit_held().await, worker.submit_held().await);
    let third = worker.submit(json!({"prompt": "third"})).await;
    for cell in [&first, &second] {
        assert_eq!(cell.view().state, JobState::Running);
    }
    assert_eq!((third.view().state, third.view().queue_position), (JobState::Queued, Some(0)));
    worker.cancel(&second).await;
    assert_eq!(ended(&second).await.state, JobState::Canceled);
    assert_eq!(ended(&third).await.state, JobState::Succeeded, "on the device that came free");
    assert_eq!(first.view().state, JobState::Running);
    worker.script.open_gate();
    assert_eq!(ended(&first).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn a_fault_on_one_device_leaves_the_others_alone() {
    let worker = with_two().await;
    let held = worker.submit_held().await;
    let bad = worker.submit(json!({"prompt": "panic"})).await;
    assert_eq!(ended(&bad).await.error.map(|error| error.code), Some(ErrorCode::Internal));
    let good = worker.submit(json!({"prompt": "good"})).await;
    assert_eq!(ended(&good).await.state, JobState::Succeeded);
    assert_eq!(held.view().state, JobState::Running);
    worker.stop().await;
}

#[tokio::test]
async fn memory_that_runs_out_is_said() {
    let worker = with_two().await;
    let huge = worker.submit(json!({"prompt": "out of memory"})).await;
    let error = ended(&huge).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    assert!(error.message.contains("a smaller picture"), "{}", error.message);
    worker.stop().await;
}
