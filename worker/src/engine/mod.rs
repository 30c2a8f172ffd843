//! The bridge between jobs and computation: one thread for each device, which owns its models and every tensor on it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`queue`] | the bounded queue in front of the engine |
//! | [`thread`] | the loop of each device: take a job, load its model, draw, hand over |
//! | [`status`] | what the threads are up to, together |
//! | [`picture`] | the picture that a job starts from |
//! | [`reporter`] | what the computation says about a job; its drop publishes `failed` |
//! | [`finisher`] | the thread that encodes and stores pictures while the engine draws the next job |
//! | [`painter`] | the thread that makes pictures of previews, for viewers that want them |
//!
//! # Invariants
//! * All threads are named, block, and know no tokio task.
//! * A panic in a job is that job's failure: the model is loaded anew and the loop goes on.
//! * A job that left the queue reaches a terminal event whatever happens: its [`JobReporter`] sees to it.

pub mod finisher;
pub mod painter;
pub mod picture;
pub mod queue;
pub mod reporter;
pub mod status;
pub mod thread;

pub use picture::JobPicture;
pub use queue::{Job, JobQueue, QueueClosed, ReserveError, Turn};
pub use reporter::JobReporter;
pub use status::EngineStatus;
pub use thread::Engine;
