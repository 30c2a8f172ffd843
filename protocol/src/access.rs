//! Who may ask: tokens, the tickets that stand in for them where no header can be sent, and share links.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::JobId;

/// A token, ticket or share token: text that opens something. It is written in full on the wire and never in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of logs.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever checks or sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The body of `POST /v1/tickets`; it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// The only job that the ticket opens; every job of its credential where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

/// A ticket: `?ticket=` of one stream, picture or socket, or the `ticket` of one `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TicketView {
    /// What to send, once.
    pub ticket: Secret,
    /// Milliseconds that it is good for.
    pub expires_in_ms: u64,
}

/// A share link: whoever has it may look at one job, follow it and fetch its pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShareView {
    /// Path of the job on this worker, from the root, with the token in it.
    pub url: Secret,
    /// The token alone: `?share=` of the job, its stream and its pictures.
    pub token: Secret,
}

/// What a credential may use. A bound that is absent is that of the whole worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quota {
    /// Jobs that may wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_jobs: Option<u32>,
    /// Jobs that may run at the same time; further ones wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_jobs: Option<u32>,
    /// Pixels (width × height × batch size) that may be asked for in any hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels_per_hour: Option<u64>,
    /// Bytes of pictures that may be brought in any hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_bytes_per_hour: Option<u64>,
}
