//! Jobs that follow each other in a lane, end with their socket, or are more urgent than others.

use anyhow::Result;
use sd_protocol::{Event, JobState};
use sd_tests::api::expect_error;
use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::Worker;
use serde_json::json;

use crate::{long, quick, with};

#[tokio::test]
async fn the_newest_word_is_drawn_and_the_older_ones_end() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let stroke = |seed| with(long(), json!({"lane": "canvas", "supersede": "running", "seed": seed}));
    let first = socket.submit(0, &stroke(0)).await?.view.id;
    let second = socket.submit(1, &stroke(1)).await?.view.id;
    let last = socket.submit(2, &with(stroke(2), json!({"steps": 4}))).await?.view.id;
    for (older, newer) in [(&first, &second), (&second, &last)] {
        let by = socket
            .take("the end of an older job", |incoming| match incoming {
                Incoming::Event(frame) if frame.job == *older => match &frame.event {
                    Event::Superseded { by } => Some(by.clone()),
                    _ => None,
                },
                _ => None,
            })
            .await?;
        assert!(by == *newer || by == last, "{older} was superseded by {by}");
        assert_eq!(worker.api().view(older.as_str()).await?.state, JobState::Superseded);
    }
    assert_eq!(worker.api().ended(last.as_str()).await?.state, JobState::Succeeded);
    let listed = worker.api().get("/v1/jobs?state=superseded").await?.text().await?;
    assert!(listed.contains(first.as_str()) && !listed.contains(last.as_str()));
    Ok(())
}

#[tokio::test]
async fn a_job_that_is_tied_ends_with_its_socket() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let tied = socket.submit(0, &with(long(), json!({"on_disconnect": "cancel"}))).await?.view.id;
    let kept = socket.submit(1, &quick()).await?.view.id;
    drop(socket);
    assert_eq!(worker.api().ended(tied.as_str()).await?.state, JobState::Canceled);
    assert_eq!(worker.api().ended(kept.as_str()).await?.state, JobState::Succeeded);

    // A plain call has no connection to be tied to.
    let plain = worker.api().submit(&with(quick(), json!({"on_disconnect": "cancel"}))).await?;
    assert_eq!(worker.api().ended(plain.id.as_str()).await?.state, JobState::Succeeded);
    Ok(())
}

#[tokio::test]
async fn a_key_makes_a_repeated_post_one_job() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    for key in ["order-7", "an order: \"7\", of \u{fc}"] {
        let post = async |seed: u32| {
            let job = with(quick(), json!({"seed": seed}));
            api.post_with("/v1/jobs", job.to_string(), &[("Idempotency-Key", key)]).await
        };
        let first: sd_protocol::JobView = post(1).await?.json().await?;
        let again: sd_protocol::JobView = post(1).await?.json().await?;
        assert_eq!(first.id, again.id);
        expect_error(post(2).await?, reqwest::StatusCode::CONFLICT, sd_protocol::ErrorCode::IdConflict).await?;
    }
    let endless = "k".repeat(256);
    let refused = api.post_with("/v1/jobs", quick().to_string(), &[("Idempotency-Key", &endless)]).await?;
    expect_error(refused, reqwest::StatusCode::BAD_REQUEST, sd_protocol::ErrorCode::InvalidRequest).await?;
    Ok(())
}
