//! How a model folder becomes a [`Pipeline`]: a row of [`FAMILIES`] and a layout.
//!
//! | module | what it holds |
//! |---|---|
//! | `sd` `sdxl` | the layouts: which folders, and what they are read with |
//! | `parts` | the configurations of a model, checked against each other, and how they are loaded |
//! | `latent_diffusion` | the pipeline that all Stable Diffusions share |
//! | `networks` | text encoders and UNet, as trained and with LoRAs |
//! | `conditioning` `text` | from prompts and sizes to what the network is conditioned on |
//! | [`card`] `latent_rgb` | what a folder says about itself, and published preview bases |
//! | `stop` | why a generation ends early |

pub mod card;
mod conditioning;
mod latent_diffusion;
mod latent_rgb;
mod networks;
mod parts;
mod sd;
mod sdxl;
mod stop;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use candle_core::Device;
use serde::Deserialize;
use serde_json::Value;

use self::parts::{Layout, Parts};
use super::pipeline::{ModelInfo, Pipeline};
use super::weights::{LoadError, ModelFiles};

/// A row of [`FAMILIES`].
pub struct Family {
    /// What the catalogue calls it.
    pub name: &'static str,
    /// The pipelines of diffusers that it can stand for, as `model_index.json` names them.
    pub diffusers_classes: &'static [&'static str],
    matches: fn(&ModelIndex) -> bool,
    inspect: fn(&ModelFiles) -> Result<ModelInfo, LoadError>,
    load: Load,
}

type Load = fn(&ModelFiles, &[(String, PathBuf)], &Device) -> Result<Box<dyn Pipeline>, LoadError>;

const SDXL_CLASSES: &[&str] =
    &["StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"];

/// Every family.
pub static FAMILIES: &[Family] = &[
    Family {
        name: sd::LAYOUT.family,
        diffusers_classes: &[
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionInpaintPipeline",
            "LatentConsistencyModelPipeline",
        ],
        matches: |_| true,
        inspect: |files| inspect_layout(files, &sd::LAYOUT),
        load: |files, embeddings, device| load_layout(files, embeddings, device, &sd::LAYOUT),
    },
    Family {
        name: sdxl::BASE.family,
        diffusers_classes: SDXL_CLASSES,
        matches: ModelIndex::has_first_text_encoder,
        inspect: |files| inspect_layout(files, &sdxl::BASE),
        load: |files, embeddings, device| load_layout(files, embeddings, device, &sdxl::BASE),
    },
    Family {
        name: sdxl::REFINER.family,
        diffusers_classes: SDXL_CLASSES,
        matches: |index| !index.has_first_text_encoder(),
        inspect: |files| inspect_layout(files, &sdxl::REFINER),
        load: |files, embeddings, device| load_layout(files, embeddings, device, &sdxl::REFINER),
    },
];

fn inspect_layout(files: &ModelFiles, layout: &'static Layout) -> Result<ModelInfo, LoadError> {
    Parts::read(files, layout)?.info(files)
}

fn load_layout(
    files: &ModelFiles,
    embeddings: &[(String, PathBuf)],
    device: &Device,
    layout: &'static Layout,
) -> Result<Box<dyn Pipeline>, LoadError> {
    Ok(Box::new(Parts::read(files, layout)?.load(files, embeddings, device)?))
}

#[derive(Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class_name: String,
    /// Library and class, or two nulls.
    #[serde(default)]
    text_encoder: Vec<Value>,
}

impl ModelIndex {
    fn has_first_text_encoder(&self) -> bool {
        self.text_encoder.iter().any(|part| !part.is_null())
    }
}

impl Family {
    /// The family of a model folder.
    ///
    /// # Errors
    /// When the folder has no readable `model_index.json`, or one of a pipeline that no family stands for.
    pub fn of(files: &ModelFiles) -> Result<&'static Self, LoadError> {
        const INDEX: &str = "model_index.json";
        let index: ModelIndex = files.json(INDEX)?;
        let stands_for =
            |family: &&Self| family.diffusers_classes.contains(&index.class_name.as_str()) && (family.matches)(&index);
        FAMILIES.iter().find(stands_for).ok_or_else(|| {
            let known: BTreeSet<&str> = FAMILIES.iter().flat_map(|family| family.diffusers_classes).copied().collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            LoadError::UnknownFamily { file: files.name(INDEX), class: index.class_name.clone(), known }
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

/// Reads the weights onto `device`. Prompts may call `embeddings`, files of textual inversion, by their names; those
/// that were made for other models are passed over.
///
/// # Errors
/// As [`inspect`], and when weights are missing, do not fit their configuration, or the device has no room.
pub fn load(
    files: &ModelFiles,
    embeddings: &[(String, PathBuf)],
    device: &Device,
) -> Result<Box<dyn Pipeline>, LoadError> {
    (Family::of(files)?.load)(files, embeddings, device)
}

#[cfg(test)]
mod tests;
