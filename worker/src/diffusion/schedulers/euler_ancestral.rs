//! Ancestral sampling with Euler steps (k-diffusion's `sample_euler_ancestral`; diffusers'
//! `EulerAncestralDiscreteScheduler`): each step goes below the next noise level and adds fresh noise up to it.

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig, TimestepSpacing};
use super::{Noise, ScheduleSpec, Scheduler, Stepped, euler, sigmas};

/// See the module.
#[derive(Debug)]
pub struct EulerAncestral {
    timesteps: Vec<f64>,
    /// One more than timesteps; the last is 0.
    sigmas: Vec<f64>,
    initial_sigma: f64,
    prediction: Prediction,
}

impl EulerAncestral {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
        let timesteps = sigmas::timesteps(config, spacing, spec.steps);
        let mut levels = sigmas::interpolated(&sigmas::training_sigmas(config), &timesteps);
        let initial_sigma = euler::initial_sigma(levels[0], spacing);
        levels.push(0.0);
        Self { timesteps, sigmas: levels, initial_sigma, prediction: config.prediction_type }
    }
}

impl Scheduler for EulerAncestral {
    fn steps(&self) -> usize {
        self.timesteps.len()
    }

    fn initial_sigma(&self) -> f64 {
        self.initial_sigma
    }

    fn timestep(&self, step: usize) -> f64 {
        self.timesteps[step]
    }

    fn sigma(&self, step: usize) -> f64 {
        self.sigmas[step]
    }

    fn scale_input(&self, sample: &Tensor, step: usize) -> Result<Tensor> {
        sample / (self.sigmas[step].powi(2) + 1.0).sqrt()
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let (from, to) = (self.sigmas[step], self.sigmas[step + 1]);
        let denoised = self.prediction.denoised_exploding(output, sample, from)?;
        let up = (to.powi(2) * (from.powi(2) - to.powi(2)) / from.powi(2)).sqrt();
        let down = (to.powi(2) - up.powi(2)).sqrt();
        let derivative = ((sample - &denoised)? / from)?;
        let without_noise = (sample + (derivative * (down - from))?)?;
        let next = (without_noise + (noise()? * up)?)?;
        Ok(Stepped { next, denoised })
    }
}
