//! `/v1/jobs…` over plain HTTP.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use sd_protocol::limits::{IDEMPOTENCY_KEY_BYTES_MAX, LIST_JOBS_MAX, TEXT_BYTES_MAX};
use sd_protocol::{ErrorBody, ErrorCode, ErrorDetail, JobId, JobList, JobState, JobView};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tower_http::services::ServeFile;

use super::error::ApiError;
use super::extract::Path;
use super::{App, etag};
use crate::access::Caller;

/// Jobs on a page that names no `limit`.
const LIST_JOBS_DEFAULT: u32 = 50;

/// The header of `draft-ietf-httpapi-idempotency-key-header`.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Largest body that is read to its end only to be refused: many clients look at an answer when they have sent
/// everything, and see a broken connection instead of it when nobody reads.
const DISCARDED_BYTES_MAX: u64 = 16 << 20;

/// A JSON body within the limit. The announced length is refused before a byte of it is read.
pub struct JsonBody(Value);

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

/// The query of `GET /v1/jobs`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only jobs that stand so.
    state: Option<JobState>,
    /// Jobs on the page at most; 50 unless told otherwise.
    #[schemars(range(min = 1, max = LIST_JOBS_MAX))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// `GET /v1/jobs`
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<JobList>, ApiError> {
    let invalid = |field: &str, message: String| {
        ApiError::from(ErrorBody::invalid(vec![ErrorDetail { field: field.into(), message }]))
    };
    let Query(query) = query.map_err(|rejection| invalid("query", rejection.body_text()))?;
    let limit = query.limit.unwrap_or(LIST_JOBS_DEFAULT);
    if !(1..=LIST_JOBS_MAX).contains(&limit) {
        return Err(invalid("limit", format!("is {limit}, allowed is 1 to {LIST_JOBS_MAX}")));
    }
    let before = query.cursor.as_deref().map(|text| {
        let (created_at_ms, id) = text.split_once('_')?;
        Some((created_at_ms.parse().ok()?, id.to_owned()))
    });
    let before = match before {
        None => None,
        Some(Some(before)) => Some(before),
        Some(None) => return Err(invalid("cursor", "is not a next_cursor of this worker".into())),
    };
    let jobs = app.service.list(&caller, query.state, before, limit).await?;
    let is_full = jobs.len() == limit as usize;
    let next_cursor = jobs.last().filter(|_| is_full).map(|job| format!("{}_{}", job.created_at_ms, job.id));
    Ok(Json(JobList { jobs, next_cursor }))
}

/// `GET /v1/jobs/{id}`
pub async fn view(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<JobView>, ApiError> {
    Ok(Json(app.service.find(&caller, &id).await?.view()))
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

/// `GET /v1/jobs/{id}/images/{index}`
pub async fn image(
    State(app): State<App>,
    caller: Caller,
    Path((id, index)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let cell = app.service.find(&caller, &id).await?;
    let index = index
        .parse()
        .map_err(|_| ApiError::new(ErrorCode::ImageNotFound, format!("images are numbered, {index:?} is no number")))?;
    let (path, sha256) = app.service.image(&cell, index)?;
    let etag = etag::of_hash(&sha256);
    let headers =
        [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, "private, max-age=31536000, immutable".into())];
    if etag::is_known(request.headers(), &etag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    match ServeFile::new(path).try_call(request).await {
        Ok(response) if response.status() != StatusCode::NOT_FOUND => Ok((headers, response).into_response()),
        Ok(_) => {
            Err(ApiError::new(ErrorCode::ImageNotFound, "the picture's file is gone from the worker's data folder"))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a picture could not be read");
            Err(ApiError::new(
                ErrorCode::StorageFailed,
                "the picture could not be read; the worker's log has the reason",
            ))
        }
    }
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
