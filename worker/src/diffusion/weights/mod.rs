//! Model files: where they lie, whether they can be trusted, and tensors by name.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | reading a `config.json`: settings that change the computation are understood or refused |
//! | [`files`] | `ModelFiles`: a folder on disk, or files inside the binary |
//! | [`header`] | the check of a safetensors header, before anything is mapped |
//! | [`tensors`] | `Weights` (one mapped file) and `Scope` (a place in its tree of names) |
//! | [`error`] | `LoadError` |
//!
//! # Invariants
//! * Only safetensors are read; a pickle is never opened.
//! * A file is mapped after its header was found consistent with its length, in the one unsafe place of
//!   [`files`]. Tensors are copied out of the map while loading, and no map outlives the load.
//! * Every error names the file; a tensor's error also names the tensor with the shapes expected and found.

pub mod config;
pub mod error;
pub mod files;
pub mod header;
pub mod tensors;

pub use error::LoadError;
pub use files::{EmbeddedFile, ModelFiles};
pub use tensors::{Scope, Weights};

#[cfg(test)]
mod tests;
