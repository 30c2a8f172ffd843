//! Heun's method on the probability flow ODE (Karras et al. 2022, algorithm 1 without churn; diffusers'
//! `HeunDiscreteScheduler`): an Euler step, then the same step with the mean of the slopes at both of its ends.

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig};
use super::schedule::{Bounds, Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped};

/// See the module.
#[derive(Debug)]
pub struct Heun {
    schedule: Schedule,
    prediction: Prediction,
    clip: Option<f64>,
    /// The sample before a step and the slope there, while the step waits for its second evaluation.
    begun: Option<(Tensor, Tensor)>,
}

impl Heun {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::TWO_STAGE);
        let visited = Visited::exploding(config, spec, &training, Bounds::Configured);
        let ends = Visited { timesteps: visited.timesteps[1..].to_vec(), sigmas: visited.sigmas[1..].to_vec() };
        let schedule = Schedule::two_stage(config, spec, &visited, &ends);
        Self { schedule, prediction: config.prediction_type, clip: config.clip(false), begun: None }
    }
}

impl Scheduler for Heun {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let sigma = self.sigma(step);
        let mut denoised = self.prediction.denoised_exploding(output, sample, sigma)?;
        if let Some(range) = self.clip {
            denoised = denoised.clamp(-range, range)?;
        }
        let slope = ((sample - &denoised)? / sigma)?;
        let next = match self.begun.take() {
            None => {
                let next = (sample + (&slope * (self.sigma(step + 1) - sigma))?)?;
                self.begun = Some((sample.clone(), slope));
                next
            }
            Some((start, first)) => (start + ((first + slope)? * ((sigma - self.sigma(step - 1)) / 2.0))?)?,
        };
        Ok(Stepped { next, denoised })
    }
}
