//! DPM-Solver++ of first to third order, multistep (Lu et al. 2022, algorithm 2; diffusers'
//! `DPMSolverMultistepScheduler`): DPM++ 2M along the probability flow, DPM++ 2M SDE and 3M SDE with fresh noise.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::config::{BetaSchedule, Class, FinalSigma, Prediction, SchedulerConfig, Solver};
use super::schedule::{Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped};

/// Below this many steps the last ones are of lower order.
pub(super) const FEW_STEPS: usize = 15;

/// See the module.
#[derive(Debug)]
pub struct DpmMultistep {
    schedule: Schedule,
    /// Every step adds fresh noise.
    is_stochastic: bool,
    order: usize,
    /// The last step is of first order.
    is_final_first_order: bool,
    /// The step before the last is at most of second order.
    is_penultimate_second_order: bool,
    solver: Solver,
    prediction: Prediction,
    /// Clean latents that the last steps predicted, newest first.
    predicted: VecDeque<Tensor>,
}

impl DpmMultistep {
    /// DPM++ 2M, or of the order that the configuration names.
    pub fn flow(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        Self::build(config, spec, config.solver_order, false)
    }

    /// DPM++ 2M SDE, or of the order that the configuration names.
    pub fn stochastic(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        Self::build(config, spec, config.solver_order, true)
    }

    /// DPM++ 3M SDE.
    pub fn stochastic_third(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        Self::build(config, spec, 3, true)
    }

    fn build(config: &SchedulerConfig, spec: &ScheduleSpec, order: usize, is_stochastic: bool) -> Self {
        let training = TrainingSigmas::new(config, Class::RESCALING);
        let karras_step = match config.betas(Class::RESCALING).schedule {
            BetaSchedule::SquaredCosine => f64::trunc,
            BetaSchedule::Linear | BetaSchedule::ScaledLinear => f64::round_ties_even,
        };
        let Visited { timesteps, mut sigmas } = Visited::preserving(config, spec, &training, karras_step);
        sigmas.push(training.last_of_walk(config));
        let is_lower_at_end = config.lower_order_final.unwrap_or(true) && timesteps.len() < FEW_STEPS;
        Self {
            is_stochastic,
            order,
            is_final_first_order: config.euler_at_final
                || is_lower_at_end
                || config.final_sigmas_type == FinalSigma::Zero,
            is_penultimate_second_order: is_lower_at_end,
            solver: config.solver_type.unwrap_or(Solver::Midpoint),
            prediction: config.prediction_type,
            predicted: VecDeque::new(),
            schedule: Schedule::preserving(config, spec, timesteps, sigmas),
        }
    }

    /// The order of `step`, with the predictions that there are.
    fn order(&self, step: usize) -> usize {
        let order = self.order.min(self.predicted.len());
        match self.schedule.timesteps.len() - step {
            1 if self.is_final_first_order => 1,
            2 if self.is_penultimate_second_order => order.min(2),
            _ => order,
        }
    }

    /// What the slopes of the predictions add to the first order: its weights are relative to `alpha_next`, and
    /// `reach` is how far the step goes in λ, twice as far with noise.
    fn curvature(&self, step: usize, reach: f64, h: f64) -> Result<Option<Tensor>> {
        let lambda = |step: usize| self.schedule.level(step).lambda;
        let slope = |back: usize, ratio: f64| (&self.predicted[back] - &self.predicted[back + 1])? / ratio;
        let share = -(-reach).exp_m1();
        let order = self.order(step);
        if order < 2 {
            return Ok(None);
        }
        let ratio = (lambda(step) - lambda(step - 1)) / h;
        let near = slope(0, ratio)?;
        let linear = 1.0 - share / reach;
        if order == 2 {
            return Ok(Some(match self.solver {
                Solver::Heun => (near * linear)?,
                Solver::Midpoint | Solver::Logrho | Solver::Bh1 | Solver::Bh2 => (near * (0.5 * share))?,
            }));
        }
        let ratio_far = (lambda(step - 1) - lambda(step - 2)) / h;
        let bend = ((&near - slope(1, ratio_far)?)? / (ratio + ratio_far))?;
        let first = (near + (&bend * ratio)?)?;
        // With noise, diffusers takes the half with the other sign.
        let half = if self.is_stochastic { -0.5 } else { 0.5 };
        let quadratic = half - (reach - share) / reach.powi(2);
        Ok(Some(((first * linear)? + (bend * quadratic)?)?))
    }
}

impl Scheduler for DpmMultistep {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, noise: &mut Noise<'_>) -> Result<Stepped> {
        let (here, next) = (self.schedule.level(step), self.schedule.level(step + 1));
        let denoised = self.prediction.denoised_preserving(output, sample, here.alpha, here.sigma)?;
        self.predicted.truncate(self.order - 1);
        self.predicted.push_front(denoised.clone());

        let h = next.lambda - here.lambda;
        // −h is −∞ where no noise is left, and its exponential 0.
        let (reach, fading) = if self.is_stochastic { (2.0 * h, (-h).exp()) } else { (h, 1.0) };
        let kept = (sample * (next.sigma / here.sigma * fading))?;
        let mut towards = (&denoised * -(-reach).exp_m1())?;
        if let Some(curvature) = self.curvature(step, reach, h)? {
            towards = (towards + curvature)?;
        }
        let mut stepped = (kept + (towards * next.alpha)?)?;
        if self.is_stochastic {
            stepped = (stepped + (noise()? * (next.sigma * (-(-2.0 * h).exp_m1()).sqrt()))?)?;
        }
        Ok(Stepped { next: stepped, denoised })
    }
}
