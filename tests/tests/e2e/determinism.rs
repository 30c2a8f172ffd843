//! A seed is a picture, whatever the transport.

use anyhow::Result;
use sd_protocol::JobState;
use sd_tests::socket::Socket;
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use crate::{quick, with};

async fn over_http(worker: &Worker, job: &Value) -> Result<Vec<u8>> {
    let view = worker.api().ended(worker.api().submit(job).await?.id.as_str()).await?;
    assert_eq!(view.state, JobState::Succeeded, "{view:?}");
    worker.api().picture(&view).await
}

async fn over_socket(worker: &Worker, job: &Value) -> Result<Vec<u8>> {
    let mut socket = Socket::greet(worker).await?;
    let id = socket.submit(0, job).await?.view.id;
    socket.log(&id).await?;
    worker.api().picture(&worker.api().view(id.as_str()).await?).await
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() -> Result<()> {
    let worker = Worker::start().await?;
    for scheduler in ["ddim", "euler_a"] {
        let job = with(quick(), json!({"scheduler": scheduler, "steps": 5}));
        let silent = with(job.clone(), json!({"preview": {"mode": "none"}}));
        let first = over_http(&worker, &job).await?;
        assert_eq!(first, over_http(&worker, &job).await?, "{scheduler}, twice over HTTP");
        assert_eq!(first, over_http(&worker, &silent).await?, "{scheduler}, without previews");
        assert_eq!(first, over_socket(&worker, &job).await?, "{scheduler}, over the WebSocket");
        assert_eq!(first, over_socket(&worker, &silent).await?, "{scheduler}, over the WebSocket without previews");
        let other = with(job, json!({"seed": 8}));
        assert_ne!(first, over_http(&worker, &other).await?, "{scheduler}, another seed");
    }
    Ok(())
}

#[tokio::test]
async fn another_process_draws_the_same() -> Result<()> {
    let first = over_http(&Worker::start().await?, &quick()).await?;
    assert_eq!(first, over_http(&Worker::start().await?, &quick()).await?);
    Ok(())
}

#[tokio::test]
async fn a_drawn_seed_is_reported_and_repeats() -> Result<()> {
    let worker = Worker::start().await?;
    let Value::Object(mut job) = quick() else { panic!("a job is an object") };
    job.remove("seed");
    let drawn = worker.api().submit(&Value::Object(job.clone())).await?;
    let seed = drawn.request.seed.expect("the view fills in the seed");
    let view = worker.api().ended(drawn.id.as_str()).await?;
    assert_eq!(view.images[0].seed, seed);
    let again = over_http(&worker, &with(quick(), json!({"seed": seed}))).await?;
    assert_eq!(worker.api().picture(&view).await?, again);
    let other = worker.api().submit(&Value::Object(job)).await?;
    assert_ne!(other.request.seed, Some(seed));
    Ok(())
}
