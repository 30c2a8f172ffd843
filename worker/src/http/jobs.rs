//! `/v1/jobs…` over plain HTTP, but for lists and pictures.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use sd_protocol::limits::{IDEMPOTENCY_KEY_BYTES_MAX, TEXT_BYTES_MAX};
use sd_protocol::{ErrorBody, ErrorCode, ErrorDetail, JobChange, JobId, JobView};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::App;
use super::error::ApiError;
use super::extract::Path;
use crate::access::Caller;

/// The header of `draft-ietf-httpapi-idempotency-key-header`.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Largest body that is read to its end only to be refused: many clients look at an answer when they have sent
/// everything, and see a broken connection instead of it when nobody reads.
const DISCARDED_BYTES_MAX: u64 = 16 << 20;

/// A JSON body within the limit. The announced length is refused before a byte of it is read.
pub struct JsonBody(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let too_large = || ApiError::new(ErrorCode::TooLarge, format!("a body has at most {TEXT_BYTES_MAX} bytes"));
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let announced = announced.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
        if announced > TEXT_BYTES_MAX as u64 {
            if announced <= DISCARDED_BYTES_MAX {
                let mut rest = request.into_body().into_data_stream();
                while let Some(Ok(_)) = rest.next().await {}
            }
            return Err(too_large());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                return too_large();
            }
            ApiError::new(ErrorCode::MalformedJson, "the body broke off; send it whole")
        })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|fault| ApiError::new(ErrorCode::MalformedJson, format!("the body is no JSON: {fault}")))
    }
}

/// `POST /v1/jobs`; an `Idempotency-Key` stands for an `id`.
pub async fn submit(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(mut job): JsonBody,
) -> Result<Response, ApiError> {
    if let (Some(key), Some(fields)) = (headers.get(IDEMPOTENCY_KEY), job.as_object_mut())
        && !fields.contains_key("id")
    {
        fields.insert("id".into(), id_of_key(key)?.into());
    }
    let submitted = app.service.submit(&caller, job).await?;
    // A plain call has no connection that the job could be tied to.
    if let Some(tie) = submitted.tie {
        tie.untie();
    }
    let view = submitted.cell.view();
    let location = [(header::LOCATION, format!("/v1/jobs/{}", view.id))];
    Ok((StatusCode::ACCEPTED, location, Json(view)).into_response())
}

/// `GET /v1/jobs/{id}`
pub async fn view(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<JobView>, ApiError> {
    Ok(Json(app.service.find(&caller, &id).await?.view()))
}

/// `PATCH /v1/jobs/{id}`
pub async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(change): JsonBody,
) -> Result<Json<JobView>, ApiError> {
    let change = JobChange::from_json(change)?;
    Ok(Json(app.service.change(&caller, &id, change).await?.view()))
}

/// `POST /v1/jobs/{id}/cancel`
pub async fn cancel(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<JobView>, ApiError> {
    Ok(Json(app.service.cancel(&caller, &id).await?.view()))
}

/// `DELETE /v1/jobs/{id}`
pub async fn forget(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.service.forget(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The id that a key stands for: the key itself where it can be one, else one made of its hash.
fn id_of_key(key: &HeaderValue) -> Result<String, ApiError> {
    let key = key.as_bytes();
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
        let message = format!("has {} bytes, allowed is 1 to {IDEMPOTENCY_KEY_BYTES_MAX}", key.len());
        let detail = ErrorDetail { field: "Idempotency-Key".into(), message };
        return Err(ErrorBody::invalid(vec![detail]).into());
    }
    let plain = std::str::from_utf8(key).ok().and_then(|key| JobId::parse(key).ok());
    Ok(plain.map_or_else(
        || Sha256::digest(key).iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
        |id| id.as_str().to_owned(),
    ))
}
