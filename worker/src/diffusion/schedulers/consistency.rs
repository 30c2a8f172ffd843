//! Few-step sampling of distilled models (diffusers' `LCMScheduler` and `TCDScheduler`): jump to the clean latent,
//! then back to a lower noise level with fresh noise.
//!
//! Latent consistency models (Luo et al. 2023) go back with all of the noise fresh. Trajectory consistency
//! distillation (Zheng et al. 2024) keeps a part of it, the less the larger η.

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig};
use super::schedule::Schedule;
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped, sigmas};

/// The deviation of the data that the boundary condition of LCM assumes.
const SIGMA_DATA: f64 = 0.5;

/// See the module.
#[derive(Debug)]
pub struct Lcm {
    schedule: Schedule,
    /// ᾱ at each timestep.
    alphas: Vec<f64>,
    timestep_scaling: f64,
    clip: Option<f64>,
    prediction: Prediction,
}

/// See the module.
#[derive(Debug)]
pub struct Tcd {
    schedule: Schedule,
    /// ᾱ at each timestep, and of the least noise, where the walk ends.
    alphas: Vec<f64>,
    /// ᾱ of the level below the next timestep that each step goes to before it adds noise.
    alphas_below: Vec<f64>,
    eta: f64,
    prediction: Prediction,
}

/// Evenly many of the training steps that the model was distilled for, from the most noise to the least, as far as
/// `spec.strength` reaches.
fn timesteps(config: &SchedulerConfig, spec: &ScheduleSpec) -> Vec<usize> {
    if let Some(chosen) = spec.sigmas.chosen_timesteps(spec, &TrainingSigmas::new(config, Class::CONSISTENCY)) {
        return chosen.into_iter().map(|timestep| timestep as usize).collect();
    }
    let reached = steps_max(config, spec);
    let stride = config.num_train_timesteps / config.original_inference_steps;
    let skipped = |i: usize| (i as f64 * (reached as f64 / spec.steps as f64)) as usize;
    (0..spec.steps).map(|i| (reached - skipped(i)) * stride - 1).collect()
}

/// Steps of the longest walk, which is also how many training steps there are to choose from.
pub(super) fn steps_max(config: &SchedulerConfig, spec: &ScheduleSpec) -> usize {
    (config.original_inference_steps as f64 * spec.strength) as usize
}

impl Lcm {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = sigmas::alphas_cumprod(config, Class::CONSISTENCY);
        let visited = timesteps(config, spec);
        let alphas: Vec<f64> = visited.iter().map(|&timestep| training[timestep]).collect();
        let levels = alphas.iter().copied().chain([1.0]).map(sigmas::sigma_of_alpha).collect();
        let timesteps = visited.iter().map(|&timestep| timestep as f64).collect();
        Self {
            schedule: Schedule::preserving(config, spec, timesteps, levels),
            alphas,
            timestep_scaling: config.timestep_scaling,
            clip: config.clip(false),
            prediction: config.prediction_type,
        }
    }
}

impl Scheduler for Lcm {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let alpha = self.alphas[step];
        let mut jump = self.prediction.denoised_preserving(output, sample, alpha.sqrt(), (1.0 - alpha).sqrt())?;
        if let Some(range) = self.clip {
            jump = jump.clamp(-range, range)?;
        }
        // The boundary condition: where there is no noise, the clean latent is the sample itself.
        let scaled = self.timestep(step) * self.timestep_scaling;
        let total = scaled.powi(2) + SIGMA_DATA.powi(2);
        let denoised = ((jump * (scaled / total.sqrt()))? + (sample * (SIGMA_DATA.powi(2) / total))?)?;
        let next = match self.alphas.get(step + 1) {
            Some(alpha_next) => ((&denoised * alpha_next.sqrt())? + (noise()? * (1.0 - alpha_next).sqrt())?)?,
            None => denoised.clone(),
        };
        Ok(Stepped { next, denoised })
    }
}

impl Tcd {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = sigmas::alphas_cumprod(config, Class::CONSISTENCY);
        let visited = timesteps(config, spec);
        let below = |&timestep: &usize| {
            // In f32, as the product may be a whole number that f64 misses.
            let below = ((1.0 - spec.eta) as f32 * timestep as f32).floor();
            training[below as usize]
        };
        let alphas: Vec<f64> = visited.iter().chain([&0]).map(|&timestep| training[timestep]).collect();
        let alphas_below = visited[1..].iter().chain([&0]).map(below).collect();
        let levels = alphas.iter().copied().map(sigmas::sigma_of_alpha).collect();
        let timesteps = visited.iter().map(|&timestep| timestep as f64).collect();
        let schedule = Schedule::preserving(config, spec, timesteps, levels);
        Self { schedule, alphas, alphas_below, eta: spec.eta, prediction: config.prediction_type }
    }
}

impl Scheduler for Tcd {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let (alpha, alpha_next, alpha_below) = (self.alphas[step], self.alphas[step + 1], self.alphas_below[step]);
        let (signal, sigma) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let denoised = self.prediction.denoised_preserving(output, sample, signal, sigma)?;
        let kept = self.prediction.noise_preserving(output, sample, signal, sigma)?;
        let mut next = ((&denoised * alpha_below.sqrt())? + (kept * (1.0 - alpha_below).sqrt())?)?;
        if self.eta > 0.0 && step + 1 < self.steps() {
            let ratio = alpha_next / alpha_below;
            next = ((next * ratio.sqrt())? + (noise()? * (1.0 - ratio).sqrt())?)?;
        }
        Ok(Stepped { next, denoised })
    }
}
