//! The contract between the computation and the rest of the worker.

use std::time::Duration;

use super::cancel::CancelToken;
use super::schedulers::{ScheduleError, SchedulerEntry, SigmaSpacing};

/// A loaded model that draws.
pub trait Pipeline {
    /// Draws `spec`, telling `observer` after every step.
    ///
    /// `cancel` is read between blocks of the network, before each step and before the VAE; a set token ends the
    /// call with [`Outcome::Canceled`].
    ///
    /// # Errors
    /// What the computation could not do; the pipeline stays usable.
    fn generate(
        &mut self,
        spec: &GenerationSpec,
        cancel: &CancelToken,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, GenerateError>;
}

/// Who watches a generation.
pub trait Observer {
    /// The prompt is encoded and the schedule is known; `steps` network evaluations' worth of steps follow.
    fn started(&mut self, steps: u32);

    /// A denoising step is done.
    fn stepped(&mut self, view: &StepView<'_>);
}

/// What can be seen after a denoising step.
pub struct StepView<'a> {
    /// Steps done, from 1.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// Noise level that the latent now has, in units of the scheduler's sigma.
    pub sigma: f64,
    /// Copies the predicted clean latents (x0) off the device: `[batch, h/8, w/8, channels]` f32, channels last,
    /// scaled to unit variance. Costs one copy; not called when nobody looks.
    pub denoised: &'a dyn Fn() -> Result<Vec<f32>, GenerateError>,
}

/// What to draw. Every value is within the model's bounds.
#[derive(Clone, Debug)]
pub struct GenerationSpec {
    /// What to draw.
    pub prompt: String,
    /// What guidance pushes away from.
    pub negative_prompt: String,
    /// px, a multiple of [`ModelInfo::latent_scale`].
    pub width: u32,
    /// px, a multiple of [`ModelInfo::latent_scale`].
    pub height: u32,
    /// Steps asked for; at least 1.
    pub steps: u32,
    /// Classifier-free guidance; at most 1 means one evaluation a step.
    pub guidance_scale: f64,
    /// Image *n* of the batch draws its noise from `seed + n`.
    pub seed: u64,
    /// Images; at least 1.
    pub batch_size: u32,
    /// A row of `SCHEDULERS`.
    pub scheduler: &'static SchedulerEntry,
    /// Spacing of the sigmas.
    pub sigmas: SigmaSpacing,
    /// DDIM's η.
    pub eta: f64,
}

/// How a generation ended.
#[derive(Debug)]
pub enum Outcome {
    /// With pictures.
    Finished(Finished),
    /// The token was set.
    Canceled,
}

/// What a finished generation leaves.
#[derive(Debug, Default)]
pub struct Finished {
    /// One picture per item of the batch.
    pub pictures: Vec<Picture>,
    /// What was understood differently from what may have been meant, as sentences for the user.
    pub warnings: Vec<String>,
    /// Text encoder.
    pub encode_time: Duration,
    /// All denoising steps, the observer's time included.
    pub denoise_time: Duration,
    /// VAE decoder.
    pub decode_time: Duration,
}

/// A picture: `[height, width, 3]` u8, sRGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// px
    pub width: u32,
    /// px
    pub height: u32,
    /// Rows from the top, RGB.
    pub rgb: Vec<u8>,
}

/// What the computation could not do.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A tensor operation failed: out of memory, or a fault of ours.
    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// The tokenizer refused the prompt.
    #[error("the tokenizer could not read the prompt: {0}")]
    Tokenizer(String),
    /// The scheduler has no such walk.
    #[error("the steps cannot be scheduled")]
    Schedule(#[from] ScheduleError),
    /// The network produced NaN or infinity.
    #[error("the network produced numbers that are not finite")]
    NotFinite,
}

/// What is known about a model from its configuration, before its weights are read.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// A name from `FAMILIES`.
    pub family: &'static str,
    /// Native width, px.
    pub width: u32,
    /// Native height, px.
    pub height: u32,
    /// Steps for a request that names none.
    pub steps: u32,
    /// Guidance for a request that names none.
    pub guidance_scale: f64,
    /// The scheduler that the model's folder names.
    pub scheduler: &'static SchedulerEntry,
    /// The spacing that the scheduler's configuration names.
    pub sigmas: SigmaSpacing,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Pixels along one side of a latent cell.
    pub latent_scale: u32,
    /// Rows of the linear map from latent to display RGB in `[0, 1]`, one per channel.
    pub preview_rows: Vec<[f32; 3]>,
    /// RGB of the zero latent.
    pub preview_bias: [f32; 3],
    /// Prompts that show what the model can draw.
    pub examples: Vec<String>,
}
