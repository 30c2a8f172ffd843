//! What the end-to-end tests stand on: a worker as its own process and clients that talk to it over real sockets.
//!
//! | module | what it holds |
//! |---|---|
//! | [`worker`] | the binary `sd-worker`, started on a free port with a folder of its own |
//! | [`api`] | the HTTP job API and its event streams |
//! | [`socket`] | the WebSocket |
//! | [`origin`] | another origin beside the worker, for pages of other people |
//! | [`proxy`] | a wire between the two that can be cut |
//! | [`soak`] | many viewers at once, and a report |
//! | [`browser`] | headless Chromium through chromedriver, and the page of the browser client |
//!
//! # Invariants
//! * Every wait has a deadline and every failure names what was waited for.
//! * A test waits for something that happens, never for time to pass.
//! * A test that lacks a program fails and says how to get it; `cargo xtask test` gets it, or leaves the test out
//!   and says so.

pub mod api;
pub mod browser;
pub mod origin;
pub mod proxy;
pub mod soak;
pub mod socket;
pub mod worker;

use std::future::Future;
use std::time::Duration;

use anyhow::Context;

/// Longest wait for any one thing; generous, because a test machine may have two slow cores and a debug build.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `future`, at most [`DEADLINE`].
///
/// # Errors
/// When the deadline passes; the error names `what`.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(DEADLINE, future).await.with_context(|| format!("waited {DEADLINE:?} in vain for {what}"))
}
