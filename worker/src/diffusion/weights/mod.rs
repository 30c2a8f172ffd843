//! Model files: where they lie, whether they can be trusted, and tensors by name.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | reading a `config.json`: settings that change the computation are understood or refused |
//! | [`files`] | `ModelFiles`: a folder on disk, files inside the binary, or a single-file checkpoint |
//! | [`checkpoint`] | a single file in the original layout, presented as a folder |
//! | [`header`] | the check of a safetensors header, before anything is mapped |
//! | [`kept`] | `KeptLayers`: the layers of a loaded network, to build it again with `Patches` |
//! | [`packed`] | matrices as kernels read them, kept beside the weights |
//! | [`open`] | which files the weights of a network are: one, several with an index, a part of a checkpoint |
//! | [`tensor_file`] | `TensorFile`: any safetensors file, for adapters and embeddings |
//! | [`tensors`] | `Weights` (mapped files) and `Scope` (a place in their tree of names) |
//! | [`error`] | `LoadError` |
//!
//! # Invariants
//! * Only safetensors are read; a pickle is never opened.
//! * A file is mapped after its header was found consistent with its length, in the one unsafe place of
//!   [`files`]. Tensors are copied out of the map while loading, and no map but that of [`packed`] outlives the load.
//! * Models, adapters and embeddings are first held against headers alone ([`Weights::rehearse`],
//!   [`TensorFile::shape`]): a tensor that is missing or does not fit is told before a byte of its file is mapped.
//! * Every error names the file; a tensor's error also names the tensor with the shapes expected and found.

pub mod checkpoint;
pub mod config;
pub mod error;
pub mod files;
pub mod header;
pub mod kept;
pub mod open;
pub mod packed;
pub mod tensor_file;
pub mod tensors;

pub use error::LoadError;
pub use files::{EmbeddedFile, ModelFiles};
pub use kept::{KeptLayers, LayerShape, Patch, Patches};
pub use packed::{Packing, PackingSender};
pub use tensor_file::TensorFile;
pub use tensors::{Scope, Weights};

#[cfg(test)]
mod tests;
