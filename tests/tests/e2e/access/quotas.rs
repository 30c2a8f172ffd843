//! What a credential may use, and what happens beyond it.

use anyhow::{Context, Result};
use reqwest::{Response, StatusCode};
use sd_protocol::{ErrorBody, ErrorCode, JobState, Quota, SessionFrame};
use sd_tests::api::expect_error;
use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::{TokenFile, Worker};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::hello;
use crate::{long, quick, with};

async fn expect_exhausted(response: Response) -> Result<(ErrorBody, Option<u64>)> {
    let later =
        response.headers().get("retry-after").map(|seconds| anyhow::Ok(seconds.to_str()?.parse()?)).transpose()?;
    let error = expect_error(response, StatusCode::TOO_MANY_REQUESTS, ErrorCode::QuotaExceeded).await?;
    Ok((error, later))
}

#[tokio::test]
async fn a_credential_may_have_so_many_jobs_waiting() -> Result<()> {
    let tokens = TokenFile::new(&[("small", "queued-jobs = 1"), ("other", "")]).await?;
    let worker = Worker::start_guarded(&["--ephemeral"], &tokens, None).await?;
    let (small, other) = (worker.api_as(tokens.token(0))?, worker.api_as(tokens.token(1))?);
    let running = small.submit(&long()).await?;
    let mut events = small.events(running.id.as_str(), "").await?;
    while events.next().await?.context("the job starts")?.name != "started" {}
    let waiting = small.submit(&with(quick(), json!({"id": "waits"}))).await?;
    let third = small.post("/v1/jobs", quick().to_string()).await?;
    let (error, later) = expect_exhausted(third).await?;
    assert!(later.is_some() && error.retry_after_ms.is_some(), "a place comes free: {error:?}");
    let again = small.submit(&with(quick(), json!({"id": "waits"}))).await?;
    assert_eq!(again.id, waiting.id, "a job that is there already is no further one");
    other.submit(&quick()).await?;
    small.cancel(waiting.id.as_str()).await?;
    small.submit(&quick()).await?;
    small.cancel(running.id.as_str()).await?;
    Ok(())
}

#[tokio::test]
async fn pixels_are_counted_by_the_hour_and_over_a_restart() -> Result<()> {
    let folder = TempDir::new()?;
    let flags = ["--data-dir", folder.path().to_str().context("a plain name")?];
    // 128 × 128, twice 128 × 64, and 64 × 64.
    let tokens = TokenFile::new(&[("small", "pixels-per-hour = 36_864"), ("other", "")]).await?;
    let worker = Worker::start_guarded(&flags, &tokens, None).await?;
    let small = worker.api_as(tokens.token(0))?;
    let first = small.submit(&quick()).await?;
    assert_eq!(small.ended(first.id.as_str()).await?.state, JobState::Succeeded);
    let held = small.submit(&with(long(), json!({"width": 128, "height": 64}))).await?;
    let unstarted = small.submit(&with(quick(), json!({"width": 64, "height": 64}))).await?;
    small.cancel(unstarted.id.as_str()).await?;
    small.submit(&with(quick(), json!({"width": 128, "height": 64}))).await?;
    small
        .submit(&with(quick(), json!({"width": 64, "height": 64})))
        .await
        .context("what never started is given back")?;
    small.cancel(held.id.as_str()).await?;
    let answer = small.post("/v1/jobs", quick().to_string()).await?;
    let (error, later) = expect_exhausted(answer).await?;
    assert!(later.is_some_and(|seconds| (1..=3610).contains(&seconds)), "{later:?} {error:?}");
    let never = small.post("/v1/jobs", with(quick(), json!({"width": 256, "height": 256})).to_string()).await?;
    assert_eq!(expect_exhausted(never).await?.1, None, "time does not heal this");

    assert_eq!(small.delete(&format!("/v1/jobs/{}", first.id)).await?.status(), StatusCode::NO_CONTENT);
    let answer = small.post("/v1/jobs", quick().to_string()).await?;
    expect_exhausted(answer).await.context("a job that was forgotten was drawn all the same")?;
    worker.api_as(tokens.token(1))?.submit(&quick()).await?;

    worker.terminate().await?;
    worker.exit_status().await?;
    let worker = Worker::start_guarded(&flags, &tokens, None).await?;
    let small = worker.api_as(tokens.token(0))?;
    let more = with(quick(), json!({"width": 192, "height": 192}));
    expect_exhausted(small.post("/v1/jobs", more.to_string()).await?).await.context("after a restart")?;
    Ok(())
}

#[tokio::test]
async fn uploads_are_counted_over_both_transports() -> Result<()> {
    let picture = {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 7]))
            .write_to(&mut bytes, image::ImageFormat::Png)?;
        bytes.into_inner()
    };
    let quota = format!("upload-bytes-per-hour = {}", 2 * picture.len() + 1);
    let tokens = TokenFile::new(&[("small", &quota)]).await?;
    let worker = Worker::start_guarded(&["--ephemeral"], &tokens, None).await?;
    let small = worker.api_as(tokens.token(0))?;
    assert_eq!(small.upload("image/png", picture.clone()).await?.status(), StatusCode::CREATED);
    let mut socket = Socket::connect(&worker).await?;
    hello(&mut socket, Some(tokens.token(0)), None).await?;
    let quota = socket.take("welcome", |incoming| match incoming {
        Incoming::Session(SessionFrame::Welcome { quota, .. }) => Some(*quota),
        _ => None,
    });
    let bytes = Some(2 * picture.len() as u64 + 1);
    assert_eq!(quota.await?, Some(Quota { upload_bytes_per_hour: bytes, ..Quota::default() }));
    let models: Value = small.get("/v1/models").await?.json().await?;
    assert_eq!(models["quota"], json!({"upload_bytes_per_hour": bytes}));
    assert!(socket.upload(1, &picture).await?.is_ok());
    let refused = socket.upload(2, &picture).await?;
    assert!(refused.as_ref().is_err_and(|error| error.code == ErrorCode::QuotaExceeded), "{refused:?}");
    assert!(expect_exhausted(small.upload("image/png", picture).await?).await?.1.is_some());
    Ok(())
}
