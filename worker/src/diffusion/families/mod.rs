//! How a model folder becomes a [`Pipeline`]: a row of [`FAMILIES`] and a layout.
//!
//! | module | what it holds |
//! |---|---|
//! | `sd` `sdxl` | the layouts: which folders, and what they are read with |
//! | `parts` | the configurations of a model, checked against each other, and how they are loaded |
//! | `latent_diffusion` | the pipeline that all Stable Diffusions share |
//! | `networks` | text encoders and UNet, as trained and with LoRAs |
//! | `conditioning` `text` | from prompts and sizes to what the network is conditioned on |
//! | `pictures` | from input pictures to the distribution of their latents |
//! | [`card`] `latent_rgb` | what a folder says about itself, and published preview bases |
//! | `preview_decoder` | the small decoder that previews are made with |
//! | `prompt_reader` | how a model reads a prompt, without the model |
//! | `stop` | why a generation ends early |

pub mod card;
mod conditioning;
mod latent_diffusion;
mod latent_rgb;
mod networks;
mod parts;
mod pictures;
mod preview_decoder;
mod prompt_reader;
mod sd;
mod sdxl;
mod stop;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use self::parts::{Layout, Parts};
pub use self::preview_decoder::PreviewDecoder;
pub use self::prompt_reader::{PromptReader, PromptReading};
use super::pipeline::{ModelInfo, Pipeline};
use super::placement::Placement;
use super::weights::{LoadError, ModelFiles};

/// A row of [`FAMILIES`].
pub struct Family {
    /// What the catalogue calls it.
    pub name: &'static str,
    /// The pipelines of diffusers that it can stand for, as `model_index.json` names them.
    pub diffusers_classes: &'static [&'static str],
    matches: fn(&ModelIndex) -> bool,
    layout: &'static Layout,
}

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
        layout: &sd::LAYOUT,
    },
    Family {
        name: sdxl::BASE.family,
        diffusers_classes: SDXL_CLASSES,
        matches: ModelIndex::has_first_text_encoder,
        layout: &sdxl::BASE,
    },
    Family {
        name: sdxl::REFINER.family,
        diffusers_classes: SDXL_CLASSES,
        matches: |index| !index.has_first_text_encoder(),
        layout: &sdxl::REFINER,
    },
];

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

    fn parts(files: &ModelFiles) -> Result<Parts, LoadError> {
        Parts::read(files, Self::of(files)?.layout)
    }
}

/// What the configurations of a model say; no weights are read.
///
/// # Errors
/// When a configuration is missing, unreadable, or asks for what is not implemented.
pub fn inspect(files: &ModelFiles) -> Result<ModelInfo, LoadError> {
    Family::parts(files)?.info(files)
}

/// Bytes of memory that the weights of a model will take under `placement`. All of its headers are held against its
/// configurations, and nothing is mapped.
///
/// # Errors
/// As [`inspect`], and when weights are missing, broken or do not fit their configuration.
pub fn measure(files: &ModelFiles, placement: &Placement) -> Result<u64, LoadError> {
    Family::parts(files)?.measure(files, placement)
}

/// Reads the weights as `placement` has them. Prompts may call `embeddings`, files of textual inversion, by their names;
/// those that were made for other models are passed over.
///
/// # Errors
/// As [`measure`], and when the device has no room.
pub fn load(
    files: &ModelFiles,
    embeddings: &[(String, PathBuf)],
    placement: &Placement,
) -> Result<Box<dyn Pipeline>, LoadError> {
    Ok(Box::new(Family::parts(files)?.load(files, embeddings, placement)?))
}

#[cfg(test)]
mod tests;
