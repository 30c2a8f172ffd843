//! Which models there are, and where they come from.
//!
//! | module | what it holds |
//! |---|---|
//! | [`source`] | `NAME=PATH_OR_ID` and what it means |
//! | [`hub`] | downloads from the Hugging Face hub |
//! | [`library`] | the real [`ModelLoader`]: folders and embedded files through `diffusion::families` |
//!
//! # Invariants
//! * A client names a model of the catalogue, never a path.
//! * The catalogue is read from configuration files before the worker listens; weights are read by the engine.

pub mod hub;
pub mod library;
pub mod source;

pub use library::Library;
pub use source::ModelSource;

use crate::diffusion::weights::LoadError as FilesError;
use crate::diffusion::{ModelInfo, Pipeline};

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueModel {
    /// The value of a request's `model`.
    pub name: String,
    /// What its configuration says.
    pub info: ModelInfo,
}

/// Makes pipelines; lives on the engine thread.
pub trait ModelLoader: Send {
    /// All models, never empty; the first is the default.
    fn catalogue(&self) -> &[CatalogueModel];

    /// Reads the weights of a model and warms it.
    ///
    /// # Errors
    /// When the model's files cannot be used.
    fn load(&mut self, name: &str) -> Result<Box<dyn Pipeline>, LoadError>;
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Two sources have one name.
    #[error("two models are called {0}; give each --model NAME=… a name of its own")]
    DuplicateName(String),
    /// No source at all.
    #[error("no model: this worker has none built in; name one with --model NAME=PATH_OR_ID")]
    NoModel,
    /// A name that is not in the catalogue.
    #[error("no model is called {0}")]
    Unknown(String),
    /// Neither a folder nor an id of the hub.
    #[error("{name}: {location} is no folder, and no hub id of the form owner/name")]
    NotFound {
        /// Name of the model.
        name: String,
        /// What was given.
        location: String,
    },
    /// The hub did not deliver.
    #[error("{name}: {id} could not be downloaded")]
    Hub {
        /// Name of the model.
        name: String,
        /// Id on the hub.
        id: String,
        /// Why.
        source: Box<hf_hub::HFError>,
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
