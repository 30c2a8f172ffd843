//! Samplers, one file each, and the spacing of their sigmas. A new one is a file and a row of [`SCHEDULERS`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `scheduler_config.json`: how the model was trained, and what its authors chose |
//! | [`table`] | the rows of [`SCHEDULERS`]: names, diffusers classes, what each can walk |
//! | [`schedule`] | the layout of a walk: timesteps and noise levels |
//! | [`spacing`] [`sigmas`] | how noise levels are spaced: Karras, exponential, beta, Align Your Steps; those of training |
//! | [`prediction`] | from what the network says to the clean latent |
//! | [`ddim`] [`ddpm`] [`pndm`] [`consistency`] | samplers over the training steps themselves; LCM and TCD |
//! | [`euler`] [`euler_ancestral`] [`heun`] [`lms`] [`dpm2`] [`dpm_sde`] | samplers of k-diffusion, over sigmas |
//! | [`dpm_multistep`] [`dpm_singlestep`] [`deis`] [`unipc`] | exponential integrators, over ln(α/σ) |
//! | [`brownian`] | the noise of [`dpm_sde`] |
//!
//! # Invariants
//! * Each follows the diffusers class that its row names, built with `from_config` of the model's configuration.
//! * The schedule is f64; only latents are f32.
//! * A sampler draws no noise itself: what it needs comes from the caller's [`Noise`], in the order in which diffusers
//!   draws from its generator. Only [`dpm_sde`] has a path of its own, fixed by the seed.
//! * Evaluations come in order, the first being any multiple of the order; what is kept between them counts from it.

pub mod brownian;
pub mod config;
pub mod consistency;
pub mod ddim;
pub mod ddpm;
pub mod deis;
pub mod dpm2;
pub mod dpm_multistep;
pub mod dpm_sde;
pub mod dpm_singlestep;
pub mod euler;
pub mod euler_ancestral;
pub mod heun;
pub mod lms;
pub mod pndm;
pub mod prediction;
pub mod schedule;
pub mod sigmas;
pub mod spacing;
pub mod table;
pub mod unipc;

use candle_core::{Result, Tensor};

pub use config::{Prediction, SchedulerConfig};
pub use schedule::{Coordinates, Schedule};
pub use spacing::{AlignedModel, SigmaSpacing};
pub use table::{SCHEDULERS, SchedulerEntry, find};

/// Walks from noise to a clean latent.
///
/// A *step* here is one evaluation of the network, numbered from 0: samplers of second order take two for most steps
/// of a request.
pub trait Scheduler {
    /// The layout of the walk.
    fn schedule(&self) -> &Schedule;

    /// From `sample` and what the network said of it at `step` to the sample after it. Steps come in order, the first
    /// of them any that [`Scheduler::start_at_strength`] or [`Scheduler::start_at_fraction`] names.
    ///
    /// # Errors
    /// When memory runs out.
    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped>;

    /// Steps of the walk; at least 1.
    fn steps(&self) -> usize {
        self.schedule().timesteps.len()
    }

    /// Evaluations for one step of a request, 1 or 2 (diffusers' `order`).
    fn order(&self) -> usize {
        self.schedule().order
    }

    /// Standard deviation of the latent that the walk starts from.
    fn initial_sigma(&self) -> f64 {
        self.schedule().initial_sigma
    }

    /// What the network is told at each step, in training steps.
    fn timesteps(&self) -> &[f64] {
        &self.schedule().timesteps
    }

    /// What the network is told at `step`, in training steps.
    fn timestep(&self, step: usize) -> f64 {
        self.timesteps()[step]
    }

    /// Noise before `step`, as a multiple of the clean latent's scale; `sigma(steps())` is what the end leaves.
    fn sigma(&self, step: usize) -> f64 {
        self.schedule().sigmas[step]
    }

    /// The clean latent (x0) that `output` means for `sample` at `step`, before what a sampler makes of it.
    ///
    /// # Errors
    /// When memory runs out.
    fn estimate(&self, step: usize, output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        self.schedule().estimate(step, output, sample)
    }

    /// What the network is given for `sample` at `step`.
    ///
    /// # Errors
    /// When memory runs out.
    fn scale_input(&self, sample: &Tensor, step: usize) -> Result<Tensor> {
        match self.schedule().coordinates {
            Coordinates::Preserving => Ok(sample.clone()),
            Coordinates::Exploding => sample / (self.sigma(step).powi(2) + 1.0).sqrt(),
        }
    }

    /// A clean latent with as much of `noise` as the walk has before `step`; both of unit variance and of one shape.
    ///
    /// Between the two evaluations of one step it is the noise after the step, as diffusers has it.
    ///
    /// # Errors
    /// When memory runs out.
    fn add_noise(&self, clean: &Tensor, noise: &Tensor, step: usize) -> Result<Tensor> {
        self.schedule().add_noise(clean, noise, step)
    }

    /// The first step of a walk that changes an image by `strength`, 0 to 1; `steps()` where nothing is left to do.
    fn start_at_strength(&self, strength: f64) -> usize {
        self.schedule().start_at_strength(strength)
    }

    /// The first step after a part of the denoising, 0 to 1, that another model does (`denoising_start` of diffusers'
    /// `StableDiffusionXLImg2ImgPipeline`).
    fn start_at_fraction(&self, denoising_start: f64) -> usize {
        self.schedule().start_at_fraction(denoising_start)
    }

    /// One past the last step of a part of the denoising, 0 to 1 (`denoising_end` of diffusers'
    /// `StableDiffusionXLPipeline`).
    fn end_at_fraction(&self, denoising_end: f64) -> usize {
        self.schedule().end_at_fraction(denoising_end)
    }
}

/// Fresh unit noise in the shape of the latents, each time it is called.
pub type Noise<'a> = dyn FnMut() -> Result<Tensor> + 'a;

/// What a step gives. Both tensors have the shape of the latents.
#[derive(Debug)]
pub struct Stepped {
    /// The sample after the step.
    pub next: Tensor,
    /// The clean latent (x0) that the network predicted.
    pub denoised: Tensor,
}

/// What a request decides about a walk.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleSpec {
    /// Steps; at least 1.
    pub steps: usize,
    /// Spacing of the sigmas.
    pub sigmas: SigmaSpacing,
    /// How much fresh noise DDIM and TCD add, 0 to 1: DDIM with 1 adds as much as DDPM.
    pub eta: f64,
    /// Of the Brownian paths of DPM++ SDE; image *n* of a batch has `seed + n` (diffusers' `noise_sampler_seed`).
    pub seed: u64,
    /// The part of their training steps over which LCM and TCD spread theirs, above 0 up to 1: less only where the
    /// walk follows diffusers' `LatentConsistencyModelImg2ImgPipeline`, which then takes all of it.
    pub strength: f64,
    /// The model that [`SigmaSpacing::AlignYourSteps`] is taken for.
    pub aligned: AlignedModel,
}

impl ScheduleSpec {
    /// A walk of so many steps, without noise on the way where that is a choice, for Stable Diffusion 1.5.
    pub fn new(steps: usize, sigmas: SigmaSpacing) -> Self {
        Self { steps, sigmas, eta: 0.0, seed: 0, strength: 1.0, aligned: AlignedModel::Sd15 }
    }
}

/// Why there is no such walk.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A spacing that the scheduler does not have.
    #[error("{scheduler} has no {sigmas} sigmas; leave `sigmas` out or choose another scheduler")]
    Spacing {
        /// Its label.
        scheduler: &'static str,
        /// The label of the spacing.
        sigmas: &'static str,
    },
    /// A network that says what the scheduler cannot use.
    #[error("{scheduler} cannot walk a model that predicts the clean latent; choose another scheduler")]
    Prediction {
        /// Its label.
        scheduler: &'static str,
    },
    /// More steps than noise levels that the model knows, or fewer than the scheduler needs.
    #[error("this model can be walked in {steps_min} to {steps_max} steps, not in {steps}")]
    Steps {
        /// Asked for.
        steps: usize,
        /// Possible.
        steps_min: usize,
        /// Possible.
        steps_max: usize,
    },
}
