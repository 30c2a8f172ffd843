//! `/health`, `/ready`, `/metrics` and `/v1/models`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use sd_protocol::ModelsView;
use serde::Serialize;

use super::App;
use super::error::ApiError;
use crate::access::Caller;
use crate::{metrics, outlet};

/// What `/health` and `/ready` say when all is well.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// One word.
    status: &'static str,
}

/// `GET /health`: the process answers.
pub async fn health() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// `GET /ready`: a job submitted now would start, or wait only for other jobs.
pub async fn ready(State(app): State<App>) -> Result<Json<Status>, ApiError> {
    app.service.readiness().map_err(ApiError::not_ready)?;
    Ok(Json(Status { status: "ready" }))
}

/// `GET /metrics`: what is counted, for Prometheus.
pub async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], app.service.metrics_text()).into_response()
}

/// `GET /v1/models`: what may be asked for by name, and within which bounds.
pub async fn models(State(app): State<App>, caller: Caller) -> Json<ModelsView> {
    let offer = app.service.offer();
    let (catalogue, limits) = (outlet::catalogue(offer), offer.limits.clone());
    Json(ModelsView { catalogue, limits, quota: app.service.quota(&caller) })
}
