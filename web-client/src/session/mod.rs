//! One client's conversation with a worker, without a socket, a clock or a page.
//!
//! | file | what it holds |
//! |---|---|
//! | [`machine`] | [`Session`]: what came in → what is known, and [`Command`]s for the world |
//! | [`job`] | [`Job`]: one job as this client knows it; replays and duplicates change nothing |
//! | [`draft`] | [`Draft`]: the form as text → a request, or what is no number in it |
//! | [`link`] | [`Link`]: whether there is a connection, and how long to wait before the next attempt |
//!
//! # Invariants
//! * Pure: every input is a method call, every effect a [`Command`] that the caller takes and carries out.
//!   Randomness (ids, jitter) is passed in.
//! * A submit is repeated under the same id until the worker has answered it, so a connection that breaks
//!   around it neither loses the job nor draws it twice.
//! * After a reconnect every unfinished job is attached to after the last event that was seen.

pub mod draft;
pub mod job;
pub mod link;
pub mod machine;

#[cfg(test)]
mod tests;

pub use draft::{Draft, Expected, Field, Misread};
pub use job::{Job, Phase, Progress};
pub use link::Link;
pub use machine::{Command, FrameFault, Preview, Remembered, Selection, Session, Worker};
