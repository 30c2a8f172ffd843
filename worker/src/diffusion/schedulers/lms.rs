//! Linear multistep (Adams–Bashforth) on the probability flow ODE (k-diffusion's `sample_lms`; diffusers'
//! `LMSDiscreteScheduler`): the slopes of up to four steps, each weighted by the integral of its Lagrange polynomial.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig};
use super::schedule::{Bounds, Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped};

const ORDER: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Lms {
    schedule: Schedule,
    prediction: Prediction,
    /// The slopes of the last steps, newest first.
    slopes: VecDeque<Tensor>,
}

impl Lms {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::PLAIN);
        let visited = Visited::exploding(config, spec, &training, Bounds::NotForKarras);
        let schedule = Schedule::exploding(config, spec, visited, 0.0);
        Self { schedule, prediction: config.prediction_type, slopes: VecDeque::new() }
    }

    /// The integral over `step` of the Lagrange polynomial that is 1 at the level `back` steps before and 0 at the
    /// others of `order`.
    fn weight(&self, step: usize, order: usize, back: usize) -> f64 {
        let level = |k: usize| self.schedule.sigmas[step - k];
        let polynomial = |sigma: f64| -> f64 {
            let others = (0..order).filter(|&k| k != back);
            others.map(|k| (sigma - level(k)) / (level(back) - level(k))).product()
        };
        // Gauss's rule with two nodes is exact up to the third degree.
        let (from, to) = (level(0), self.schedule.sigmas[step + 1]);
        let (middle, half) = (f64::midpoint(from, to), (to - from) / 2.0);
        let node = half / 3f64.sqrt();
        half * (polynomial(middle - node) + polynomial(middle + node))
    }
}

impl Scheduler for Lms {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let sigma = self.sigma(step);
        let denoised = self.prediction.denoised_exploding(output, sample, sigma)?;
        self.slopes.truncate(ORDER - 1);
        self.slopes.push_front(((sample - &denoised)? / sigma)?);
        // Where a walk begins in the middle, diffusers weights the slopes that there are as if none were missing.
        let order = (step + 1).min(ORDER);
        let mut next = sample.clone();
        for (back, slope) in self.slopes.iter().enumerate() {
            next = (next + (slope * self.weight(step, order, back))?)?;
        }
        Ok(Stepped { next, denoised })
    }
}
