//! Euler's method on the probability flow ODE (Karras et al. 2022, algorithm 2 without churn; diffusers'
//! `EulerDiscreteScheduler`).

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig};
use super::schedule::{Bounds, Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped};

/// See the module.
#[derive(Debug)]
pub struct Euler {
    schedule: Schedule,
    prediction: Prediction,
}

impl Euler {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::RESCALING);
        let visited = Visited::exploding(config, spec, &training, Bounds::Configured);
        let schedule = Schedule::exploding(config, spec, visited, training.last_of_walk(config));
        Self { schedule, prediction: config.prediction_type }
    }
}

impl Scheduler for Euler {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let (sigma, sigma_next) = (self.sigma(step), self.sigma(step + 1));
        let denoised = self.prediction.denoised_exploding(output, sample, sigma)?;
        let derivative = ((sample - &denoised)? / sigma)?;
        let next = (sample + (derivative * (sigma_next - sigma))?)?;
        Ok(Stepped { next, denoised })
    }
}
