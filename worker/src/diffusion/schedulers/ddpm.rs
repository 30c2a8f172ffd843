//! Denoising diffusion probabilistic models (Ho et al. 2020, equations 6 and 7; diffusers' `DDPMScheduler`).

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig, TimestepSpacing, Variance};
use super::schedule::Schedule;
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped, sigmas};

/// Diffusers' least variance.
const VARIANCE_MIN: f64 = 1e-20;

/// See the module.
#[derive(Debug)]
pub struct Ddpm {
    schedule: Schedule,
    /// ᾱ at each timestep, and 1 where the walk ends.
    alphas: Vec<f64>,
    variance: Variance,
    clip: Option<f64>,
    prediction: Prediction,
}

impl Ddpm {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = sigmas::alphas_cumprod(config, Class::RESCALING);
        let spacing = config.timestep_spacing_for(spec, TimestepSpacing::Leading);
        let chosen = spec.sigmas.chosen_timesteps(spec, &TrainingSigmas::new(config, Class::RESCALING));
        let visited = match chosen {
            Some(chosen) => chosen.into_iter().map(|timestep| timestep as usize).collect(),
            None => sigmas::whole_timesteps(config, spacing, spec.steps),
        };
        let alphas: Vec<f64> = visited.iter().map(|&timestep| training[timestep]).chain([1.0]).collect();
        let levels = alphas.iter().copied().map(sigmas::sigma_of_alpha).collect();
        let timesteps = visited.iter().map(|&timestep| timestep as f64).collect();
        Self {
            schedule: Schedule::preserving(config, spec, timesteps, levels),
            alphas,
            variance: config.variance_type.unwrap_or(Variance::FixedSmall),
            clip: config.clip(true),
            prediction: config.prediction_type,
        }
    }
}

impl Scheduler for Ddpm {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let (alpha, alpha_next) = (self.alphas[step], self.alphas[step + 1]);
        let (beta_total, beta_total_next) = (1.0 - alpha, 1.0 - alpha_next);
        let kept = alpha / alpha_next;
        let mut denoised = self.prediction.denoised_preserving(output, sample, alpha.sqrt(), beta_total.sqrt())?;
        if let Some(range) = self.clip {
            denoised = denoised.clamp(-range, range)?;
        }
        let towards_denoised = alpha_next.sqrt() * (1.0 - kept) / beta_total;
        let towards_sample = kept.sqrt() * beta_total_next / beta_total;
        let mut next = ((&denoised * towards_denoised)? + (sample * towards_sample)?)?;
        if self.timestep(step) > 0.0 {
            let variance = match self.variance {
                Variance::FixedSmall => (beta_total_next / beta_total * (1.0 - kept)).max(VARIANCE_MIN),
                Variance::FixedLarge => 1.0 - kept,
            };
            next = (next + (noise()? * variance.sqrt())?)?;
        }
        Ok(Stepped { next, denoised })
    }
}
