//! Diffusion exponential integrator sampling of first to third order, multistep (Zhang and Chen 2023, in log ρ;
//! diffusers' `DEISMultistepScheduler`): the noise of the last steps, each weighted by the integral of its Lagrange
//! polynomial in ln ρ, where ρ is sigma in variance exploding coordinates.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig};
use super::dpm_multistep::FEW_STEPS;
use super::schedule::{Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, SigmaSpacing, Stepped};

/// See the module.
#[derive(Debug)]
pub struct Deis {
    schedule: Schedule,
    order: usize,
    /// The last steps are of lower order.
    is_lower_at_end: bool,
    prediction: Prediction,
    /// Noise that the last steps predicted, newest first.
    predicted: VecDeque<Tensor>,
}

impl Deis {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::PLAIN);
        let Visited { timesteps, mut sigmas } = Visited::preserving(config, spec, &training, f64::round_ties_even);
        // The logarithm of no noise at all is infinite, so that diffusers ends with the least there is.
        let last = match config.spacing_for(spec) {
            SigmaSpacing::Karras | SigmaSpacing::Exponential | SigmaSpacing::Beta => sigmas[sigmas.len() - 1],
            _ => training.min(),
        };
        sigmas.push(last);
        Self {
            order: config.solver_order,
            is_lower_at_end: config.lower_order_final.unwrap_or(true) && timesteps.len() < FEW_STEPS,
            prediction: config.prediction_type,
            predicted: VecDeque::new(),
            schedule: Schedule::preserving(config, spec, timesteps, sigmas),
        }
    }

    /// The order of `step`, with the predictions that there are.
    fn order(&self, step: usize) -> usize {
        let left = self.schedule.timesteps.len() - step;
        let order = self.order.min(self.predicted.len());
        if self.is_lower_at_end { order.min(left) } else { order }
    }
}

impl Scheduler for Deis {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let (here, next) = (self.schedule.level(step), self.schedule.level(step + 1));
        let denoised = self.prediction.denoised_preserving(output, sample, here.alpha, here.sigma)?;
        let noise = ((sample - (&denoised * here.alpha)?)? / here.sigma)?;
        self.predicted.truncate(self.order - 1);
        self.predicted.push_front(noise);

        let rho = |step: usize| self.schedule.sigmas[step];
        let order = self.order(step);
        let mut exploding = (sample / here.alpha)?;
        for (back, noise) in self.predicted.iter().take(order).enumerate() {
            let others: Vec<f64> = (0..order).filter(|&k| k != back).map(|k| rho(step - k)).collect();
            let weight = lagrange_integral(rho(step), rho(step + 1), rho(step - back), &others);
            exploding = (exploding + (noise * weight)?)?;
        }
        Ok(Stepped { next: (exploding * next.alpha)?, denoised })
    }
}

/// ∫ of the polynomial in ln ρ that is 1 at `at` and 0 at `others`, over ρ between two levels; up to two others.
fn lagrange_integral(from: f64, to: f64, at: f64, others: &[f64]) -> f64 {
    let antiderivative = |rho: f64| {
        let l = rho.ln();
        match *others {
            [a] => rho * (l - a.ln() - 1.0) / (at.ln() - a.ln()),
            [a, b] => {
                let (a, b) = (a.ln(), b.ln());
                let polynomial = a * (b - l + 1.0) - b * l + b + l * l - 2.0 * l + 2.0;
                rho * polynomial / ((at.ln() - a) * (at.ln() - b))
            }
            _ => rho,
        }
    };
    antiderivative(to) - antiderivative(from)
}
