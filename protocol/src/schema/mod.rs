//! What the types look like on the wire, for programs that speak no Rust; the feature `schema`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`components`] | `Schemas`: JSON Schema 2020-12 of every type that is asked for, and of all that it holds |
//! | [`mod@asyncapi`] | the WebSocket as an AsyncAPI 3 document |
//! | [`mod@typescript`] | the types of frames, jobs, errors, catalogue and limits for TypeScript |
//!
//! # Invariants
//! * Everything is read off the types: a field, a frame or an error code that is added is described with no line here.
//! * Comments of the types are the descriptions, so they are written for readers of either.

pub mod asyncapi;
pub mod components;
pub mod typescript;

pub use asyncapi::asyncapi;
pub use components::Schemas;
pub use typescript::typescript;
