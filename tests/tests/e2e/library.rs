//! What a gallery and a queue are made of, over plain HTTP and across a restart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use image::ImageFormat;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use reqwest::{Method, StatusCode};
use sd_protocol::{ErrorCode, JobList, JobState, JobView, TokensView, UploadView};
use sd_tests::api::{Api, expect_error};
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use crate::{long, quick, with};

async fn list(api: &Api, query: &str) -> Result<Vec<JobView>> {
    Ok(api.get(&format!("/v1/jobs?{query}")).await?.error_for_status()?.json::<JobList>().await?.jobs)
}

async fn ids(api: &Api, query: &str) -> Result<Vec<String>> {
    Ok(list(api, query).await?.into_iter().map(|job| job.id.as_str().to_owned()).collect())
}

async fn change(api: &Api, id: &str, change: Value) -> Result<JobView> {
    Ok(api.patch(&format!("/v1/jobs/{id}"), change.to_string()).await?.error_for_status()?.json().await?)
}

/// Which of two jobs wait, and where.
async fn waiting(api: &Api) -> Result<Vec<(String, Option<u32>)>> {
    let mut jobs = list(api, "state=queued").await?;
    jobs.sort_by_key(|job| job.queue_position);
    Ok(jobs.into_iter().map(|job| (job.id.as_str().to_owned(), job.queue_position)).collect())
}

/// When a job that is not kept is gone.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_picture_is_kept_found_and_shown_and_jobs_change_places() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_with(&folder, &["--keep-jobs", "1", "--drain-seconds", "0"]).await?;
    let api = worker.api();
    let drawn = api.submit(&with(quick(), json!({"id": "dear", "width": 512, "height": 256, "steps": 1}))).await?;
    let drawn = api.ended(drawn.id.as_str()).await?;
    assert!(change(api, "dear", json!({"favorite": true})).await?.favorite);
    for id in ["one", "two"] {
        api.submit(&with(quick(), json!({"id": id, "prompt": "Eine Straße 100%", "width": 64, "height": 64}))).await?;
        api.ended(id).await?;
    }
    // The older one leaves a moment after the newer one has ended; the favourite does not count.
    let left = async {
        while ids(api, "search=STRASSE+100%25").await? != ["two"] {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LEAVES_WITHIN, left).await.context("the older one stays")??;
    assert_eq!(ids(api, "search=BALLOON%20sunset&state=failed,succeeded").await?, ["dear"]);
    assert_eq!(ids(api, "favorite=true").await?, ["dear"]);
    assert_eq!(ids(api, "search=%25&favorite=true").await?, [""; 0], "a percent sign is one");

    let path = drawn.images[0].thumbnail_url.as_deref().context("a picture has a thumbnail")?;
    let thumbnail = api.get(path).await?.error_for_status()?;
    let header = |name| thumbnail.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    assert_eq!(header(CONTENT_TYPE).as_deref(), Some("image/jpeg"));
    assert!(header(CACHE_CONTROL).is_some_and(|value| value.starts_with("private") && value.contains("immutable")));
    let etag = header(ETAG).context("a thumbnail has an ETag")?;
    let small = thumbnail.bytes().await?;
    let picture = image::load_from_memory_with_format(&small, ImageFormat::Jpeg)?;
    assert_eq!((picture.width(), picture.height()), (256, 128));
    assert_eq!(api.get_with(path, &[("if-none-match", &etag)]).await?.status(), StatusCode::NOT_MODIFIED);
    expect_error(api.get("/v1/jobs/dear/images/1/thumbnail").await?, StatusCode::NOT_FOUND, ErrorCode::ImageNotFound)
        .await?;

    let running = api.submit(&with(long(), json!({"id": "running"}))).await?;
    for id in ["first", "second"] {
        api.submit(&with(long(), json!({"id": id}))).await?;
    }
    let mut events = api.events(running.id.as_str(), "?preview=none").await?;
    while events.next().await?.context("the job starts")?.name != "progress" {}
    let at = |first: &str, second: &str| vec![(first.to_owned(), Some(0)), (second.to_owned(), Some(1))];
    assert_eq!(waiting(api).await?, at("first", "second"));
    let moved = change(api, "second", json!({"priority": 3})).await?;
    assert_eq!((moved.queue_position, moved.request.priority), (Some(0), Some(3)));
    assert_eq!(waiting(api).await?, at("second", "first"));
    assert_eq!(ids(api, "state=queued,running").await?, ["second", "first", "running"]);
    let refused = api.patch("/v1/jobs/running", r#"{"priority": 1}"#).await?;
    expect_error(refused, StatusCode::CONFLICT, ErrorCode::NotWaiting).await?;
    drop(events);
    worker.terminate().await?;
    assert!(worker.exit_status().await?.success());

    let worker = Worker::start_with(&folder, &["--keep-jobs", "1"]).await?;
    let api = worker.api();
    assert_eq!(ids(api, "favorite=true").await?, ["dear"]);
    assert_eq!(ids(api, "search=BALLOON+sunset").await?, ["dear"]);
    assert_eq!(api.get(path).await?.error_for_status()?.bytes().await?, small);
    // The one that ran goes on first or has been begun already; behind it the order is the changed one.
    let order: Vec<String> = waiting(api).await?.into_iter().map(|(id, _)| id).filter(|id| id != "running").collect();
    ensure!(order == ["second", "first"] || order == ["first"], "after the restart: {order:?}");
    assert_eq!(api.view("second").await?.request.priority, Some(3));
    assert_eq!(api.delete("/v1/jobs/dear").await?.status(), StatusCode::NO_CONTENT, "which a favourite does not stop");
    expect_error(api.get(path).await?, StatusCode::NOT_FOUND, ErrorCode::JobNotFound).await?;
    Ok(())
}

#[tokio::test]
async fn every_fault_of_a_change_and_of_a_query_is_named() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let view = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    let path = format!("/v1/jobs/{}", view.id);
    let faults = async |response| -> Result<Vec<String>> {
        let error = expect_error(response, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
        Ok(error.details.into_iter().map(|detail| detail.field).collect())
    };
    let faulty = api.patch(&path, r#"{"priority": 99, "favourite": true, "favorite": 1}"#).await?;
    assert_eq!(faults(faulty).await?, ["favorite", "favourite", "priority"]);
    let faulty = api.get("/v1/jobs?state=odd,queued&favorite=maybe&limit=0&cursor=odd").await?;
    assert_eq!(faults(faulty).await?, ["state", "favorite", "limit", "cursor"]);
    assert_eq!(faults(api.get("/v1/jobs?stat=queued").await?).await?, ["query"]);
    let long = "a".repeat(600);
    assert_eq!(faults(api.get(&format!("/v1/jobs?search={long}")).await?).await?, ["search"]);
    expect_error(api.patch(&path, "[]").await?, StatusCode::BAD_REQUEST, ErrorCode::MalformedJson).await?;
    expect_error(api.patch(&path, "{").await?, StatusCode::BAD_REQUEST, ErrorCode::MalformedJson).await?;
    expect_error(api.patch("/v1/jobs/nobody", "{}").await?, StatusCode::NOT_FOUND, ErrorCode::JobNotFound).await?;
    assert_eq!(change(api, view.id.as_str(), json!({})).await?, view, "what says nothing changes nothing");
    assert_eq!(view.state, JobState::Succeeded);
    Ok(())
}

#[tokio::test]
async fn a_prompt_is_counted_and_an_upload_comes_back() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let prompt = format!("a (red:1.2) house BREAK {}", "hill, ".repeat(60));
    let body = json!({"prompt": prompt}).to_string();
    let view: TokensView = api.post("/v1/models/builtin/tokens", body).await?.error_for_status()?.json().await?;
    assert_eq!(view.tokens_max, 75);
    assert_eq!(view.chunks[0].text, "a red house");
    assert_eq!(view.chunks[1].tokens, 75, "{view:?}");
    assert!(view.chunks.iter().all(|chunk| chunk.tokens <= 75), "{view:?}");
    let hills: usize = view.chunks[1..].iter().map(|chunk| chunk.text.matches("hill").count()).sum();
    assert_eq!(hills, 60, "{view:?}");
    let unknown = api.post("/v1/models/nobody/tokens", r#"{"prompt": ""}"#).await?;
    expect_error(unknown, StatusCode::NOT_FOUND, ErrorCode::NotFound).await?;
    let faulty = api.post("/v1/models/builtin/tokens", "{}").await?;
    expect_error(faulty, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;

    let view = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    let file = api.picture(&view).await?;
    let upload: UploadView = api.upload("image/png", file.clone()).await?.error_for_status()?.json().await?;
    let path = format!("/v1/uploads/{}", upload.id);
    let found = api.get(&path).await?.error_for_status()?;
    assert_eq!(found.headers()["content-type"], "image/png");
    assert_eq!(found.headers()["etag"], format!("\"{}\"", upload.id).as_str());
    assert!(found.headers()["cache-control"].to_str()?.starts_with("private"));
    assert_eq!(found.bytes().await?, file);
    let part = api.get_with(&path, &[("range", "bytes=8-15")]).await?;
    assert_eq!((part.status(), part.headers()["content-type"].to_str()?), (StatusCode::PARTIAL_CONTENT, "image/png"));
    let etag = format!("\"{}\"", upload.id);
    assert_eq!(api.get_with(&path, &[("if-none-match", &etag)]).await?.status(), StatusCode::NOT_MODIFIED);
    let nothing = api.get(&format!("/v1/uploads/{}", "0f".repeat(32))).await?;
    expect_error(nothing, StatusCode::NOT_FOUND, ErrorCode::UploadNotFound).await?;
    Ok(())
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_change_jobs() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral", "--cors-origin", "https://example.org"]).await?;
    let asked = [("origin", "https://example.org"), ("access-control-request-method", "PATCH")];
    let answer = worker.api().request(Method::OPTIONS, "/v1/jobs/any", &asked).await?;
    let allowed = answer.headers()["access-control-allow-methods"].to_str()?;
    assert!(allowed.split(',').any(|method| method == "PATCH"), "{allowed}");
    Ok(())
}
