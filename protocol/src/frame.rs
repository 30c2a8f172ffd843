//! The text frames of the WebSocket.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{Quota, Secret};
use crate::catalogue::{Catalogue, PreviewBasis};
use crate::error::{ErrorBody, ErrorCode};
use crate::event::EventFrame;
use crate::job::{JobId, JobRequest, JobView, PreviewOptions};
use crate::limits::Limits;
use crate::reading::{self, ReadError, Reader, tagged};
use crate::upload::UploadView;

/// Client → server. `J` is the job of a `submit`: [`JobRequest`] where frames are written, a JSON [`Value`]
/// where they are read, so that a faulty job is answered under its `tag` and not as a faulty frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "ClientFrame", description = "Client → server.")
)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame<J = JobRequest> {
    /// First frame of a connection.
    Hello {
        /// Name and version of the client, for the worker's log.
        client: String,
        /// The client's token, where the worker asks for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Secret>,
        /// A ticket in place of a token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<Secret>,
        /// Abilities that both sides may use; none exist in version 1.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        features: Vec<String>,
    },
    /// Asks for a job; answered by exactly one `accepted` or `rejected` with the same tag.
    Submit {
        /// Chosen by the client.
        tag: u32,
        /// The job.
        job: J,
    },
    /// Ends a job; one that is finished already stays as it is, without an error.
    Cancel {
        /// Name of the job.
        job: JobId,
    },
    /// Follows a job from any connection: every durable event above `after`, then the live stream.
    Attach {
        /// Name of the job.
        job: JobId,
        /// The last `seq` that the client has.
        #[serde(default)]
        after: u64,
        /// What previews this connection wants.
        #[serde(default)]
        preview: PreviewOptions,
    },
    /// Changes what previews this connection gets of a job that it follows; the newest one comes at once.
    Preview {
        /// Name of the job.
        job: JobId,
        /// What previews it wants from now on.
        preview: PreviewOptions,
    },
    /// Stops following a job.
    Detach {
        /// Name of the job.
        job: JobId,
    },
    /// Announces a picture, whose chunks (binary frames of kind 4) follow in order; answered by exactly one `uploaded`
    /// or `upload_rejected` with the same tag.
    Upload {
        /// Chosen by the client, among its uploads under way.
        tag: u32,
        /// Bytes of the whole file.
        bytes: u64,
    },
}

impl ClientFrame<Value> {
    /// Reads one text frame.
    ///
    /// # Errors
    /// `malformed_json` for what is no JSON, `unknown_frame` for an unknown `type`, `invalid_request` for a
    /// known type with wrong fields.
    pub fn from_json(text: &str) -> Result<Self, ErrorBody> {
        const TYPES: [&str; 7] = ["hello", "submit", "cancel", "attach", "preview", "detach", "upload"];
        let value: Value = serde_json::from_str(text).map_err(|fault| {
            ErrorBody::new(ErrorCode::MalformedJson, format!("a text frame is one JSON object: {fault}"))
        })?;
        match value.get("type").and_then(Value::as_str) {
            Some(kind) if TYPES.contains(&kind) => {
                let kind = kind.to_owned();
                serde_json::from_value(value)
                    .map_err(|fault| ErrorBody::new(ErrorCode::InvalidRequest, format!("{kind}: {fault}")))
            }
            Some(kind) => Err(ErrorBody::new(
                ErrorCode::UnknownFrame,
                format!("no frame has the type {kind:?}; a client sends {}", TYPES.join(", ")),
            )),
            None => Err(ErrorBody::new(ErrorCode::UnknownFrame, "a frame has a \"type\"")),
        }
    }
}

tagged! {
    /// Server → client, about the connection.
    #[derive(Clone, Debug, PartialEq)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub enum SessionFrame, read as TaggedSessionFrame = "SessionFrame" {
        /// Answer to `hello`.
        Welcome {
            /// Version of the protocol: 1.
            protocol: u8,
            /// Name and version of the worker.
            server: String,
            /// What will be accepted.
            limits: Limits,
            /// What may be asked for by name.
            catalogue: Catalogue,
            /// Abilities that both sides may use.
            features: Vec<String>,
            /// What this client's credential may use, where it has bounds of its own.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            quota: Option<Quota>,
        },
        /// Answer to a `submit` that became a job; its events follow.
        Accepted {
            /// The client's tag.
            tag: u32,
            /// Stands for the job in binary frames of this connection.
            handle: u32,
            /// The job.
            job: Box<JobView>,
            /// How its preview latents become pictures.
            preview: PreviewBasis,
        },
        /// Answer to a `submit` that did not become a job.
        Rejected {
            /// The client's tag.
            tag: u32,
            /// Why, and what would be right.
            error: ErrorBody,
        },
        /// Answer to `attach`; the job's events follow.
        Attached {
            /// Stands for the job in binary frames of this connection.
            handle: u32,
            /// The job.
            job: Box<JobView>,
            /// How its preview latents become pictures.
            preview: PreviewBasis,
        },
        /// Answer to the last chunk of an upload.
        Uploaded {
            /// The client's tag.
            tag: u32,
            /// What was stored; its id is what `image` and `mask` of a job name.
            upload: UploadView,
        },
        /// Answer to an upload that failed, as soon as it did; chunks of it that are still on their way are passed over.
        UploadRejected {
            /// The client's tag.
            tag: u32,
            /// Why, and what would be right.
            error: ErrorBody,
        },
        /// A frame that could not be honoured; the connection lives on.
        Error {
            /// Why, and what would be right.
            error: ErrorBody,
            /// The job that it was about, where it was about one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            job: Option<JobId>,
        },
    }
}

/// Server → client.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ServerFrame {
    /// About the connection.
    Session(SessionFrame),
    /// About a job.
    Event(EventFrame),
}

impl ServerFrame {
    /// The text frame.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("frames have string keys and finite shapes")
    }

    /// Reads one text frame; `None` is a frame of a newer worker, which a client passes over.
    ///
    /// # Errors
    /// `malformed_json` for what is no JSON object with a `type`, `invalid_request` for a known type with
    /// wrong fields.
    pub fn from_json(text: &str) -> Result<Option<Self>, ErrorBody> {
        let error = |code| move |fault: ReadError| ErrorBody::new(code, fault.to_string());
        let tree = reading::tree(text).map_err(error(ErrorCode::MalformedJson))?;
        let kind = tree.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| ErrorBody::new(ErrorCode::MalformedJson, "a frame has a \"type\""))?;
        let frame = match kind {
            "welcome" | "accepted" | "rejected" | "attached" | "uploaded" | "upload_rejected" | "error" => {
                TaggedSessionFrame::deserialize(Reader(&tree)).map(Self::Session)
            }
            "queued" | "model_loading" | "started" | "progress" | "image" | "succeeded" | "failed" | "canceled"
            | "superseded" | "reset" => EventFrame::of_tree(&tree).map(Self::Event),
            _ => return Ok(None),
        };
        frame.map(Some).map_err(error(ErrorCode::InvalidRequest))
    }
}
