//! Who asks: what a request shows → [`Caller`], before any handler runs.
//!
//! | what is shown | where | what it opens |
//! |---|---|---|
//! | `Authorization: Bearer` | everywhere | everything of its credential |
//! | `?ticket=` | a job, its stream and pictures, the socket | one request of its credential |
//! | `?share=` | a job, its stream and pictures | that job, for reading |
//!
//! # Invariants
//! * Handlers get a [`Caller`] from here and from nowhere else; without one they do not run.
//! * Tickets and share tokens leave the address before anything can log it.

use axum::RequestExt as _;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use sd_protocol::{ErrorCode, JobId, Secret};

use super::App;
use super::error::ApiError;
use crate::access::Caller;

/// What the address of a request showed.
#[derive(Clone, Debug, Default)]
struct Shown {
    ticket: Option<Secret>,
    share: Option<Secret>,
}

/// Whoever opens a socket; `None` until `hello` says who it is.
#[derive(Clone, Debug)]
pub struct SocketCaller(pub Option<Caller>);

/// Moves tickets and share tokens from the address into the request and marks the token, so that neither is logged.
/// The outermost layer.
pub async fn hide_secrets(mut request: Request, next: Next) -> Response {
    if let Some((uri, shown)) = without_secrets(request.uri()) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(shown);
    }
    if let Some(token) = request.headers_mut().get_mut(header::AUTHORIZATION) {
        token.set_sensitive(true);
    }
    next.run(request).await
}

/// Lets tokens in, and nothing else.
///
/// # Errors
/// `unauthorized`.
pub async fn token(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let caller = by_token(&app, request.headers())?.ok_or_else(missing)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Lets in whoever may look at the job that the route names: tokens, tickets and share links.
///
/// # Errors
/// `unauthorized`.
pub async fn viewer(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let caller = match by_token(&app, request.headers())? {
        Some(caller) => caller,
        None => by_address(&app, &mut request).await?,
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Lets in tokens and tickets, and whoever shows nothing: a browser's socket says who it is in `hello`.
///
/// # Errors
/// `unauthorized`.
pub async fn socket(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let caller = match by_token(&app, request.headers())? {
        Some(caller) => Some(caller),
        None => match shown(&request).ticket {
            Some(ticket) => Some(app.gate.socket_by_ticket(&ticket).ok_or_else(refused)?),
            None => None,
        },
    };
    request.extensions_mut().insert(SocketCaller(caller));
    Ok(next.run(request).await)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(ApiError::internal)
    }
}

/// `None` when no token is shown and one is needed.
fn by_token(app: &App, headers: &HeaderMap) -> Result<Option<Caller>, ApiError> {
    if app.gate.is_open() {
        return Ok(Some(Caller::anyone()));
    }
    let Some(shown) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = shown.to_str().ok().and_then(|text| text.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or_else(|| {
        unauthorized("the Authorization header is no bearer token; send \"Authorization: Bearer TOKEN\"")
    })?;
    app.gate.by_token(&Secret::new(token.trim())).map(Some).ok_or_else(refused)
}

async fn by_address(app: &App, request: &mut Request) -> Result<Caller, ApiError> {
    let Shown { ticket, share } = shown(request);
    if ticket.is_none() && share.is_none() {
        return Err(missing());
    }
    let params: RawPathParams = request.extract_parts().await.map_err(|_| ApiError::internal())?;
    let job = params.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| JobId::parse(id).ok());
    let job = job.ok_or_else(refused)?;
    if let Some(ticket) = ticket {
        let pass = app.gate.by_ticket(&ticket).filter(|pass| pass.opens(&job));
        return pass.map(|pass| pass.caller).ok_or_else(refused);
    }
    let share = share.ok_or_else(missing)?;
    match app.service.is_shared(&job, &share).await? {
        // The route names the one job that the link is for, and it was just compared.
        true => Ok(Caller::anyone()),
        false => Err(refused()),
    }
}

fn shown(request: &Request) -> Shown {
    request.extensions().get::<Shown>().cloned().unwrap_or_default()
}

/// The address without its secrets, and those; `None` when it has none. They are plain letters and digits, so nothing
/// needs decoding.
fn without_secrets(uri: &Uri) -> Option<(Uri, Shown)> {
    let query = uri.query()?;
    let mut shown = Shown::default();
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("ticket", ticket)) => shown.ticket = Some(Secret::new(ticket)),
            Some(("share", share)) => shown.share = Some(Secret::new(share)),
            _ => others.push(pair),
        }
    }
    if shown.ticket.is_none() && shown.share.is_none() {
        return None;
    }
    let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{}{query}", uri.path())).ok();
    Some((Uri::from_parts(parts).ok()?, shown))
}

fn missing() -> ApiError {
    unauthorized(
        "this worker asks for a token: send \"Authorization: Bearer TOKEN\", or a ticket of POST /v1/tickets as \
         ?ticket= where no header can be sent",
    )
}

fn refused() -> ApiError {
    unauthorized(
        "this opens nothing here: the token is unknown, the ticket was used or has expired, or the link is no longer \
         shared",
    )
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, message)
}

#[cfg(test)]
mod tests;
