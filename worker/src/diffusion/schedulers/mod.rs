//! Samplers, one file each, and the spacing of their sigmas. A new one is a file and a row of [`SCHEDULERS`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `scheduler_config.json`: how the model was trained, and what its authors chose |
//! | [`sigmas`] | noise levels of training, timestep spacings, Karras sigmas |
//! | [`prediction`] | from what the network says to the clean latent |
//! | [`ddim`] [`euler`] [`euler_ancestral`] [`dpmpp_2m`] | the samplers |
//!
//! # Invariants
//! * Each follows the diffusers class that its row names, built with `from_config` of the model's configuration.
//! * The schedule is f64; only latents are f32.
//! * A sampler draws no noise itself: what it needs comes from the caller's [`Noise`].

pub mod config;
pub mod ddim;
pub mod dpmpp_2m;
pub mod euler;
pub mod euler_ancestral;
pub mod prediction;
pub mod sigmas;

use candle_core::{Result, Tensor};

pub use config::SchedulerConfig;

/// Walks from noise to a clean latent.
pub trait Scheduler {
    /// Steps of the walk; at least 1.
    fn steps(&self) -> usize;

    /// Standard deviation of the latent that the walk starts from.
    fn initial_sigma(&self) -> f64;

    /// What the network is told at `step`, in training steps.
    fn timestep(&self, step: usize) -> f64;

    /// Noise before `step`, as a multiple of the clean latent's scale; `sigma(steps())` is what the end leaves.
    fn sigma(&self, step: usize) -> f64;

    /// What the network is given for `sample` at `step`.
    ///
    /// # Errors
    /// When memory runs out.
    fn scale_input(&self, sample: &Tensor, step: usize) -> Result<Tensor>;

    /// From `sample` and what the network said of it at `step` to the sample after it. Steps come in order.
    ///
    /// # Errors
    /// When memory runs out.
    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped>;
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

/// A row of [`SCHEDULERS`].
#[derive(Debug)]
pub struct SchedulerEntry {
    /// The value of a request's `scheduler`.
    pub name: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// The diffusers class that it follows, as `scheduler_config.json` names it.
    pub diffusers_class: &'static str,
    /// The spacings it can walk; [`SigmaSpacing::Default`] is always among them.
    pub spacings: &'static [SigmaSpacing],
    build: fn(&SchedulerConfig, &ScheduleSpec) -> Box<dyn Scheduler>,
}

/// Every scheduler. The first stands in where a model names one that is not here.
pub static SCHEDULERS: &[SchedulerEntry] = &[
    SchedulerEntry {
        name: "euler",
        label: "Euler",
        diffusers_class: "EulerDiscreteScheduler",
        spacings: &[SigmaSpacing::Default, SigmaSpacing::Karras],
        build: |config, spec| Box::new(euler::Euler::new(config, spec)),
    },
    SchedulerEntry {
        name: "euler_a",
        label: "Euler a",
        diffusers_class: "EulerAncestralDiscreteScheduler",
        spacings: &[SigmaSpacing::Default],
        build: |config, spec| Box::new(euler_ancestral::EulerAncestral::new(config, spec)),
    },
    SchedulerEntry {
        name: "dpmpp_2m",
        label: "DPM++ 2M",
        diffusers_class: "DPMSolverMultistepScheduler",
        spacings: &[SigmaSpacing::Default, SigmaSpacing::Karras],
        build: |config, spec| Box::new(dpmpp_2m::DpmPlusPlus2M::new(config, spec)),
    },
    SchedulerEntry {
        name: "ddim",
        label: "DDIM",
        diffusers_class: "DDIMScheduler",
        spacings: &[SigmaSpacing::Default],
        build: |config, spec| Box::new(ddim::Ddim::new(config, spec)),
    },
];

/// The row of [`SCHEDULERS`] called `name`.
pub fn find(name: &str) -> Option<&'static SchedulerEntry> {
    SCHEDULERS.iter().find(|entry| entry.name == name)
}

impl SchedulerEntry {
    /// Whether it can walk this spacing.
    pub fn supports(&self, sigmas: SigmaSpacing) -> bool {
        self.spacings.contains(&sigmas)
    }

    /// The walk that `spec` asks for, with a model of `config`.
    ///
    /// # Errors
    /// When there is no such walk.
    pub fn build(
        &self,
        config: &SchedulerConfig,
        spec: &ScheduleSpec,
    ) -> std::result::Result<Box<dyn Scheduler>, ScheduleError> {
        if !self.supports(spec.sigmas) {
            return Err(ScheduleError::Spacing { scheduler: self.label, sigmas: spec.sigmas.label() });
        }
        let steps_max = config.steps_max();
        if spec.steps == 0 || spec.steps > steps_max {
            return Err(ScheduleError::Steps { steps: spec.steps, steps_max });
        }
        Ok((self.build)(config, spec))
    }
}

impl PartialEq for SchedulerEntry {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// What a request decides about a walk.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleSpec {
    /// Steps; at least 1.
    pub steps: usize,
    /// Spacing of the sigmas.
    pub sigmas: SigmaSpacing,
    /// DDIM's η: 0 draws no noise on the way, 1 as much as DDPM.
    pub eta: f64,
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
    /// More steps than noise levels that the model knows.
    #[error("this model can be walked in 1 to {steps_max} steps, not in {steps}")]
    Steps {
        /// Asked for.
        steps: usize,
        /// Possible.
        steps_max: usize,
    },
}

/// How the sigmas of a schedule are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigmaSpacing {
    /// As the model's scheduler configuration says.
    Default,
    /// Karras et al. 2022, equation 5, ρ = 7.
    Karras,
}

impl SigmaSpacing {
    /// All spacings with the value of a request's `sigmas` and a label.
    pub const ALL: &[(Self, &'static str, &'static str)] =
        &[(Self::Default, "default", "Default"), (Self::Karras, "karras", "Karras")];

    /// The spacing that requests call `name`.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(spacing, ..)| *spacing)
    }

    /// The value of a request's `sigmas`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        Self::ALL.iter().find(|(spacing, ..)| *spacing == self).expect("ALL names every spacing")
    }
}
