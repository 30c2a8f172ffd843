//! `/v1/tickets` and `/v1/jobs/{id}/share`: what stands in for a token.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use sd_protocol::limits::TICKET_LIFETIME_MS;
use sd_protocol::{ErrorBody, ErrorCode, ErrorDetail, Secret, ShareView, TicketRequest, TicketView};

use super::App;
use super::error::ApiError;
use super::extract::Path;
use crate::access::{Caller, TicketError};

/// What opens something is never kept by a cache.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

type Secretly<T> = (StatusCode, [(HeaderName, &'static str); 1], Json<T>);

/// `POST /v1/tickets`: 201 with a ticket; the body may name the only job that it opens.
pub async fn ticket(State(app): State<App>, caller: Caller, body: Bytes) -> Result<Secretly<TicketView>, ApiError> {
    let TicketRequest { job } = if body.is_empty() { TicketRequest::default() } else { parse(&body)? };
    if let Some(job) = &job {
        app.service.find(&caller, job.as_str()).await?;
    }
    let ticket = app.gate.issue_ticket(caller, job).map_err(|error| match error {
        TicketError::TooMany { wait } => {
            ApiError::from(ErrorBody::new(ErrorCode::QuotaExceeded, error.to_string()).retry_after(wait))
        }
        TicketError::Randomness(fault) => {
            tracing::error!(error = &fault as &dyn std::error::Error, "no ticket could be made");
            ApiError::internal()
        }
    })?;
    let view = TicketView { ticket, expires_in_ms: TICKET_LIFETIME_MS };
    Ok((StatusCode::CREATED, NO_STORE, Json(view)))
}

/// `POST /v1/jobs/{id}/share`: 201 with a new link for reading that job.
pub async fn share(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Secretly<ShareView>, ApiError> {
    let token = app.service.share(&caller, &id).await?;
    let url = Secret::new(format!("/v1/jobs/{id}?share={}", token.reveal()));
    let view = ShareView { url, token };
    Ok((StatusCode::CREATED, NO_STORE, Json(view)))
}

/// `DELETE /v1/jobs/{id}/share`: ends every link of that job.
pub async fn unshare(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.service.unshare(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(body: &[u8]) -> Result<TicketRequest, ApiError> {
    serde_json::from_slice(body).map_err(|fault| {
        let message = format!("the body is {{}} or {{\"job\": \"ID\"}}: {fault}");
        if fault.is_data() {
            return ErrorBody::invalid(vec![ErrorDetail { field: "job".into(), message }]).into();
        }
        ApiError::new(ErrorCode::MalformedJson, message)
    })
}
