//! How a model folder becomes a [`Pipeline`]: one file per family, table [`FAMILIES`].

pub mod card;
pub mod sd;

use candle_core::Device;
use serde::Deserialize;

use super::pipeline::{ModelInfo, Pipeline};
use super::weights::{LoadError, ModelFiles};

/// A row of [`FAMILIES`].
#[derive(Debug)]
pub struct Family {
    /// What the catalogue calls it.
    pub name: &'static str,
    /// The pipelines of diffusers that it can stand for, as `model_index.json` names them.
    pub diffusers_classes: &'static [&'static str],
    inspect: fn(&ModelFiles) -> Result<ModelInfo, LoadError>,
    load: Load,
}

type Load = fn(&ModelFiles, &Device) -> Result<Box<dyn Pipeline>, LoadError>;

/// Every family.
pub static FAMILIES: &[Family] = &[Family {
    name: sd::NAME,
    diffusers_classes: &["StableDiffusionPipeline"],
    inspect: sd::inspect,
    load: |files, device| Ok(Box::new(sd::StableDiffusion::load(files, device)?)),
}];

#[derive(Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class_name: String,
}

impl Family {
    /// The family of a model folder.
    ///
    /// # Errors
    /// When the folder has no readable `model_index.json`, or one of a pipeline that no family stands for.
    pub fn of(files: &ModelFiles) -> Result<&'static Self, LoadError> {
        const INDEX: &str = "model_index.json";
        let ModelIndex { class_name: class } = files.json(INDEX)?;
        FAMILIES.iter().find(|family| family.diffusers_classes.contains(&class.as_str())).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.diffusers_classes).copied().collect();
            LoadError::UnknownFamily { file: files.name(INDEX), class, known: known.join(", ") }
        })
    }
}

/// What the configurations of a model say; no weights are read.
///
/// # Errors
/// When a configuration is missing, unreadable, or asks for what is not implemented.
pub fn inspect(files: &ModelFiles) -> Result<ModelInfo, LoadError> {
    (Family::of(files)?.inspect)(files)
}

/// Reads the weights onto `device`.
///
/// # Errors
/// As [`inspect`], and when weights are missing, do not fit their configuration, or the device has no room.
pub fn load(files: &ModelFiles, device: &Device) -> Result<Box<dyn Pipeline>, LoadError> {
    (Family::of(files)?.load)(files, device)
}

#[cfg(test)]
mod tests;
