//! What every walk is laid out as: the timesteps that the network is told, and the noise between them.

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig, TimestepSpacing};
use super::sigmas::{self, TrainingSigmas};
use super::{ScheduleSpec, SigmaSpacing};

/// How a sampler writes a noisy latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// `α·x0 + σ·noise` with `α² + σ² = 1`: the network is given the sample as it is.
    Preserving,
    /// `x0 + σ·noise`: the former divided by its α.
    Exploding,
}

/// The layout of a walk.
#[derive(Debug)]
pub struct Schedule {
    /// What the network is told at each evaluation, in training steps.
    pub(super) timesteps: Vec<f64>,
    /// Noise before each evaluation and after the last, in multiples of the clean latent's scale: one more.
    pub(super) sigmas: Vec<f64>,
    pub(super) coordinates: Coordinates,
    pub(super) prediction: Prediction,
    /// Deviation of the first sample.
    pub(super) initial_sigma: f64,
    /// Evaluations of one step of the request.
    pub(super) order: usize,
    /// Steps of the request.
    pub(super) steps: usize,
    /// Timesteps of training.
    pub(super) training_steps: usize,
}

/// Noise levels that a walk visits, from the most to the least, and the training step of each.
#[derive(Debug)]
pub(super) struct Visited {
    pub(super) timesteps: Vec<f64>,
    pub(super) sigmas: Vec<f64>,
}

impl Schedule {
    /// A walk in variance preserving coordinates; `sigmas` has one more than `timesteps`.
    pub(super) fn preserving(
        config: &SchedulerConfig,
        spec: &ScheduleSpec,
        timesteps: Vec<f64>,
        sigmas: Vec<f64>,
    ) -> Self {
        Self {
            timesteps,
            sigmas,
            coordinates: Coordinates::Preserving,
            prediction: config.prediction_type,
            initial_sigma: 1.0,
            order: 1,
            steps: spec.steps,
            training_steps: config.num_train_timesteps,
        }
    }

    /// A walk in variance exploding coordinates that leaves `last`.
    pub(super) fn exploding(config: &SchedulerConfig, spec: &ScheduleSpec, visited: Visited, last: f64) -> Self {
        let Visited { timesteps, mut sigmas } = visited;
        let largest = sigmas[0];
        sigmas.push(last);
        // With `leading`, diffusers adds the variance of the clean latent.
        let initial_sigma = match config.timestep_spacing_for(spec, TimestepSpacing::Linspace) {
            TimestepSpacing::Leading => (largest * largest + 1.0).sqrt(),
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => largest,
        };
        let coordinates = Coordinates::Exploding;
        Self { coordinates, initial_sigma, ..Self::preserving(config, spec, timesteps, sigmas) }
    }

    /// See [`super::Scheduler::add_noise`].
    pub(super) fn add_noise(&self, clean: &Tensor, noise: &Tensor, step: usize) -> Result<Tensor> {
        let sigma = self.sigmas[step.next_multiple_of(self.order)];
        match self.coordinates {
            Coordinates::Preserving => {
                let level = Level::of(sigma);
                (clean * level.alpha)? + (noise * level.sigma)?
            }
            Coordinates::Exploding => clean + (noise * sigma)?,
        }
    }

    /// See [`super::Scheduler::estimate`].
    pub(super) fn estimate(&self, step: usize, output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        match self.coordinates {
            Coordinates::Preserving => {
                let level = self.level(step);
                self.prediction.denoised_preserving(output, sample, level.alpha, level.sigma)
            }
            Coordinates::Exploding => self.prediction.denoised_exploding(output, sample, self.sigmas[step]),
        }
    }

    /// See [`super::Scheduler::start_at_strength`]; `get_timesteps` of diffusers' `StableDiffusionImg2ImgPipeline`.
    pub(super) fn start_at_strength(&self, strength: f64) -> usize {
        let taken = ((self.steps as f64 * strength) as usize).min(self.steps);
        ((self.steps - taken) * self.order).min(self.timesteps.len())
    }

    /// See [`super::Scheduler::start_at_fraction`].
    pub(super) fn start_at_fraction(&self, denoising_start: f64) -> usize {
        let cutoff = self.cutoff(denoising_start);
        let mut left = self.timesteps.iter().filter(|&&timestep| timestep < cutoff).count();
        // Not between the two evaluations of one step.
        if self.order == 2 && left.is_multiple_of(2) {
            left += 1;
        }
        self.timesteps.len().saturating_sub(left)
    }

    /// See [`super::Scheduler::end_at_fraction`].
    pub(super) fn end_at_fraction(&self, denoising_end: f64) -> usize {
        let cutoff = self.cutoff(denoising_end);
        self.timesteps.iter().filter(|&&timestep| timestep >= cutoff).count()
    }

    /// The training step after a part of the denoising.
    fn cutoff(&self, fraction: f64) -> f64 {
        let count = self.training_steps as f64;
        (count - fraction * count).round_ties_even()
    }

    /// The noise before `step`.
    pub(super) fn level(&self, step: usize) -> Level {
        Level::of(self.sigmas[step])
    }

    /// A walk of two evaluations a step, the second at the level of `middle`, that leaves nothing. The last step needs
    /// one evaluation, so that there are as many middles as steps less one.
    pub(super) fn two_stage(
        config: &SchedulerConfig,
        spec: &ScheduleSpec,
        visited: &Visited,
        middle: &Visited,
    ) -> Self {
        let interleaved = |outer: &[f64], middle: &[f64]| {
            let pairs = middle.iter().zip(&outer[1..]);
            std::iter::once(outer[0]).chain(pairs.flat_map(|(middle, next)| [*middle, *next])).collect()
        };
        let timesteps = interleaved(&visited.timesteps, &middle.timesteps);
        let sigmas = interleaved(&visited.sigmas, &middle.sigmas);
        Self { order: 2, ..Self::exploding(config, spec, Visited { timesteps, sigmas }, 0.0) }
    }
}

/// A noise level in variance preserving coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) alpha: f64,
    pub(super) sigma: f64,
    /// ln(α / σ)
    pub(super) lambda: f64,
}

impl Level {
    /// Of a sigma in variance exploding coordinates, from none to infinite.
    pub(super) fn of(sigma: f64) -> Self {
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        let preserving = if sigma.is_infinite() { 1.0 } else { sigma * alpha };
        Self { alpha, sigma: preserving, lambda: -sigma.ln() }
    }
}

impl Visited {
    /// The levels of the classes that walk in variance exploding coordinates: training steps are chosen first, and a
    /// spacing of the sigmas goes from the first of them to the last.
    pub(super) fn exploding(
        config: &SchedulerConfig,
        spec: &ScheduleSpec,
        training: &TrainingSigmas,
        bounds: Bounds,
    ) -> Self {
        let spacing = config.timestep_spacing_for(spec, TimestepSpacing::Linspace);
        let chosen = spec.sigmas.chosen_timesteps(spec, training);
        let timesteps = chosen.unwrap_or_else(|| sigmas::timesteps(config, spacing, spec.steps));
        let sigmas: Vec<f64> = timesteps.iter().map(|&timestep| training.at(timestep)).collect();
        let ends = (sigmas[0], sigmas[sigmas.len() - 1]);
        match spaced(config, spec, ends, bounds) {
            Some(sigmas) => {
                Self { timesteps: sigmas.iter().map(|&sigma| training.timestep_of(sigma)).collect(), sigmas }
            }
            None => Self { timesteps, sigmas },
        }
    }

    /// The levels of the classes that walk in variance preserving coordinates: whole training steps with one spacing
    /// left out at the end, or a spacing of the sigmas over all of training.
    ///
    /// `karras_step` makes the training step of a Karras sigma whole; the other spacings cut it down.
    pub(super) fn preserving(
        config: &SchedulerConfig,
        spec: &ScheduleSpec,
        training: &TrainingSigmas,
        karras_step: fn(f64) -> f64,
    ) -> Self {
        if let Some(sigmas) = spaced(config, spec, (training.max(), training.min()), Bounds::Configured) {
            let whole = if config.spacing_for(spec) == SigmaSpacing::Karras { karras_step } else { f64::trunc };
            return Self {
                timesteps: sigmas.iter().map(|&sigma| whole(training.timestep_of(sigma))).collect(),
                sigmas,
            };
        }
        let chosen = spec.sigmas.chosen_timesteps(spec, training);
        let timesteps = chosen.unwrap_or_else(|| without_the_last(config, spec, training));
        Self { sigmas: timesteps.iter().map(|&timestep| training.at(timestep)).collect(), timesteps }
    }
}

/// Whether the configuration's own largest and smallest sigma win over those of the chosen training steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    Configured,
    /// Not for Karras sigmas: LMS and DPM++ SDE of diffusers take no notice there.
    NotForKarras,
}

/// The sigmas of a spacing that goes from a largest to a smallest one, where the request or the configuration wants
/// such a spacing.
fn spaced(config: &SchedulerConfig, spec: &ScheduleSpec, (max, min): (f64, f64), bounds: Bounds) -> Option<Vec<f64>> {
    let spacing = config.spacing_for(spec);
    let configured = bounds == Bounds::Configured || spacing != SigmaSpacing::Karras;
    let or = |chosen: Option<f64>, end: f64| chosen.filter(|_| configured).unwrap_or(end);
    let (max, min) = (or(config.sigma_max, max), or(config.sigma_min, min));
    match spacing {
        SigmaSpacing::Karras => Some(sigmas::karras(max, min, spec.steps)),
        SigmaSpacing::Exponential => Some(sigmas::exponential(max, min, spec.steps)),
        SigmaSpacing::Beta => Some(sigmas::beta_quantiles(max, min, spec.steps)),
        SigmaSpacing::Default | SigmaSpacing::SgmUniform | SigmaSpacing::Simple | SigmaSpacing::AlignYourSteps => None,
    }
}

/// Whole training steps from the most noise to the least, as DPM-Solver, DEIS and UniPC choose them.
fn without_the_last(config: &SchedulerConfig, spec: &ScheduleSpec, training: &TrainingSigmas) -> Vec<f64> {
    let steps = spec.steps;
    // λ = −ln σ falls as σ grows, so that the noise levels to leave out are the last ones.
    let count = match config.lambda_min_clipped {
        Some(lambda_min) => training.levels.partition_point(|sigma| -sigma.ln() >= lambda_min).max(2),
        None => training.levels.len(),
    };
    let stride = config.num_train_timesteps as f64 / steps as f64;
    let walked = match config.timestep_spacing_for(spec, TimestepSpacing::Linspace) {
        TimestepSpacing::Trailing => ((count as f64 / stride).ceil() as usize).min(steps),
        TimestepSpacing::Linspace | TimestepSpacing::Leading => steps,
    };
    let timestep = |i: usize| match config.timestep_spacing_for(spec, TimestepSpacing::Linspace) {
        TimestepSpacing::Linspace => ((steps - i) as f64 * ((count - 1) as f64 / steps as f64)).round_ties_even(),
        TimestepSpacing::Leading => ((steps - i) * (count / (steps + 1)) + config.steps_offset) as f64,
        TimestepSpacing::Trailing => sigmas::trailing(count as f64, config.num_train_timesteps, steps, i),
    };
    (0..walked).map(timestep).collect()
}
