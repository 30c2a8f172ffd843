//! A job as it is told.

use serde::{Deserialize, Serialize};

use super::id::JobId;
use super::options::ImageFormat;
use super::request::JobRequest;
use crate::error::ErrorBody;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted and stored; waits for the engine.
    Queued,
    /// The engine works on it, or its pictures are being encoded.
    Running,
    /// All pictures are stored.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// Someone canceled it.
    Canceled,
    /// A newer job of its lane took its place.
    Superseded,
}

impl JobState {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled, Self::Superseded];

    /// Whether nothing will happen to the job any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Superseded)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Superseded => "superseded",
        }
    }
}

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageView {
    /// Index in the batch.
    pub index: u32,
    /// Path on this worker, from the root.
    pub url: String,
    /// Path of a small JPEG of it, from the root: at most [`THUMBNAIL_PX_MAX`](crate::limits::THUMBNAIL_PX_MAX) (256) px
    /// on the longer side. Absent in what an older worker wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail_url: Option<String>,
    /// How the file is written.
    #[serde(default, skip_serializing_if = "ImageFormat::is_default")]
    pub format: ImageFormat,
    /// px
    pub width: u32,
    /// px
    pub height: u32,
    /// SHA-256 of the file, in lower-case hexadecimal digits; also its `ETag`.
    pub sha256: String,
    /// Seed that draws this picture alone.
    pub seed: u64,
}

/// Where the time of a job went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Timings {
    /// From acceptance to the engine.
    pub queued_ms: f64,
    /// Loading the model, 0 when it was there.
    pub load_ms: f64,
    /// Text encoder.
    pub encode_ms: f64,
    /// All denoising steps.
    pub denoise_ms: f64,
    /// VAE decoder.
    pub decode_ms: f64,
    /// Copying previews off the device (inside `denoise_ms`).
    pub preview_ms: f64,
}

/// Everything the worker says about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobView {
    /// Name of the job.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// Whether it is kept, however many come after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub favorite: bool,
    /// The request as it was understood: seed, scheduler and all defaults filled in.
    pub request: JobRequest,
    /// Jobs that the engine takes before this one; only while `queued`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// Denoising steps done.
    pub step: u32,
    /// Denoising steps in all: less than the request's where the scheduler merges steps.
    pub steps: u32,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// Milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at_ms: Option<u64>,
    /// Pictures that are stored.
    pub images: Vec<ImageView>,
    /// Filled in when the job ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// What was understood differently from what may have been meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// Sequence number of the newest durable event.
    pub last_seq: u64,
    /// Path of the SSE stream of this job.
    pub stream_url: String,
}

/// A page of `GET /v1/jobs`, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobList {
    /// The jobs of this page.
    pub jobs: Vec<JobView>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
