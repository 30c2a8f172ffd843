//! Errors as clients see them: a code for programs, a sentence for people, details for forms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went wrong, for a program to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The bytes are not JSON, or not an object of the expected form.
    MalformedJson,
    /// A frame has an unknown `type`, or a binary frame makes no sense here.
    UnknownFrame,
    /// A second `hello` on one connection.
    UnexpectedHello,
    /// The client speaks a version of the protocol that this worker does not.
    UnsupportedProtocol,
    /// No token, or one that opens nothing here.
    Unauthorized,
    /// The `Host` of the request is no name of this worker.
    HostNotAllowed,
    /// A page of another origin asked.
    OriginNotAllowed,
    /// The credential has used up what it may; try again after `Retry-After`, where there is one.
    QuotaExceeded,
    /// One or more fields of a request are wrong; `details` names each.
    InvalidRequest,
    /// A body, a frame or a file is larger than `limits` allow.
    TooLarge,
    /// No route or file of that name.
    NotFound,
    /// No job of that id, or it was forgotten.
    JobNotFound,
    /// The job was here, and left with the oldest ones when the worker's bounds were reached.
    JobExpired,
    /// The job has no image of that index.
    ImageNotFound,
    /// A picture that a client sent is none, or is damaged.
    ImageInvalid,
    /// No upload of that id, or it was pushed out by newer ones.
    UploadNotFound,
    /// The uploads that waiting jobs hold leave no room; try again after `Retry-After`.
    UploadsFull,
    /// One socket sends as many uploads at once as it may.
    TooManyUploads,
    /// The id belongs to a job with a different request.
    IdConflict,
    /// The job does not wait any more, so that it has no place in the queue to change.
    NotWaiting,
    /// The queue has no room; try again after `Retry-After`.
    QueueFull,
    /// One socket follows as many jobs as it may.
    TooManyJobs,
    /// The worker is loading a model.
    Loading,
    /// The worker is shutting down.
    ShuttingDown,
    /// The model could not be loaded.
    ModelUnavailable,
    /// The device that draws has too little memory for the job or its model.
    OutOfMemory,
    /// The job ran when the worker stopped, and is not run again.
    Interrupted,
    /// The method is not allowed on this route.
    MethodNotAllowed,
    /// The answer took longer than the worker allows.
    Timeout,
    /// The worker's disk is full.
    StorageFull,
    /// The worker's store failed.
    StorageFailed,
    /// A fault of the worker; its log says more.
    Internal,
    /// A code that this build of the protocol does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// One fault inside a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorDetail {
    /// The field at fault, as the client wrote it (`width`, `preview.mode`).
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

/// An error with a way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{message}")]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong and what to do next, for people.
    pub message: String,
    /// Every fault that was found, where there can be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<ErrorDetail>,
    /// Milliseconds after which it is worth to ask again, where time alone may heal it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorBody {
    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), retry_after_ms: None }
    }

    /// The same error, with the time after which it is worth to ask again.
    pub fn retry_after(self, time: Duration) -> Self {
        Self { retry_after_ms: Some(time.as_millis() as u64), ..self }
    }

    /// `invalid_request` with every fault; the message lists them so that a log line is enough.
    pub fn invalid(details: Vec<ErrorDetail>) -> Self {
        let listed: Vec<_> = details.iter().map(|d| format!("{}: {}", d.field, d.message)).collect();
        Self { details, ..Self::new(ErrorCode::InvalidRequest, listed.join("; ")) }
    }
}

/// The body of every HTTP error: `{"error": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorEnvelope {
    /// The error itself.
    pub error: ErrorBody,
}
