//! The midpoint method of DPM-Solver-2 in k-diffusion's form (Karras et al. 2022 and Lu et al. 2022; diffusers'
//! `KDPM2DiscreteScheduler` and `KDPM2AncestralDiscreteScheduler`): the slope half way, in the logarithm of sigma,
//! carries the whole step.

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig};
use super::schedule::{Bounds, Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, SigmaSpacing, Stepped, sigmas};

/// See the module.
#[derive(Debug)]
pub struct Dpm2 {
    schedule: Schedule,
    /// Each step goes below the next noise level and adds fresh noise up to it.
    is_ancestral: bool,
    prediction: Prediction,
    /// The sample before a step, while the step waits for its second evaluation.
    begun: Option<Tensor>,
}

impl Dpm2 {
    /// The walk that `spec` asks for, along the probability flow.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        Self::build(config, spec, false)
    }

    /// The walk that `spec` asks for, with fresh noise.
    pub fn ancestral(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        Self::build(config, spec, true)
    }

    fn build(config: &SchedulerConfig, spec: &ScheduleSpec, is_ancestral: bool) -> Self {
        let training = TrainingSigmas::new(config, Class::TWO_STAGE);
        let mut visited = Visited::exploding(config, spec, &training, Bounds::Configured);
        if config.spacing_for(spec) == SigmaSpacing::Karras {
            visited.timesteps.iter_mut().for_each(|timestep| *timestep = timestep.round_ties_even());
        }
        let half_way = |pair: &[f64]| {
            let to = if is_ancestral { sigmas::ancestral(pair[0], pair[1]).0 } else { pair[1] };
            (pair[0] * to).sqrt()
        };
        let sigmas: Vec<f64> = visited.sigmas.windows(2).map(half_way).collect();
        let timesteps = sigmas.iter().map(|&sigma| training.timestep_of(sigma)).collect();
        let schedule = Schedule::two_stage(config, spec, &visited, &Visited { timesteps, sigmas });
        Self { schedule, is_ancestral, prediction: config.prediction_type, begun: None }
    }
}

impl Scheduler for Dpm2 {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let (sigma, sigma_next) = (self.sigma(step), self.sigma(step + 1));
        let denoised = self.prediction.denoised_exploding(output, sample, sigma)?;
        let slope = ((sample - &denoised)? / sigma)?;
        let next = match self.begun.take() {
            None => {
                self.begun = Some(sample.clone());
                (sample + (slope * (sigma_next - sigma))?)?
            }
            Some(start) if self.is_ancestral => {
                let sigma_start = self.sigma(step - 1);
                let (down, up) = sigmas::ancestral(sigma_start, sigma_next);
                let without_noise = (start + (slope * (down - sigma_start))?)?;
                (without_noise + (noise()? * up)?)?
            }
            Some(start) => (start + (slope * (sigma_next - self.sigma(step - 1)))?)?,
        };
        Ok(Stepped { next, denoised })
    }
}
