//! Who asked for what, and what happened.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cell`] | one job: its view, its numbered log, its newest progress, latents and pictures |
//! | [`reader`] | one viewer's place in a job: what it has not seen yet |
//! | [`pictures`] | latents that somebody wants as pictures, on their way to whoever makes them |
//! | [`registry`] | all jobs: accept, find, list, cancel, forget |
//! | [`store`] | SQLite and image files: what outlives the process |
//!
//! # Invariants
//! * A durable event is stored before any reader sees it, and a job before it is acknowledged.
//! * A job gets exactly one terminal event; after it, silence.
//! * Readers never hold anything up: durable events wait in the log, of everything else only the newest is kept.
//! * Nothing here computes, and nothing here knows a socket.

pub mod cell;
pub mod pictures;
pub mod reader;
pub mod registry;
pub mod store;

use sd_protocol::{ErrorBody, ErrorCode};

pub use cell::{ChangeError, JobCell, LatentSnapshot, Wish};
pub use pictures::{Ask, PictureKind, PictureQueue, PreviewPictures, Taken};
pub use reader::{JobReader, News};
pub use registry::{AcceptError, Accepted, Found, NewJob, Registry};
pub use store::{JobFilter, Retention, Store, StoreError};

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What a job, or a submit, is told that a stopping worker has no time for.
pub fn shutting_down() -> ErrorBody {
    ErrorBody::new(ErrorCode::ShuttingDown, "the worker is shutting down; submit again when it is back")
}
