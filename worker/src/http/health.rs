//! `/health`, `/ready`, `/metrics` and `/v1/models`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sd_protocol::{Catalogue, Limits, Quota};
use serde::Serialize;

use super::App;
use super::error::ApiError;
use crate::access::Caller;
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
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<Quota>,
}

/// `GET /v1/models`: what may be asked for by name, and within which bounds.
pub async fn models(State(app): State<App>, caller: Caller) -> Json<Models> {
    let offer = app.service.offer();
    let (catalogue, limits) = (outlet::catalogue(offer), offer.limits.clone());
    Json(Models { catalogue, limits, quota: app.service.quota(&caller) })
}
