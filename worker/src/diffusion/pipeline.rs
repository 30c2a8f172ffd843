//! The contract between the computation and the rest of the worker.

use std::time::Duration;

use candle_core::Tensor;

use super::cancel::CancelToken;
use super::recent::Reuse;
use super::schedulers::{AlignedModel, ScheduleError, ScheduleSpec, SchedulerConfig, SchedulerEntry, SigmaSpacing};
use super::spec::GenerationSpec;
use super::weights::LoadError;

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

    /// Whether [`glimpsed`](Self::glimpsed) is worth some percent of the first step.
    fn wants_glimpse(&self) -> bool {
        false
    }

    /// Half of the first step is done: what the network says of the prompt, before it is held against the negative one.
    /// Where it can be had without another picture coming out: on the CPU.
    fn glimpsed(&mut self, _view: &StepView<'_>) {}
}

/// What can be seen after a denoising step.
pub struct StepView<'a> {
    /// Steps done, from 1; 0 at a glimpse.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// Noise level that the latent now has, in units of the scheduler's sigma.
    pub sigma: f64,
    /// Copies the predicted clean latents (x0) off the device: `[batch, h/8, w/8, channels]` f32, channels last,
    /// scaled to unit variance. Costs one copy; not called when nobody looks.
    pub denoised: &'a dyn Fn() -> Result<Vec<f32>, GenerateError>,
}

/// How a generation ended.
#[derive(Debug)]
pub enum Outcome {
    /// With pictures.
    Finished(Finished),
    /// With latents for the model that goes on.
    HandedOver(HandedOver),
    /// The token was set.
    Canceled,
}

/// What a walk leaves that ends before its last step.
#[derive(Debug)]
pub struct HandedOver {
    /// `[batch, h, w, channels]` f32, with the noise that is left.
    pub latents: Tensor,
    /// As in [`Finished`].
    pub warnings: Vec<String>,
    /// Text encoder.
    pub encode_time: Duration,
    /// All denoising steps.
    pub denoise_time: Duration,
    /// As in [`Finished`].
    pub caches: CacheUse,
}

/// What a generation found ready from those before it, and what it had to make. The pictures are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Prompts and negative prompts, encoded.
    pub texts: Reuse,
    /// Input pictures, encoded by the VAE.
    pub pictures: Reuse,
    /// Combinations of LoRAs, merged.
    pub loras: Reuse,
}

impl std::ops::AddAssign for CacheUse {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.pictures += other.pictures;
        self.loras += other.loras;
    }
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
    /// What was at hand.
    pub caches: CacheUse,
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
    /// A LoRA cannot be read or does not fit the model.
    #[error("a LoRA cannot be used with this model")]
    Lora(#[source] Box<LoadError>),
    /// There is no way from a picture to latents.
    #[error("this model cannot start from a picture: its VAE has no encoder")]
    NoEncoder,
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
    /// How the model was trained to be walked.
    pub schedule: ModelSchedule,
    /// What the network is told about the picture's origin.
    pub micro: MicroKind,
    /// Whether guidance was distilled into the network (LCM), so that it reads a scale and no negative prompt.
    pub has_guidance_inside: bool,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Pixels along one side of a latent cell.
    pub latent_scale: u32,
    /// Latents of the network are those of the VAE times this.
    pub scaling_factor: f64,
    /// Most layers of the text encoder that can be left out.
    pub clip_skip_max: usize,
    /// Rows of the linear map from latent to display RGB in `[0, 1]`, one per channel.
    pub preview_rows: Vec<[f32; 3]>,
    /// RGB of the zero latent.
    pub preview_bias: [f32; 3],
    /// Prompts that show what the model can draw.
    pub examples: Vec<String>,
}

/// What a model decides about any walk through it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSchedule {
    /// `scheduler_config.json`, as the family's pipeline understands it.
    pub config: SchedulerConfig,
    /// Whose schedule "Align Your Steps" takes.
    pub aligned: AlignedModel,
}

impl ModelSchedule {
    /// The walk that `spec` asks for.
    pub fn of(&self, spec: &GenerationSpec) -> ScheduleSpec {
        let plain = ScheduleSpec::new(spec.steps as usize, spec.sigmas);
        ScheduleSpec { eta: spec.eta, seed: spec.seed, aligned: self.aligned, ..plain }
    }

    /// Whether there is that walk.
    ///
    /// # Errors
    /// Why there is none.
    pub fn check(&self, spec: &GenerationSpec) -> Result<(), ScheduleError> {
        spec.scheduler.check(&self.config, &self.of(spec))
    }
}

/// What a network is told about the picture's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MicroKind {
    /// Nothing: Stable Diffusion 1 and 2.
    None,
    /// Original size, crop, target size: SDXL.
    Sizes,
    /// Original size, crop, aesthetic score: the SDXL refiner.
    Aesthetic,
}

impl MicroKind {
    /// How many numbers that is.
    pub(super) fn ids(self) -> usize {
        match self {
            Self::None => 0,
            Self::Sizes => 6,
            Self::Aesthetic => 5,
        }
    }
}

impl ModelInfo {
    /// Whether the latents of one model mean the same to the other.
    pub fn shares_latents(&self, other: &Self) -> bool {
        (self.latent_channels, self.latent_scale, self.scaling_factor)
            == (other.latent_channels, other.latent_scale, other.scaling_factor)
    }
}
