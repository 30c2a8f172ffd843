//! The port: routes and the layers around them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`jobs`] | `/v1/jobs…`: submit, look, list, cancel, forget, pictures |
//! | [`uploads`] | `/v1/uploads`: pictures that jobs start from |
//! | [`stream`] | `/v1/jobs/{id}/stream`: server-sent events |
//! | [`socket`] | `/v1/ws`: the WebSocket |
//! | [`health`] | `/health`, `/ready`, `/metrics`, `/v1/models` |
//! | [`assets`] | the browser client |
//! | [`error`] | error codes → status codes, the only place |
//!
//! # Invariants
//! * Every answer that is no success is the error object of the protocol.
//! * The time limit is on answers, never on a stream that has begun.
//! * Handlers hold no lock and touch no disk; `service` does both off the async threads.

pub mod assets;
pub mod error;
pub mod health;
pub mod jobs;
pub mod socket;
pub mod stream;
pub mod uploads;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sd_protocol::limits::TEXT_BYTES_MAX;
use sd_protocol::{ErrorBody, ErrorCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::trace::{DefaultMakeSpan, DefaultOnResponse, TraceLayer};
use tracing::Level;

use self::error::ApiError;
use crate::service::Service;

/// Time that the head of an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// The worker behind the transports.
    pub service: Service,
    /// Set when the worker stops and every job has ended: streams say what is left and close.
    pub closing: CancellationToken,
    /// Open WebSockets, which the server itself loses sight of once they are upgraded.
    pub sockets: TaskTracker,
}

/// All routes. `cors_origins` lists the origins whose pages may use the API.
///
/// # Errors
/// The first origin that is no header value.
pub fn router(app: App, cors_origins: &[String]) -> Result<Router, InvalidOrigin> {
    let origins: Vec<HeaderValue> = cors_origins
        .iter()
        .map(|origin| origin.parse().map_err(|_| InvalidOrigin(origin.clone())))
        .collect::<Result<_, _>>()?;
    let trace = TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::DEBUG))
        .on_response(DefaultOnResponse::new().level(Level::DEBUG))
        .on_failure(());

    let router = Router::new()
        .route("/v1/jobs", post(jobs::submit).get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::view).delete(jobs::forget))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/stream", get(stream::stream))
        .route("/v1/jobs/{id}/images/{index}", get(jobs::image))
        .route("/v1/models", get(health::models))
        .route("/v1/ws", get(socket::upgrade))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(assets::serve)
        .layer(DefaultBodyLimit::max(TEXT_BYTES_MAX))
        .layer(middleware::from_fn(limit_time))
        // Outside both limits: it brings more and takes longer, and has limits of its own.
        .route("/v1/uploads", post(uploads::upload))
        .method_not_allowed_fallback(async || {
            ApiError::new(ErrorCode::MethodNotAllowed, "this route exists, but not with this method")
        })
        .with_state(app)
        .layer(CatchPanicLayer::custom(|_| ApiError::internal().into_response()))
        .layer(trace);
    if origins.is_empty() {
        return Ok(router);
    }
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::CONTENT_TYPE,
            header::HeaderName::from_static("last-event-id"),
            header::HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([header::LOCATION, header::ETAG, header::RETRY_AFTER]);
    Ok(router.layer(cors))
}

/// `--cors-origin` is not an origin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin; write it as https://example.org")]
pub struct InvalidOrigin(String);

/// Bounds the time until the head of an answer; what streams after it is free.
async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::from(ErrorBody::new(
            ErrorCode::Timeout,
            "the answer took too long; ask again, and look at the job with GET /v1/jobs/{id}",
        ))
        .into_response(),
    }
}
