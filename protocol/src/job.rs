//! A job as it is asked for and as it is told.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorBody, ErrorCode, ErrorDetail};
use crate::limits::JOB_ID_CHARS_MAX;

/// Name of a job: 1 to 64 characters of `[A-Za-z0-9_-]`, safe in a URL path and a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// Checks the alphabet and the length.
    ///
    /// # Errors
    /// A sentence that names the rule.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidJobId> {
        let text = text.into();
        let valid = (1..=JOB_ID_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if valid { Ok(Self(text)) } else { Err(InvalidJobId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An id outside the alphabet or the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job id has 1 to 64 characters of A-Z a-z 0-9 _ -")]
pub struct InvalidJobId;

impl TryFrom<String> for JobId {
    type Error = InvalidJobId;
    fn try_from(text: String) -> Result<Self, InvalidJobId> {
        Self::parse(text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What previews a submitter wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreviewMode {
    /// The predicted clean latent, decoded by the client.
    Latent,
    /// No previews.
    None,
}

/// How the numbers of a preview latent are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreviewDtype {
    /// IEEE half precision, as computed.
    F16,
    /// One byte each: `value = q·scale + offset`, half the size.
    U8,
}

/// The `preview` field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreviewOptions {
    /// What is sent.
    pub mode: PreviewMode,
    /// A preview after every so many steps; the last step always has one.
    pub every: u32,
    /// How it is written.
    pub dtype: PreviewDtype,
}

impl Default for PreviewOptions {
    fn default() -> Self {
        Self { mode: PreviewMode::Latent, every: 1, dtype: PreviewDtype::F16 }
    }
}

/// What a client asks for. Everything but the prompt has a default; in a [`JobView`] every field is filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The client's own id: a repeated submit with the same body finds the first job again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// A name from the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What to draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What guidance pushes away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// px, a multiple of 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// px, a multiple of 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Denoising steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Classifier-free guidance; 1 turns it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f32>,
    /// Seed of the first image; image *n* of the batch uses `seed + n`. Absent: drawn and reported.
    /// Below 2^53, so that JavaScript reads back what it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Images of this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// A name from the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// A name from the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigmas: Option<String>,
    /// DDIM's η (0 is deterministic) in `[0, 1]`; other schedulers ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<f32>,
    /// What previews to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewOptions>,
}

impl JobRequest {
    /// Reads a request and collects *every* field that is unknown or of the wrong type, not only the first. What
    /// could be read is in the request, so that the rest can be checked in the same breath.
    ///
    /// # Errors
    /// `malformed_json` when `value` is no object.
    pub fn from_json(value: Value) -> Result<(Self, Vec<ErrorDetail>), ErrorBody> {
        let malformed = |fault: String| ErrorBody::new(ErrorCode::MalformedJson, fault);
        let Value::Object(mut fields) = value else {
            return Err(malformed("a job is a JSON object such as {\"prompt\": \"a red balloon\"}".into()));
        };
        let mut faults = Vec::new();
        // Every field has a default, so each can be read alone and none hides the faults of another.
        fields.retain(|name, value| {
            let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
            let fault = serde_json::from_value::<Self>(alone).err();
            faults.extend(fault.iter().map(|fault| ErrorDetail { field: name.clone(), message: fault.to_string() }));
            fault.is_none()
        });
        let request = serde_json::from_value(Value::Object(fields)).map_err(|fault| malformed(fault.to_string()))?;
        Ok((request, faults))
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

impl JobState {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled];

    /// Whether nothing will happen to the job any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageView {
    /// Index in the batch.
    pub index: u32,
    /// Path on this worker, from the root.
    pub url: String,
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
pub struct JobView {
    /// Name of the job.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
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
pub struct JobList {
    /// The jobs of this page.
    pub jobs: Vec<JobView>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
