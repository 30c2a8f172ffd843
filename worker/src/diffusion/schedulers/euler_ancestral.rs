//! Ancestral sampling with Euler steps (k-diffusion's `sample_euler_ancestral`; diffusers'
//! `EulerAncestralDiscreteScheduler`): each step goes below the next noise level and adds fresh noise up to it.

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig, TimestepSpacing};
use super::schedule::{Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped, sigmas};

/// See the module.
#[derive(Debug)]
pub struct EulerAncestral {
    schedule: Schedule,
    prediction: Prediction,
}

impl EulerAncestral {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::RESCALING);
        let spacing = config.timestep_spacing_for(spec, TimestepSpacing::Linspace);
        // Diffusers' class has no switch for a spacing of the sigmas, so that one in the configuration says nothing.
        let timesteps = sigmas::timesteps(config, spacing, spec.steps);
        let sigmas = timesteps.iter().map(|&timestep| training.at(timestep)).collect();
        let schedule = Schedule::exploding(config, spec, Visited { timesteps, sigmas }, 0.0);
        Self { schedule, prediction: config.prediction_type }
    }
}

impl Scheduler for EulerAncestral {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let sigma = self.sigma(step);
        let (down, up) = sigmas::ancestral(sigma, self.sigma(step + 1));
        let denoised = self.prediction.denoised_exploding(output, sample, sigma)?;
        let derivative = ((sample - &denoised)? / sigma)?;
        let without_noise = (sample + (derivative * (down - sigma))?)?;
        let next = (without_noise + (noise()? * up)?)?;
        Ok(Stepped { next, denoised })
    }
}
