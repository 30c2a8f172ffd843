//! What a model folder may say about itself beyond the diffusers layout.

use serde::Deserialize;

use crate::diffusion::weights::{LoadError, ModelFiles};

/// `model_card.json`: what to draw with when a request leaves it open. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelCard {
    /// px
    pub width: Option<u32>,
    /// px
    pub height: Option<u32>,
    /// Denoising steps.
    pub steps: Option<u32>,
    /// Classifier-free guidance.
    pub guidance_scale: Option<f64>,
    /// Prompts that show what the model can draw.
    pub examples: Vec<String>,
}

/// `preview_basis.json`: the linear map from a clean latent of unit variance to display RGB in `[0, 1]`.
#[derive(Clone, Debug, Deserialize)]
pub struct PreviewBasis {
    /// One RGB row per latent channel.
    pub rows: Vec<[f32; 3]>,
    /// RGB of the zero latent.
    pub bias: [f32; 3],
}

impl ModelCard {
    /// The card of a model, or an empty one.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(files: &ModelFiles) -> Result<Self, LoadError> {
        Ok(files.json_if_present("model_card.json")?.unwrap_or_default())
    }
}

impl PreviewBasis {
    /// The basis of a model, where it brings one.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(files: &ModelFiles) -> Result<Option<Self>, LoadError> {
        files.json_if_present("preview_basis.json")
    }
}
