//! Denoising diffusion implicit models (Song et al. 2021, equation 12; diffusers' `DDIMScheduler`).

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig, TimestepSpacing};
use super::schedule::Schedule;
use super::{Noise, ScheduleSpec, Scheduler, Stepped, sigmas};

/// See the module.
#[derive(Debug)]
pub struct Ddim {
    schedule: Schedule,
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
        let training = sigmas::alphas_cumprod(config, Class::RESCALING);
        let spacing = config.timestep_spacing_for(spec, TimestepSpacing::Leading);
        let visited = sigmas::whole_timesteps(config, spacing, spec.steps);
        let final_alpha = if config.set_alpha_to_one.unwrap_or(true) { 1.0 } else { training[0] };
        let stride = config.num_train_timesteps / spec.steps;
        let next = |&timestep: &usize| timestep.checked_sub(stride).map_or(final_alpha, |below| training[below]);
        let alphas: Vec<f64> = visited.iter().map(|&timestep| training[timestep]).collect();
        let alphas_next: Vec<f64> = visited.iter().map(next).collect();
        let last = alphas_next.last().copied();
        let levels = alphas.iter().copied().chain(last).map(sigmas::sigma_of_alpha).collect();
        let timesteps = visited.iter().map(|&timestep| timestep as f64).collect();
        Self {
            schedule: Schedule::preserving(config, spec, timesteps, levels),
            alphas,
            alphas_next,
            eta: spec.eta,
            clip: config.clip(true),
            prediction: config.prediction_type,
        }
    }
}

impl Scheduler for Ddim {
    fn schedule(&self) -> &Schedule {
        &self.schedule
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
