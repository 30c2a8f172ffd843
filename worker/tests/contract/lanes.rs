//! Lanes: the newest job takes the place of older ones, and of no others.

use sd_protocol::{Event, JobState};
use sd_worker::jobs::Store;
use serde_json::{Value, json};

use super::{Setting, Worker, ended, events, no_previews, wait_until};

fn stroke(prompt: &str, supersede: &str) -> Value {
    json!({"prompt": prompt, "lane": "canvas", "supersede": supersede})
}

#[tokio::test]
async fn the_newest_job_of_a_lane_takes_the_place_of_the_others() {
    let worker = Worker::start().await;
    let running = worker.submit(stroke("hold", "none")).await;
    wait_until(&running, |view| view.step >= 2).await;
    let waiting = worker.submit(stroke("waiting", "none")).await;
    let elsewhere = worker.submit(json!({"prompt": "elsewhere", "lane": "other"})).await;

    let polite = worker.submit(stroke("polite", "queued")).await;
    assert_eq!(ended(&waiting).await.state, JobState::Superseded);
    assert_eq!(running.view().state, JobState::Running, "queued means those that wait");
    let mut reader = waiting.read(0, no_previews());
    let news = reader.drain();
    let last = events(&news).last().map(|frame| frame.event.clone());
    assert_eq!(last, Some(Event::Superseded { by: polite.id().clone() }));
    assert!(reader.has_ended());

    let rude = worker.submit(stroke("rude", "running")).await;
    assert_eq!(ended(&running).await.state, JobState::Superseded);
    assert_eq!(ended(&polite).await.state, JobState::Superseded);
    assert_eq!(ended(&rude).await.state, JobState::Succeeded);
    assert_eq!(ended(&elsewhere).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn a_job_may_take_the_place_of_another_in_a_full_queue() {
    let worker = Worker::with(Setting { queue_jobs: 1, ..Setting::over(Store::ephemeral().unwrap()) }).await;
    let running = worker.submit_held().await;
    let mut waiting = worker.submit(stroke("first", "none")).await;
    for number in 0..3 {
        let next = worker.submit(stroke(&format!("stroke {number}"), "queued")).await;
        assert_eq!(waiting.view().state, JobState::Superseded);
        waiting = next;
    }
    assert!(worker.try_submit(json!({"prompt": "no lane"})).await.is_err());
    worker.cancel(&running).await;
    assert_eq!(ended(&waiting).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_is_just_starting_is_superseded_too() {
    let worker = Worker::start().await;
    let starting = worker.submit(stroke("hold before the first step", "none")).await;
    while worker.script.held() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(starting.view().state, JobState::Queued, "taken, and not begun");
    let newer = worker.submit(stroke("newer", "running")).await;
    assert_eq!(ended(&starting).await.state, JobState::Superseded);
    assert_eq!(ended(&newer).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn a_cancel_that_comes_when_all_is_drawn_loses_nothing() {
    let worker = Worker::start().await;
    let finishing = worker.submit(stroke("hold when drawn", "none")).await;
    while worker.script.held() == 0 {
        tokio::task::yield_now().await;
    }
    worker.cancel(&finishing).await;
    let newer = worker.submit(stroke("newer", "running")).await;
    worker.script.open_gate();
    let view = ended(&finishing).await;
    assert_eq!((view.state, view.images.len()), (JobState::Succeeded, 1));
    assert_eq!(ended(&newer).await.state, JobState::Succeeded);
    worker.stop().await;
}
