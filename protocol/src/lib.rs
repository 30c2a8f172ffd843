//! What crosses the wire between a Stable Diffusion worker and its clients.
//!
//! The worker, the browser client and the tests share these types, so a frame that one side can write
//! is a frame that the other side can read.
//!
//! | module | what it holds |
//! |---|---|
//! | [`access`] | tokens, tickets, share links and quotas |
//! | [`job`] | `JobRequest` (what a client asks for), `JobChange`, `JobView` (what the worker says about a job) |
//! | [`event`] | `Event`, the numbered log of a job, with its ephemeral `progress` |
//! | [`frame`] | `ClientFrame`, `ServerFrame`: the text frames of the WebSocket |
//! | [`binary`] | the 32-byte header of binary frames, and the latent or picture behind it |
//! | [`upload`] | pictures that clients bring: the chunks that carry one, and what the worker says of it |
//! | [`catalogue`] | models, schedulers, sigma spacings and preview bases, as data |
//! | [`tokens`] | how a model's tokenizer reads a prompt |
//! | [`error`] | `ErrorBody`: a code, a sentence, details |
//! | `fields` | objects read field by field, for all faults at once |
//! | [`reading`], [`writing`] | values from JSON and as JSON in little code, for the browser |
//! | `schema` | the feature of that name: JSON Schema of every type, AsyncAPI, TypeScript |
//! | [`limits`] | every bound, as a constant and as the `limits` object of `welcome` |
//!
//! # Invariants
//! * No I/O, no clock, no randomness: bytes in, values out. Builds for `wasm32-unknown-unknown`.
//! * Decoding never panics, whatever the bytes.
//! * Names (schedulers, models) are data in the catalogue, never enums: a new one needs no new client.
//! * Golden files under `tests/goldens` pin version 1: one may be added, none may be edited.

pub mod access;
pub mod binary;
pub mod catalogue;
pub mod error;
pub mod event;
mod fields;
pub mod frame;
pub mod job;
pub mod limits;
pub mod reading;
#[cfg(feature = "schema")]
pub mod schema;
pub mod tokens;
pub mod upload;
pub mod writing;

pub use access::{Quota, Secret, ShareView, TicketRequest, TicketView};
pub use binary::{
    BinaryFrame, Element, FrameHeader, FrameKind, PictureFormat, PictureFrame, PictureHeader, PreviewFrame,
};
pub use catalogue::{
    Catalogue, DeviceEntry, ModelDefaults, ModelEntry, ModelsView, NamedEntry, PreviewBasis, SchedulerEntry,
};
pub use error::{ErrorBody, ErrorCode, ErrorDetail, ErrorEnvelope};
pub use event::{Event, EventFrame};
pub use frame::{ClientFrame, ServerFrame, SessionFrame};
pub use job::{
    ImageFormat, ImageView, InpaintArea, InpaintFill, InpaintRequest, JobChange, JobId, JobList, JobRequest, JobState,
    JobView, LoraRequest, OnDisconnect, OutpaintRequest, OutputOptions, PreviewDtype, PreviewMode, PreviewOptions,
    RefinerRequest, ResizeMode, Rng, Supersede, Timings,
};
pub use limits::Limits;
pub use reading::{ReadError, read};
pub use tokens::{TokenChunk, TokensRequest, TokensView};
pub use upload::{UploadChunk, UploadView};
pub use writing::write;

/// Version of the wire; the first field of `welcome` and the third byte of every binary frame.
pub const PROTOCOL_VERSION: u8 = 1;

/// The WebSocket subprotocol that a client offers and the worker selects.
pub const SUBPROTOCOL: &str = "sd.v1";
