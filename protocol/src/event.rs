//! What happens to a job.
//!
//! Durable events carry a `seq` (1, 2, 3 …), are stored and replayed. Ephemeral ones (`progress`, a moved
//! `queued` position, previews) carry none; only their newest value matters. The same JSON is the text
//! frame of the WebSocket and the `data:` of the SSE stream.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::ErrorBody;
use crate::job::{ImageView, JobId, JobView, Timings};
use crate::reading::{ReadError, Reader, tagged};

tagged! {
    /// Something that happened to a job.
    #[derive(Clone, Debug, PartialEq)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub enum Event, read as TaggedEvent = "Event" {
        /// Waits for the engine. Durable at acceptance, and again when a worker that stopped in the middle of the job takes
        /// it up anew; repeated without `seq` when the position changes.
        Queued {
            /// Jobs that the engine takes before this one.
            position: u32,
        },
        /// The engine took it, and the weights of its model are being fetched. Ephemeral.
        ModelLoading {
            /// Name of the model.
            model: String,
            /// Of all its files.
            done_bytes: u64,
            /// Of all its files.
            total_bytes: u64,
        },
        /// The engine took it. Durable.
        Started {
            /// Denoising steps that will follow.
            steps: u32,
        },
        /// A denoising step is done. Ephemeral.
        Progress {
            /// Steps done.
            step: u32,
            /// Steps in all.
            steps: u32,
            /// Noise level after this step, in units of the scheduler's sigma.
            sigma: f32,
            /// Estimated time until the pictures, in milliseconds.
            eta_ms: u64,
        },
        /// A picture is stored. Durable.
        Image {
            /// Where it is.
            image: ImageView,
        },
        /// All pictures are stored. Durable, terminal.
        Succeeded {
            /// Where the time went.
            timings: Timings,
        },
        /// It ended with an error. Durable, terminal.
        Failed {
            /// Why.
            error: ErrorBody,
        },
        /// Someone canceled it. Durable, terminal.
        Canceled,
        /// A newer job of its lane took its place. Durable, terminal.
        Superseded {
            /// The newer job.
            by: JobId,
        },
        /// The log no longer reaches back to what the reader asked for; this is how things stand.
        Reset {
            /// The whole job.
            view: Box<JobView>,
        },
    }
}

impl Event {
    /// The `type` on the wire and the `event:` of an SSE stream.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::ModelLoading { .. } => "model_loading",
            Self::Started { .. } => "started",
            Self::Progress { .. } => "progress",
            Self::Image { .. } => "image",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Canceled => "canceled",
            Self::Superseded { .. } => "superseded",
            Self::Reset { .. } => "reset",
        }
    }

    /// Whether silence follows.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded { .. } | Self::Failed { .. } | Self::Canceled | Self::Superseded { .. })
    }
}

/// An event with the job it belongs to and, if it is durable, its number.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventFrame {
    /// Name of the job.
    pub job: JobId,
    /// Number in the job's log; absent on ephemeral events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl EventFrame {
    /// Reads a frame whose type is one of the events.
    pub(crate) fn of_tree(tree: &Value) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Head {
            job: JobId,
            seq: Option<u64>,
        }
        let Head { job, seq } = Head::deserialize(Reader(tree))?;
        Ok(Self { job, seq, event: TaggedEvent::deserialize(Reader(tree))? })
    }
}

impl<'de> Deserialize<'de> for EventFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of_tree(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
