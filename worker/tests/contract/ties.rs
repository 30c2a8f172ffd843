//! Jobs that end with their submitter.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use sd_protocol::JobState;
use serde_json::json;

use super::{Worker, anyone, ended, wait_until};

#[tokio::test]
async fn a_job_ends_with_its_submitter_where_it_wants_that() {
    let worker = Worker::start().await;
    let tied = worker.try_submit(json!({"prompt": "hold", "on_disconnect": "cancel"})).await.unwrap();
    wait_until(&tied.cell, |view| view.step >= 2).await;
    let kept = worker.try_submit(json!({"prompt": "kept"})).await.unwrap();
    assert!(kept.tie.is_none());
    let untied = worker.try_submit(json!({"prompt": "untied", "on_disconnect": "cancel"})).await.unwrap();
    untied.tie.unwrap().untie();
    drop(tied.tie);
    assert_eq!(ended(&tied.cell).await.state, JobState::Canceled);
    assert_eq!(ended(&kept.cell).await.state, JobState::Succeeded);
    assert_eq!(ended(&untied.cell).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn a_submitter_that_leaves_before_the_answer_takes_its_job_along() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let mut left = Vec::new();
    for (id, on_disconnect) in [("tied", "cancel"), ("kept", "keep")] {
        {
            let job = json!({"prompt": "", "id": id, "on_disconnect": on_disconnect});
            let caller = anyone();
            let mut submit = pin!(worker.service.submit(&caller, job));
            // Begun, and then left alone, whether the answer is there already or not.
            let begun = submit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            drop(begun);
        }
        let cell = loop {
            match worker.service.find(&anyone(), id).await {
                Ok(cell) => break cell,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        left.push(cell);
    }
    assert_eq!(ended(&left[0]).await.state, JobState::Canceled);
    worker.cancel(&running).await;
    assert_eq!(ended(&left[1]).await.state, JobState::Succeeded);
    worker.stop().await;
}
