//! DPM-Solver++ of second order, multistep (Lu et al. 2022, algorithm 2; diffusers'
//! `DPMSolverMultistepScheduler`).

use candle_core::{Result, Tensor};

use super::config::{BetaSchedule, FinalSigma, Prediction, SchedulerConfig, Solver, TimestepSpacing};
use super::{Noise, ScheduleSpec, Scheduler, SigmaSpacing, Stepped, sigmas};

/// Below this many steps the last one is of first order.
const FEW_STEPS: usize = 15;

/// See the module.
#[derive(Debug)]
pub struct DpmPlusPlus2M {
    timesteps: Vec<f64>,
    /// In variance exploding coordinates; one more than timesteps.
    sigmas: Vec<f64>,
    /// The last step is of first order.
    first_order_final: bool,
    solver: Solver,
    prediction: Prediction,
    /// Clean latent that the step before predicted.
    denoised_before: Option<Tensor>,
}

impl DpmPlusPlus2M {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = sigmas::training_sigmas(config);
        let last = training.len() - 1;
        let (timesteps, mut levels) = if spec.sigmas == SigmaSpacing::Karras || config.names_karras() {
            let levels = sigmas::karras(config, training[last], training[0], spec.steps);
            let timestep = |&sigma: &f64| match config.beta_schedule {
                BetaSchedule::SquaredCosine => sigmas::timestep_of_sigma(&training, sigma).trunc(),
                BetaSchedule::Linear | BetaSchedule::ScaledLinear => {
                    sigmas::timestep_of_sigma(&training, sigma).round_ties_even()
                }
            };
            (levels.iter().map(timestep).collect(), levels)
        } else {
            let timesteps = timesteps(config, &training, spec.steps);
            let levels = sigmas::interpolated(&training, &timesteps);
            (timesteps, levels)
        };
        levels.push(sigmas::final_sigma(config, &training));
        Self {
            timesteps,
            sigmas: levels,
            first_order_final: config.euler_at_final
                || (config.lower_order_final && spec.steps < FEW_STEPS)
                || config.final_sigmas_type == FinalSigma::Zero,
            solver: config.solver_type,
            prediction: config.prediction_type,
            denoised_before: None,
        }
    }

    /// α, σ and λ = ln(α/σ) of variance preserving coordinates before `step`.
    fn level(&self, step: usize) -> (f64, f64, f64) {
        let sigma = self.sigmas[step];
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        (alpha, sigma * alpha, -sigma.ln())
    }
}

/// Whole training steps from the most noise to the least: one spacing is left out at the end.
fn timesteps(config: &SchedulerConfig, training: &[f64], steps: usize) -> Vec<f64> {
    // λ falls as σ grows, so that the noise levels to leave out are the last ones.
    let count = match config.lambda_min_clipped {
        Some(lambda_min) => training.partition_point(|sigma| -sigma.ln() >= lambda_min).max(2),
        None => training.len(),
    };
    let timestep = |i: usize| match config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace) {
        TimestepSpacing::Linspace => ((steps - i) as f64 * ((count - 1) as f64 / steps as f64)).round_ties_even(),
        TimestepSpacing::Leading => ((steps - i) * (count / (steps + 1)) + config.steps_offset) as f64,
        TimestepSpacing::Trailing => sigmas::trailing(count as f64, config.num_train_timesteps, steps, i),
    };
    (0..steps).map(timestep).collect()
}

impl Scheduler for DpmPlusPlus2M {
    fn steps(&self) -> usize {
        self.timesteps.len()
    }

    fn initial_sigma(&self) -> f64 {
        1.0
    }

    fn timestep(&self, step: usize) -> f64 {
        self.timesteps[step]
    }

    fn sigma(&self, step: usize) -> f64 {
        self.sigmas[step]
    }

    fn scale_input(&self, sample: &Tensor, _step: usize) -> Result<Tensor> {
        Ok(sample.clone())
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let (alpha, sigma, lambda) = self.level(step);
        let (alpha_next, sigma_next, lambda_next) = self.level(step + 1);
        let denoised = self.prediction.denoised_preserving(output, sample, alpha, sigma)?;
        let h = lambda_next - lambda;
        // −h is −∞ where no noise is left, and its exponential 0.
        let weight = alpha_next * (-h).exp_m1();
        let kept = (sample * (sigma_next / sigma))?;
        let first_order = (kept - (&denoised * weight)?)?;
        let is_last = step + 1 == self.timesteps.len();
        let next = match self.denoised_before.take() {
            Some(before) if !(is_last && self.first_order_final) => {
                let (_, _, lambda_before) = self.level(step - 1);
                let ratio = (lambda - lambda_before) / h;
                let slope = ((&denoised - before)? / ratio)?;
                let slope_weight = match self.solver {
                    Solver::Midpoint => -0.5 * weight,
                    Solver::Heun => alpha_next * ((-h).exp_m1() / h + 1.0),
                };
                (first_order + (slope * slope_weight)?)?
            }
            _ => first_order,
        };
        self.denoised_before = Some(denoised.clone());
        Ok(Stepped { next, denoised })
    }
}
