//! One client's conversation with a worker, without a socket, a clock or a page.
//!
//! | file | what it holds |
//! |---|---|
//! | [`machine`] | [`Session`]: what came in → what is known, and [`Command`]s for the world |
//! | [`job`] | [`Job`]: one job as this client knows it; replays and duplicates change nothing |
//! | [`call`] | [`Call`]: what is asked of the HTTP API: the queue, the store, changes |
//! | [`gallery`] | [`Gallery`]: pictures in the worker's store, as far as they have been looked through |
//! | [`order`] | the order of what waits, and the priorities that change it |
//! | [`live`] | [`Live`]: the newest state of the page is drawn while it changes |
//! | [`draft`] | [`Draft`]: the form as text → a request, or what is no number in it |
//! | [`field`] | [`Field`]: what the fields of the form are called, and what they hold |
//! | [`history`] | [`History`]: changes of the form that can be taken back |
//! | [`size`] | [`Shape`]: sides of a picture |
//! | [`wording`] | edits of a prompt: weights by key, names at the cursor |
//! | [`told`] | [`told::Told`]: what a listener outside has been told, and what is new since |
//! | [`link`] | [`Link`]: whether there is a connection, and how long to wait before the next attempt |
//!
//! # Invariants
//! * Pure: every input is a method call, every effect a [`Command`] that the caller takes and carries out.
//!   Randomness (ids, jitter) is passed in.
//! * A submit is repeated under the same id until the worker has answered it, so a connection that breaks
//!   around it neither loses the job nor draws it twice.
//! * After a reconnect every unfinished job is attached to after the last event that was seen.
//! * What lasts is in the worker's store: nothing about jobs is kept here for the next visit, and every page of a
//!   credential sees the same queue and the same pictures.

pub mod call;
pub mod draft;
pub mod field;
pub mod gallery;
pub mod history;
pub mod job;
pub mod link;
pub mod live;
pub mod machine;
pub mod order;
pub mod size;
pub mod told;
pub mod wording;

#[cfg(test)]
pub(crate) mod tests;

pub use call::{Call, Refusal};
pub use draft::{Draft, Lora};
pub use field::{Expected, Field, Misread};
pub use gallery::{Gallery, Query};
pub use history::History;
pub use job::{Job, Phase, Progress};
pub use link::Link;
pub use live::Live;
pub use machine::{Command, FrameFault, Preview, Selection, Session, Wake, Worker};
pub use order::Move;
pub use size::Shape;
pub use wording::{Edit, Shift};
