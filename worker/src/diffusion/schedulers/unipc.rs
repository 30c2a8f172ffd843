//! UniPC of first to third order (Zhao et al. 2023, algorithms 5 and 7 with the data prediction; diffusers'
//! `UniPCMultistepScheduler`): each evaluation first corrects the step that led to it, then predicts the next one.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::config::{Class, FinalSigma, Prediction, SchedulerConfig, Solver};
use super::schedule::{Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, SigmaSpacing, Stepped};

/// See the module.
#[derive(Debug)]
pub struct UniPc {
    schedule: Schedule,
    order: usize,
    is_lower_at_end: bool,
    /// `B(h)` is h itself, not e^h − 1.
    is_bh1: bool,
    /// Steps that are not corrected.
    uncorrected: Vec<usize>,
    prediction: Prediction,
    /// Clean latents that the last steps predicted, newest first.
    predicted: VecDeque<Tensor>,
    /// The corrected sample before the last step, and the order of that step.
    last: Option<(Tensor, usize)>,
}

impl UniPc {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::RESCALING);
        let Visited { timesteps, mut sigmas } = Visited::preserving(config, spec, &training, f64::round_ties_even);
        let last = match (config.final_sigmas_type, config.spacing_for(spec)) {
            (FinalSigma::Zero, _) => 0.0,
            (FinalSigma::SigmaMin, SigmaSpacing::Karras | SigmaSpacing::Exponential | SigmaSpacing::Beta) => {
                sigmas[sigmas.len() - 1]
            }
            (FinalSigma::SigmaMin, _) => training.min(),
        };
        sigmas.push(last);
        Self {
            schedule: Schedule::preserving(config, spec, timesteps, sigmas),
            order: config.solver_order,
            is_lower_at_end: config.lower_order_final.unwrap_or(true),
            is_bh1: config.solver_type == Some(Solver::Bh1),
            uncorrected: config.disable_corrector.clone(),
            prediction: config.prediction_type,
            predicted: VecDeque::new(),
            last: None,
        }
    }

    /// The step from `step` of `order`, out of `sample`. With what the network says at its end (`arrived`) it is the
    /// corrector, without it the predictor.
    fn update(&self, step: usize, order: usize, sample: &Tensor, arrived: Option<&Tensor>) -> Result<Tensor> {
        let (here, next) = (self.schedule.level(step), self.schedule.level(step + 1));
        let h = next.lambda - here.lambda;
        let newest = &self.predicted[0];
        let share = (-h).exp_m1();
        let scale = if self.is_bh1 { -h } else { share };

        let mut ratios = Vec::with_capacity(order);
        let mut slopes = Vec::with_capacity(order);
        for back in 1..order {
            let ratio = (self.schedule.level(step - back).lambda - here.lambda) / h;
            slopes.push(((&self.predicted[back] - newest)? / ratio)?);
            ratios.push(ratio);
        }
        if let Some(arrived) = arrived {
            slopes.push((arrived - newest)?);
            ratios.push(1.0);
        }
        let mut along = ((sample * (next.sigma / here.sigma))? - (newest * (next.alpha * share))?)?;
        for (slope, weight) in slopes.iter().zip(weights(&ratios, -h, scale)) {
            along = (along - (slope * (next.alpha * scale * weight))?)?;
        }
        Ok(along)
    }
}

/// The weights of slopes at `ratios` of the step (equation 11); of a single slope a half, its limit for short steps.
fn weights(ratios: &[f64], negative_h: f64, scale: f64) -> Vec<f64> {
    let count = ratios.len();
    if count == 1 {
        return vec![0.5];
    }
    let mut rest = negative_h.exp_m1() / negative_h - 1.0;
    let mut factorial = 1.0;
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(count);
    for power in 0..count {
        let mut row: Vec<f64> = ratios.iter().map(|ratio| ratio.powi(power as i32)).collect();
        row.push(rest * factorial / scale);
        rows.push(row);
        factorial *= (power + 2) as f64;
        rest = rest / negative_h - 1.0 / factorial;
    }
    solved(rows)
}

/// The solution of a small system of linear equations, each row with its right-hand side last, by elimination with
/// pivots.
fn solved(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let count = rows.len();
    for column in 0..count {
        let pivot = (column..count).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()));
        rows.swap(column, pivot.unwrap_or(column));
        let pivot = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(number, _)| *number != column) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    rows.iter().enumerate().map(|(number, row)| row[count] / row[number]).collect()
}

impl Scheduler for UniPc {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let here = self.schedule.level(step);
        let denoised = self.prediction.denoised_preserving(output, sample, here.alpha, here.sigma)?;
        let corrected = match self.last.take() {
            Some((last, order)) if !self.uncorrected.contains(&(step - 1)) => {
                self.update(step - 1, order, &last, Some(&denoised))?
            }
            _ => sample.clone(),
        };
        self.predicted.truncate(self.order - 1);
        self.predicted.push_front(denoised.clone());
        let left = self.schedule.timesteps.len() - step;
        let order = if self.is_lower_at_end { self.order.min(left) } else { self.order };
        let order = order.min(self.predicted.len());
        let next = self.update(step, order, &corrected, None)?;
        self.last = Some((corrected, order));
        Ok(Stepped { next, denoised })
    }
}
