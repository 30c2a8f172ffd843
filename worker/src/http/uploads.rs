//! `POST /v1/uploads`: a picture for jobs to come, raw or as a form.

use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use schemars::JsonSchema;
use sd_protocol::ErrorCode;
use sd_protocol::limits::{INPUT_BYTES_MAX, UPLOAD_IDLE_MS, UPLOAD_TIMEOUT_MS};

use super::App;
use super::documents::Bytes;
use super::error::ApiError;
use crate::access::Caller;
use crate::inputs::{Arrival, InputError};

/// Room for what a form wraps around its file.
const FORM_BYTES: usize = 64 << 10;
const IDLE: Duration = Duration::from_millis(UPLOAD_IDLE_MS);
const WHOLE: Duration = Duration::from_millis(UPLOAD_TIMEOUT_MS);

/// A form that brings a picture.
#[derive(Debug, JsonSchema)]
pub struct UploadForm {
    /// The file; its part may have any name.
    #[allow(dead_code, reason = "the form is read part by part; this says what it looks like")]
    file: Bytes,
}

/// `POST /v1/uploads`: 201 with the id of the picture. A form brings it in its first part that has a file name.
pub async fn upload(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let headers = request.headers();
    let announced = header_text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let is_form = header_text(headers, header::CONTENT_TYPE)
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/"));
    let most = INPUT_BYTES_MAX + if is_form { FORM_BYTES } else { 0 };
    if let Some(announced) = announced.filter(|&announced| announced > most as u64) {
        return Err(refused(InputError::TooManyBytes(announced)));
    }
    let arrival = app.service.arrivals().begin();
    let received = async {
        match is_form {
            true => from_form(request, arrival).await,
            false => collect(request.into_body().into_data_stream(), arrival).await,
        }
    };
    let picture = tokio::time::timeout(WHOLE, received).await.map_err(|_| too_slow())??;
    let view = app.service.upload(&caller, picture).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

async fn from_form(mut request: Request, arrival: Arrival) -> Result<Arrival, ApiError> {
    let malformed = |reason: String| ApiError::new(ErrorCode::InvalidRequest, reason);
    DefaultBodyLimit::max(INPUT_BYTES_MAX + FORM_BYTES).apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|rejection| malformed(rejection.body_text()))?;
    loop {
        let part = match tokio::time::timeout(IDLE, form.next_field()).await {
            Ok(Ok(Some(part))) => part,
            Ok(Ok(None)) => return Err(malformed("the form has no part with a file name; send one".into())),
            Ok(Err(error)) => return Err(broken_off(error.status())),
            Err(_) => return Err(stalled()),
        };
        if part.file_name().is_some() {
            return collect(part, arrival).await;
        }
    }
}

/// All bytes of a stream that keeps flowing and stays within the limit.
async fn collect<C: AsRef<[u8]>, E: StreamFault>(
    mut stream: impl Stream<Item = Result<C, E>> + Unpin,
    mut arrival: Arrival,
) -> Result<Arrival, ApiError> {
    loop {
        let chunk = match tokio::time::timeout(IDLE, stream.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(error))) => return Err(broken_off(error.status())),
            Ok(None) => return Ok(arrival),
            Err(_) => return Err(stalled()),
        };
        arrival.push(chunk.as_ref()).map_err(refused)?;
    }
}

/// What a body and a part of a form say when they break off.
trait StreamFault {
    fn status(&self) -> StatusCode;
}

impl StreamFault for axum::Error {
    fn status(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }
}

impl StreamFault for axum::extract::multipart::MultipartError {
    fn status(&self) -> StatusCode {
        self.status()
    }
}

fn broken_off(status: StatusCode) -> ApiError {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return refused(InputError::TooManyBytes((INPUT_BYTES_MAX + FORM_BYTES) as u64));
    }
    ApiError::new(ErrorCode::InvalidRequest, "the body broke off or is no form; send it whole")
}

fn stalled() -> ApiError {
    ApiError::new(ErrorCode::Timeout, format!("nothing arrived for {} s; send the picture again", IDLE.as_secs()))
}

fn too_slow() -> ApiError {
    ApiError::new(ErrorCode::Timeout, format!("the picture took more than {} s; send it smaller", WHOLE.as_secs()))
}

fn refused(error: InputError) -> ApiError {
    ApiError::from(sd_protocol::ErrorBody::from(error))
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
