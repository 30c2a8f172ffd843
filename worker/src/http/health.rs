//! `/health`, `/ready`, `/metrics` and `/v1/models`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sd_protocol::{Catalogue, Limits};
use serde::Serialize;

use super::App;
use super::error::ApiError;
use crate::{metrics, outlet};

/// `{"status": "…"}`
#[derive(Debug, Serialize)]
pub struct Status {
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

/// The body of `GET /v1/models`.
#[derive(Debug, Serialize)]
pub struct Models {
    #[serde(flatten)]
    catalogue: Catalogue,
    limits: Limits,
}

/// `GET /v1/models`: what may be asked for by name, and within which bounds.
pub async fn models(State(app): State<App>) -> Json<Models> {
    let offer = app.service.offer();
    Json(Models { catalogue: outlet::catalogue(offer), limits: offer.limits.clone() })
}
