//! Euler's method on the probability flow ODE (Karras et al. 2022, algorithm 2 without churn; diffusers'
//! `EulerDiscreteScheduler`).

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig, TimestepSpacing};
use super::{Noise, ScheduleSpec, Scheduler, SigmaSpacing, Stepped, sigmas};

/// See the module.
#[derive(Debug)]
pub struct Euler {
    timesteps: Vec<f64>,
    /// One more than timesteps.
    sigmas: Vec<f64>,
    initial_sigma: f64,
    prediction: Prediction,
}

impl Euler {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = sigmas::training_sigmas(config);
        let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
        let mut timesteps = sigmas::timesteps(config, spacing, spec.steps);
        let mut levels = sigmas::interpolated(&training, &timesteps);
        if spec.sigmas == SigmaSpacing::Karras || config.names_karras() {
            levels = sigmas::karras(config, levels[0], levels[levels.len() - 1], spec.steps);
            timesteps = levels.iter().map(|&sigma| sigmas::timestep_of_sigma(&training, sigma)).collect();
        }
        levels.push(sigmas::final_sigma(config, &training));
        let initial_sigma = initial_sigma(levels[0], spacing);
        Self { timesteps, sigmas: levels, initial_sigma, prediction: config.prediction_type }
    }
}

/// Deviation of the first sample: with `leading`, diffusers adds the variance of the clean latent.
pub(super) fn initial_sigma(largest: f64, spacing: TimestepSpacing) -> f64 {
    match spacing {
        TimestepSpacing::Leading => (largest * largest + 1.0).sqrt(),
        TimestepSpacing::Linspace | TimestepSpacing::Trailing => largest,
    }
}

impl Scheduler for Euler {
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

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let (sigma, sigma_next) = (self.sigmas[step], self.sigmas[step + 1]);
        let denoised = self.prediction.denoised_exploding(output, sample, sigma)?;
        let derivative = ((sample - &denoised)? / sigma)?;
        let next = (sample + (derivative * (sigma_next - sigma))?)?;
        Ok(Stepped { next, denoised })
    }
}
