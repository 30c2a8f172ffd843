//! Which models there are, and where they come from.
//!
//! | module | what it holds |
//! |---|---|
//! | [`adapters`] | LoRAs and textual-inversion embeddings by name |
//! | [`source`] | `NAME=WHERE?OPTION=VALUE` and what it means |
//! | [`hub`] | downloads from the Hugging Face hub |
//! | [`library`] | the real [`ModelLoader`]: all sources through `diffusion::families` |
//! | `packer` | the thread that writes packed weights beside their models |
//! | [`readers`] | the tokenizers of all models, whether they are loaded or not |
//! | [`memory`] | the loaded models, kept within a budget |
//!
//! # Invariants
//! * A client names a model of the catalogue, never a path.
//! * The catalogue is read from configuration files before the worker listens; weights are fetched and read when the
//!   engine first needs them.

pub mod adapters;
pub mod hub;
pub mod library;
pub mod memory;
mod packer;
pub mod readers;
pub mod source;

pub use adapters::{AdapterSet, Adapters};
pub use library::{Library, PlacedLibrary};
pub use memory::{ByteSize, LoadedModels};
pub use readers::PromptReaders;
pub use source::{ModelOptions, ModelSource};

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::device::DeviceInfo;
use crate::diffusion::families::PreviewDecoder;
use crate::diffusion::weights::LoadError as FilesError;
use crate::diffusion::{ModelInfo, Pipeline};

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueModel {
    /// The value of a request's `model`.
    pub name: String,
    /// What its configuration says.
    pub info: ModelInfo,
    /// What clients make better previews with, where there is one.
    pub preview_decoder: Option<PreviewDecoder>,
}

/// Makes pipelines for one device; lives on that device's engine thread.
pub trait ModelLoader: Send {
    /// Where they compute.
    fn device(&self) -> &DeviceInfo;

    /// All models, never empty; the first is the default.
    fn catalogue(&self) -> &[CatalogueModel];

    /// LoRAs and embeddings that go with them.
    fn adapters(&self) -> &AdapterSet;

    /// Their tokenizers, for whoever asks how a prompt is read.
    fn prompt_readers(&self) -> Arc<PromptReaders>;

    /// Brings the weights of a model onto this machine, telling `progress` how far it is, and returns how many bytes
    /// of memory they will take.
    ///
    /// # Errors
    /// When the weights cannot be fetched, their headers are wrong, or `progress` stops it.
    fn prepare(&mut self, name: &str, progress: &mut OnProgress<'_>) -> Result<u64, LoadError>;

    /// Reads the weights of a model that was prepared, and warms it.
    ///
    /// # Errors
    /// When the model's files cannot be used.
    fn load(&mut self, name: &str) -> Result<Box<dyn Pipeline>, LoadError>;

    /// Gives memory of the device back that is kept between pictures, as none was drawn for a while.
    fn give_back(&self) {}
}

/// How far the weights of a model have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// The file that moved last, relative to the model's folder.
    pub file: String,
    /// Of all files.
    pub done_bytes: u64,
    /// Of all files.
    pub total_bytes: u64,
}

/// Who hears how far a model is, and may stop it.
pub type OnProgress<'a> = dyn FnMut(&LoadProgress) -> ControlFlow<()> + 'a;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Two sources have one name.
    #[error("two models are called {0}; give each --model NAME=… a name of its own")]
    DuplicateName(String),
    /// No source at all.
    #[error("no model: this worker has none built in; name one with --model NAME=WHERE")]
    NoModel,
    /// A name that is not in the catalogue.
    #[error("no model is called {0}")]
    Unknown(String),
    /// Neither a folder nor a file nor an id of the hub.
    #[error(
        "{name}: {location} is no folder, no file, and no hub id of the form owner/name or owner/name/file.safetensors"
    )]
    NotFound {
        /// Name of the model.
        name: String,
        /// What was given.
        location: String,
    },
    /// The hub did not deliver.
    #[error("{name}: {id} is not here and could not be downloaded")]
    Hub {
        /// Name of the model.
        name: String,
        /// Id on the hub.
        id: String,
        /// Why.
        source: Box<hub::HubError>,
    },
    /// The device has no room for it.
    #[error(
        "the model {name} does not fit into the memory of {device}; free some of it, use a type of fewer bytes with \
         --dtype f16, or a smaller model"
    )]
    OutOfMemory {
        /// Name of the model.
        name: String,
        /// Name of the device.
        device: String,
    },
    /// The files are there, but no model of ours.
    #[error("the model {name} cannot be used")]
    Files {
        /// Name of the model.
        name: String,
        /// Why.
        source: Box<FilesError>,
    },
}
