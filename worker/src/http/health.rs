//! `/health`, `/ready` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use sd_protocol::DeviceEntry;
use serde::Serialize;

use super::App;
use super::error::ApiError;
use crate::{metrics, outlet};

/// What `/health` says when all is well.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// One word.
    status: &'static str,
}

/// What `/ready` says when all is well.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Readiness {
    /// One word.
    status: &'static str,
    /// What draws.
    devices: Vec<DeviceEntry>,
}

/// `GET /health`: the process answers.
pub async fn health() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// `GET /ready`: a job submitted now would start, or wait only for other jobs.
pub async fn ready(State(app): State<App>) -> Result<Json<Readiness>, ApiError> {
    app.service.readiness().map_err(ApiError::not_ready)?;
    Ok(Json(Readiness { status: "ready", devices: outlet::devices(app.service.offer()) }))
}

/// `GET /metrics`: what is counted, for Prometheus.
pub async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], app.service.metrics_text()).into_response()
}
