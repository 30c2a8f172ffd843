//! What to draw, once it has been checked.

use std::path::PathBuf;

use candle_core::Tensor;

use super::inpaint::InpaintFill;
use super::noise::Rng;
use super::pipeline::ModelInfo;
use super::pixels::{Mask, Rgb};
use super::schedulers::{SchedulerEntry, SigmaSpacing};

/// What to draw. Every value is within the model's bounds.
#[derive(Clone, Debug)]
pub struct GenerationSpec {
    /// What to draw.
    pub prompt: String,
    /// What guidance pushes away from. SDXL tells an empty one from none.
    pub negative_prompt: Option<String>,
    /// Layers of the text encoder that the prompt leaves out at its end; 0 is none (diffusers' `clip_skip`, which the
    /// negative prompt does not have).
    pub clip_skip: usize,
    /// px, a multiple of [`ModelInfo::latent_scale`].
    pub width: u32,
    /// px, a multiple of [`ModelInfo::latent_scale`].
    pub height: u32,
    /// Steps asked for; at least 1.
    pub steps: u32,
    /// How the prompt steers.
    pub guidance: GuidanceSpec,
    /// Image *n* of the batch draws its noise from `seed + n`.
    pub seed: u64,
    /// Whose stream of noise the seed names.
    pub rng: Rng,
    /// Images; at least 1.
    pub batch_size: u32,
    /// A row of `SCHEDULERS`.
    pub scheduler: &'static SchedulerEntry,
    /// Spacing of the sigmas.
    pub sigmas: SigmaSpacing,
    /// DDIM's η.
    pub eta: f64,
    /// What SDXL is told about the picture's origin.
    pub micro: MicroConditioning,
    /// LoRAs that are merged in, in this order.
    pub loras: Vec<LoraChoice>,
    /// What the walk starts from.
    pub start: Start,
    /// Fraction of the walk after which the latents are handed over to a refiner; 1 walks to the end and decodes.
    pub denoising_end: f64,
}

impl GenerationSpec {
    /// One picture of `prompt` with everything else as the model has it.
    pub fn new(prompt: impl Into<String>, model: &ModelInfo) -> Self {
        Self {
            prompt: prompt.into(),
            negative_prompt: None,
            clip_skip: 0,
            width: model.width,
            height: model.height,
            steps: model.steps,
            guidance: GuidanceSpec::of(model.guidance_scale),
            seed: 0,
            rng: Rng::Cpu,
            batch_size: 1,
            scheduler: model.scheduler,
            sigmas: model.sigmas,
            eta: 0.0,
            micro: MicroConditioning::of(model.height, model.width),
            loras: Vec::new(),
            start: Start::Noise,
            denoising_end: 1.0,
        }
    }

    /// px of all pictures together.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.batch_size)
    }
}

/// Classifier-free guidance (Ho and Salimans 2022).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuidanceSpec {
    /// In diffusers' parametrisation: at most 1 means one evaluation a step.
    pub scale: f64,
    /// How far the contrast is pulled back to that of the unguided prediction, `[0, 1]` (Lin et al. 2024,
    /// equation 16).
    pub rescale: f64,
    /// The guided part of the walk, as fractions of its steps (Kynkäänniemi et al. 2024).
    pub interval: (f64, f64),
}

impl GuidanceSpec {
    /// Guidance of `scale` all the way.
    pub fn of(scale: f64) -> Self {
        Self { scale, rescale: 0.0, interval: (0.0, 1.0) }
    }
}

/// What SDXL is told about the picture's origin (Podell et al. 2024, section 2.2). Pairs are (height, width) or
/// (top, left) in px, as in diffusers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MicroConditioning {
    /// Size of the training picture.
    pub original_size: (u32, u32),
    /// Where it was cropped.
    pub crops_coords_top_left: (u32, u32),
    /// Size after cropping.
    pub target_size: (u32, u32),
    /// How pleasing it is, 0 to 10; read by the refiner only.
    pub aesthetic_score: f64,
    /// The same for the negative prompt.
    pub negative_aesthetic_score: f64,
}

impl MicroConditioning {
    /// Diffusers' defaults for a picture of `height` × `width` px.
    pub fn of(height: u32, width: u32) -> Self {
        Self {
            original_size: (height, width),
            crops_coords_top_left: (0, 0),
            target_size: (height, width),
            aesthetic_score: 6.0,
            negative_aesthetic_score: 2.5,
        }
    }
}

/// A LoRA file with its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraChoice {
    /// What the request calls it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// 1 is as it was trained.
    pub weight: f64,
}

/// What a walk starts from.
#[derive(Clone, Debug)]
pub enum Start {
    /// Noise alone.
    Noise,
    /// A picture.
    Image(ImageStart),
    /// What another model has handed over, at a fraction of the walk.
    Latents {
        /// `[batch, h, w, channels]` f32, as the other model's walk left them.
        latents: Tensor,
        /// Fraction of the walk that is done.
        denoising_start: f64,
    },
}

/// A picture to start from.
#[derive(Clone, Debug)]
pub struct ImageStart {
    /// Of the size of the spec.
    pub picture: Rgb,
    /// How much of it is drawn anew, `(0, 1]`.
    pub strength: f64,
    /// Where it is drawn anew; everywhere where there is none.
    pub mask: Option<MaskSpec>,
}

/// The part of a picture that is drawn anew.
#[derive(Clone, Debug)]
pub struct MaskSpec {
    /// Of the size of the spec: white is drawn anew.
    pub mask: Mask,
    /// What lies under it before the first step.
    pub fill: InpaintFill,
}
