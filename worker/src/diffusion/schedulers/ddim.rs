//! Denoising diffusion implicit models (Song et al. 2021, equation 12; diffusers' `DDIMScheduler`).

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig, TimestepSpacing};
use super::{Noise, ScheduleSpec, Scheduler, Stepped, sigmas};

/// See the module.
#[derive(Debug)]
pub struct Ddim {
    timesteps: Vec<f64>,
    /// ᾱ at each timestep.
    alphas: Vec<f64>,
    /// ᾱ that each step goes to: one spacing below its timestep.
    alphas_next: Vec<f64>,
    eta: f64,
    clip: Option<f64>,
    prediction: Prediction,
}

impl Ddim {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = sigmas::alphas_cumprod(config);
        let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Leading);
        let visited: Vec<usize> = sigmas::timesteps(config, spacing, spec.steps)
            .into_iter()
            .map(|timestep| (timestep.round_ties_even() as usize).min(training.len() - 1))
            .collect();
        let final_alpha = if config.set_alpha_to_one { 1.0 } else { training[0] };
        let stride = config.num_train_timesteps / spec.steps;
        let next = |&timestep: &usize| timestep.checked_sub(stride).map_or(final_alpha, |below| training[below]);
        Self {
            timesteps: visited.iter().map(|&timestep| timestep as f64).collect(),
            alphas: visited.iter().map(|&timestep| training[timestep]).collect(),
            alphas_next: visited.iter().map(next).collect(),
            eta: spec.eta,
            clip: config.clip_sample.then_some(config.clip_sample_range),
            prediction: config.prediction_type,
        }
    }
}

impl Scheduler for Ddim {
    fn steps(&self) -> usize {
        self.timesteps.len()
    }

    fn initial_sigma(&self) -> f64 {
        1.0
    }

    fn timestep(&self, step: usize) -> f64 {
        self.timesteps[step]
    }

    fn sigma(&self, step: usize) -> f64 {
        let last = self.alphas_next[self.alphas_next.len() - 1];
        sigmas::sigma_of_alpha(self.alphas.get(step).copied().unwrap_or(last))
    }

    fn scale_input(&self, sample: &Tensor, _step: usize) -> Result<Tensor> {
        Ok(sample.clone())
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let (alpha, alpha_next) = (self.alphas[step], self.alphas_next[step]);
        let (signal, sigma) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let mut denoised = self.prediction.denoised_preserving(output, sample, signal, sigma)?;
        if let Some(range) = self.clip {
            denoised = denoised.clamp(-range, range)?;
        }
        let direction = self.prediction.noise_preserving(output, sample, signal, sigma)?;
        let variance = (1.0 - alpha_next) / (1.0 - alpha) * (1.0 - alpha / alpha_next);
        let deviation = self.eta * variance.sqrt();
        let along = (1.0 - alpha_next - deviation.powi(2)).max(0.0).sqrt();
        let mut next = ((&denoised * alpha_next.sqrt())? + (direction * along)?)?;
        if self.eta > 0.0 {
            next = (next + (noise()? * deviation)?)?;
        }
        Ok(Stepped { next, denoised })
    }
}
