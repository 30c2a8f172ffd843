//! The port: routes and the layers around them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`jobs`] | `/v1/jobs…`: submit, look, change, cancel, forget |
//! | [`list`] | `/v1/jobs`: which jobs, page by page |
//! | [`pictures`] | files: pictures of jobs, thumbnails, uploads |
//! | [`uploads`] | `/v1/uploads`: pictures that jobs start from |
//! | [`stream`] | `/v1/jobs/{id}/stream`: server-sent events |
//! | [`socket`] | `/v1/ws`: the WebSocket |
//! | [`models`] | `/v1/models…`: the catalogue, preview decoders, how prompts are read |
//! | [`health`] | `/health`, `/ready`, `/metrics` |
//! | [`assets`] | the browser client |
//! | [`access`] | `/v1/tickets`, share links |
//! | [`guard`] | who asks: what a request shows → a caller |
//! | [`site`] | which pages may use the worker: `Host` and `Origin` |
//! | [`mod@serve`] | connections and their bounds |
//! | [`documents`] | `/openapi.json`, `/asyncapi.json`, `/docs` |
//! | [`routes`] | the table of all routes, which the router and the documents are made of |
//! | [`etag`] | readers that may have a file already |
//! | [`extract`] | parts of a path; what is wrong with them is told as everything else is |
//! | [`error`] | error codes → status codes, the only place |
//!
//! # Invariants
//! * A route exists with its description, or not at all.
//! * Every answer that is no success is the error object of the protocol.
//! * The time limit is on answers, never on a stream that has begun.
//! * Handlers hold no lock and touch no disk; `service` does both off the async threads.

pub mod access;
pub mod assets;
pub mod documents;
pub mod error;
pub mod etag;
pub mod extract;
pub mod guard;
pub mod health;
pub mod jobs;
pub mod list;
pub mod models;
pub mod pictures;
pub mod routes;
pub mod serve;
pub mod site;
pub mod socket;
pub mod stream;
pub mod uploads;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use sd_protocol::{ErrorBody, ErrorCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::{DefaultMakeSpan, DefaultOnResponse, TraceLayer};
use tracing::Level;

use self::documents::Documents;
use self::error::ApiError;
use crate::access::Gate;
use crate::service::Service;

pub use self::serve::serve;
pub use self::site::{InvalidSite, Site};

/// Time that the head of an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// The worker behind the transports.
    pub service: Service,
    /// Who is let in.
    pub gate: Gate,
    /// Set when the worker stops and every job has ended: streams say what is left and close.
    pub closing: CancellationToken,
    /// Open WebSockets, which the server itself loses sight of once they are upgraded.
    pub sockets: TaskTracker,
}

/// All routes, for pages of `site`.
pub fn router(app: App, site: Site) -> Router {
    let trace = TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::DEBUG))
        .on_response(DefaultOnResponse::new().level(Level::DEBUG))
        .on_failure(());
    // A page that may ask may also show pictures in plain `<img>`.
    let embedding = if site.origins().is_empty() { "same-origin" } else { "cross-origin" };
    let header = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    let site = Arc::new(site);

    let table = routes::table();
    let documents = Arc::new(Documents::of(table.operations()));
    let routes = table
        .into_router(&app)
        .method_not_allowed_fallback(async || {
            ApiError::new(ErrorCode::MethodNotAllowed, "this route exists, but not with this method")
        })
        .with_state(app)
        .layer(Extension(documents))
        .layer(CatchPanicLayer::custom(|_| ApiError::internal().into_response()))
        .layer(middleware::from_fn_with_state(Arc::clone(&site), site::check));
    let routes = if site.origins().is_empty() { routes } else { routes.layer(cors(&site)) };
    routes
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
        .layer(header(HeaderName::from_static("cross-origin-resource-policy"), embedding))
        .layer(trace)
        .layer(middleware::from_fn(guard::hide_secrets))
}

/// Lets pages of the listed origins read answers.
fn cors(site: &Site) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(site.origins().iter().cloned()))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([header::LOCATION, header::ETAG, header::RETRY_AFTER])
}

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
