//! The documents of the API, as a running worker serves them.

use anyhow::Result;
use reqwest::StatusCode;
use sd_protocol::ErrorCode;
use sd_tests::api::expect_error;
use sd_tests::worker::Worker;
use serde_json::Value;

#[tokio::test]
async fn a_worker_describes_itself() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let openapi: Value = api.get("/openapi.json").await?.error_for_status()?.json().await?;
    assert_eq!(openapi["openapi"], "3.1.0");
    let asyncapi: Value = api.get("/asyncapi.json").await?.error_for_status()?.json().await?;
    assert_eq!(asyncapi["asyncapi"], "3.0.0");

    let page = api.get("/docs").await?.error_for_status()?;
    let policy = page.headers()["content-security-policy"].to_str()?.to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("style-src 'self'"), "{policy}");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = page.text().await?;
    for path in openapi["paths"].as_object().into_iter().flatten().map(|(path, _)| path) {
        assert!(page.contains(path), "the page leaves out {path}");
    }
    let style = api.get("/docs/style.css").await?.error_for_status()?;
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    Ok(())
}

#[tokio::test]
async fn what_no_document_describes_is_refused_in_the_same_form() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    expect_error(api.get("/v1/ws").await?, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    expect_error(api.get("/v1/jobs/%ff").await?, StatusCode::NOT_FOUND, ErrorCode::NotFound).await?;
    expect_error(api.get("/docs/nothing").await?, StatusCode::NOT_FOUND, ErrorCode::NotFound).await?;
    let refused = api.delete("/openapi.json").await?;
    assert_eq!(refused.headers()["allow"], "GET,HEAD");
    expect_error(refused, StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed).await?;
    Ok(())
}
