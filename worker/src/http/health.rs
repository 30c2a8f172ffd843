//! `/health`, `/ready` and `/v1/models`.

use axum::Json;
use axum::extract::State;
use sd_protocol::{Catalogue, ErrorCode, Limits};
use serde::Serialize;

use super::App;
use super::error::ApiError;
use crate::engine::EngineStatus;
use crate::outlet;

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
    match app.service.engine_status() {
        EngineStatus::Ready => Ok(Json(Status { status: "ready" })),
        EngineStatus::Loading => Err(ApiError::new(ErrorCode::Loading, "the default model is being loaded")),
        EngineStatus::Failed(reason) => Err(ApiError::new(ErrorCode::ModelUnavailable, reason)),
        EngineStatus::Stopped => Err(ApiError::new(ErrorCode::ShuttingDown, "the worker is shutting down")),
    }
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
