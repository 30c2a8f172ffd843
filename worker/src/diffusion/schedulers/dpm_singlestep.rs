//! DPM-Solver++ of first to third order, singlestep (Lu et al. 2022, algorithm 1; diffusers'
//! `DPMSolverSinglestepScheduler`), called DPM++ 2S: evaluations go in groups of the order, and each goes out from the
//! sample at the beginning of its group.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::config::{Class, FinalSigma, Prediction, SchedulerConfig, Solver};
use super::schedule::{Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped};

/// See the module.
#[derive(Debug)]
pub struct DpmSinglestep {
    schedule: Schedule,
    /// The order of each evaluation, which is its place in its group.
    orders: Vec<usize>,
    order: usize,
    solver: Solver,
    prediction: Prediction,
    /// Clean latents that the last evaluations predicted, newest first.
    predicted: VecDeque<Tensor>,
    /// The sample at the beginning of the group.
    start: Option<Tensor>,
}

impl DpmSinglestep {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::PLAIN);
        // Diffusers' class has no choice of the timesteps' spacing.
        let mut linspace = config.clone();
        linspace.timestep_spacing = None;
        let Visited { timesteps, mut sigmas } = Visited::preserving(&linspace, spec, &training, f64::round_ties_even);
        sigmas.push(training.last_of_walk(config));
        Self {
            orders: orders(config, timesteps.len()),
            order: config.solver_order,
            solver: config.solver_type.unwrap_or(Solver::Midpoint),
            prediction: config.prediction_type,
            predicted: VecDeque::new(),
            start: None,
            schedule: Schedule::preserving(config, spec, timesteps, sigmas),
        }
    }

    /// The slope of the predictions over the group that `step` ends, relative to the step from its beginning, and how
    /// the slope bends.
    fn slopes(&self, step: usize, order: usize, h: f64) -> Result<(Tensor, Option<Tensor>)> {
        let first = step + 1 - order;
        let lambda = |step: usize| self.schedule.level(step).lambda;
        let oldest = &self.predicted[order - 1];
        let slope = |back: usize| {
            let ratio = (lambda(step - back) - lambda(first)) / h;
            Ok::<_, candle_core::Error>((((&self.predicted[back] - oldest)? / ratio)?, ratio))
        };
        let (newest, ratio) = slope(0)?;
        if order == 2 || self.solver != Solver::Heun {
            return Ok((newest, None));
        }
        let (middle, ratio_middle) = slope(1)?;
        let distance = ratio - ratio_middle;
        let straight = (((&middle * ratio)? - (&newest * ratio_middle)?)? / distance)?;
        Ok((straight, Some(((newest - middle)? * (2.0 / distance))?)))
    }
}

/// As diffusers' `get_order_list` does it: groups of the order; the last may be cut short, and
/// the last evaluation is of first order where no noise is left or the configuration wants it.
fn orders(config: &SchedulerConfig, steps: usize) -> Vec<usize> {
    let order = config.solver_order;
    let ends_clean = config.final_sigmas_type == FinalSigma::Zero;
    let is_lower_at_end = config.lower_order_final.unwrap_or(false) && steps.is_multiple_of(order);
    let mut orders: Vec<usize> = (0..steps).map(|step| step % order + 1).collect();
    if ends_clean || is_lower_at_end {
        orders[steps - 1] = 1;
    }
    orders
}

impl Scheduler for DpmSinglestep {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let here = self.schedule.level(step);
        let denoised = self.prediction.denoised_preserving(output, sample, here.alpha, here.sigma)?;
        self.predicted.truncate(self.order - 1);
        self.predicted.push_front(denoised.clone());
        let order = self.orders[step].min(self.predicted.len());
        let start = match self.start.take() {
            Some(start) if order > 1 => start,
            _ => sample.clone(),
        };

        let (first, next) = (self.schedule.level(step + 1 - order), self.schedule.level(step + 1));
        let h = next.lambda - first.lambda;
        // −h is −∞ where no noise is left, and its exponential 0.
        let share = -(-h).exp_m1();
        let mut towards = (&self.predicted[order - 1] * share)?;
        if order > 1 {
            let (slope, bend) = self.slopes(step, order, h)?;
            let is_midpoint = order == 2 && self.solver != Solver::Heun;
            let linear = if is_midpoint { 0.5 * share } else { 1.0 - share / h };
            towards = (towards + (slope * linear)?)?;
            if let Some(bend) = bend {
                towards = (towards + (bend * (0.5 - (h - share) / (h * h)))?)?;
            }
        }
        let stepped = ((&start * (next.sigma / first.sigma))? + (towards * next.alpha)?)?;
        self.start = Some(start);
        Ok(Stepped { next: stepped, denoised })
    }
}
