//! Error codes → status codes: the only place that decides.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sd_protocol::{ErrorBody, ErrorCode, ErrorEnvelope};

/// When a client may knock again where the error does not know better.
const RETRY_AFTER_MS: u64 = 2000;

/// An error on its way to an HTTP client.
#[derive(Debug)]
pub struct ApiError {
    error: ErrorBody,
    status: StatusCode,
}

impl ApiError {
    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ErrorBody::new(code, message).into()
    }

    /// Whatever the reason: a job would not be taken now.
    pub fn not_ready(error: ErrorBody) -> Self {
        Self { error, status: StatusCode::SERVICE_UNAVAILABLE }
    }

    /// A fault of the worker.
    pub fn internal() -> Self {
        Self::new(ErrorCode::Internal, "the worker hit a fault of its own; its log has the reason")
    }
}

impl From<ErrorBody> for ApiError {
    fn from(error: ErrorBody) -> Self {
        Self { status: status(error.code), error }
    }
}

/// The status that comes with a code.
pub(super) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::MalformedJson
        | ErrorCode::InvalidRequest
        | ErrorCode::ImageInvalid
        | ErrorCode::UnknownFrame
        | ErrorCode::UnexpectedHello
        | ErrorCode::UnsupportedProtocol => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound | ErrorCode::JobNotFound | ErrorCode::ImageNotFound | ErrorCode::UploadNotFound => {
            StatusCode::NOT_FOUND
        }
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::HostNotAllowed | ErrorCode::OriginNotAllowed => StatusCode::FORBIDDEN,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::IdConflict | ErrorCode::NotWaiting => StatusCode::CONFLICT,
        ErrorCode::JobExpired => StatusCode::GONE,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::QueueFull
        | ErrorCode::QuotaExceeded
        | ErrorCode::TooManyJobs
        | ErrorCode::UploadsFull
        | ErrorCode::TooManyUploads => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Loading | ErrorCode::ShuttingDown | ErrorCode::ModelUnavailable | ErrorCode::Timeout => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::Interrupted
        | ErrorCode::OutOfMemory
        | ErrorCode::StorageFailed
        | ErrorCode::Internal
        | ErrorCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether the same request may succeed later, so that the answer says when to try again.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { error, status } = self;
        // A quota that no time refills says nothing, and is not to be asked for again and again.
        let default_ms = (error.code != ErrorCode::QuotaExceeded).then_some(RETRY_AFTER_MS);
        let retry_after_ms = error.retry_after_ms.or(default_ms);
        let mut response = (status, Json(ErrorEnvelope { error })).into_response();
        if let Some(retry_after_ms) = retry_after_ms
            && is_temporary(status)
        {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after_ms.div_ceil(1000).max(1).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            // What was announced is still on its way; only a closed connection keeps it from being read.
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        response
    }
}
