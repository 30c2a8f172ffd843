//! Noise levels: of training, and of the walks through them.

use super::config::{BetaSchedule, FinalSigma, SchedulerConfig, TimestepSpacing};

/// ᾱ of every training step, from the least noise to the most (Ho et al. 2020, equation 4).
///
/// Each factor is rounded to f32 as diffusers keeps it: the rounding of 1 − ᾱ moves the smallest sigma by 10⁻⁵.
pub(super) fn alphas_cumprod(config: &SchedulerConfig) -> Vec<f64> {
    let count = config.num_train_timesteps;
    let along = |start: f64, end: f64, i: usize| (start + (end - start) * i as f64 / (count - 1) as f64) as f32;
    let beta = |i: usize| match config.beta_schedule {
        BetaSchedule::Linear => along(config.beta_start, config.beta_end, i),
        BetaSchedule::ScaledLinear => along(config.beta_start.sqrt(), config.beta_end.sqrt(), i).powi(2),
        BetaSchedule::SquaredCosine => {
            let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
            (1.0 - alpha_bar((i + 1) as f64 / count as f64) / alpha_bar(i as f64 / count as f64)).min(0.999) as f32
        }
    };
    let product = (0..count).scan(1.0, |product, i| {
        *product *= f64::from(1.0 - beta(i));
        Some(f64::from(*product as f32))
    });
    let alphas: Vec<f64> = product.collect();
    if config.rescale_betas_zero_snr { rescaled_to_zero_snr(&alphas) } else { alphas }
}

/// Shifts and scales √ᾱ so that the last training step is pure noise (Lin et al. 2024, algorithm 1).
fn rescaled_to_zero_snr(alphas: &[f64]) -> Vec<f64> {
    let (first, last) = (alphas[0].sqrt(), alphas[alphas.len() - 1].sqrt());
    alphas.iter().map(|alpha| ((alpha.sqrt() - last) * first / (first - last)).powi(2)).collect()
}

/// σ of every training step in variance exploding coordinates, from the least noise to the most.
pub(super) fn training_sigmas(config: &SchedulerConfig) -> Vec<f64> {
    let mut alphas = alphas_cumprod(config);
    if config.rescale_betas_zero_snr {
        // Diffusers' stand-in for zero, so that the largest sigma is finite.
        let last = alphas.len() - 1;
        alphas[last] = 2f64.powi(-24);
    }
    alphas.into_iter().map(sigma_of_alpha).collect()
}

/// √((1 − ᾱ) / ᾱ)
pub(super) fn sigma_of_alpha(alpha: f64) -> f64 {
    ((1.0 - alpha) / alpha).sqrt()
}

/// The training steps that a walk of `steps` visits, from the most noise to the least; `linspace` ones may be
/// fractional. As Euler's classes and DDIM of diffusers choose them.
pub(super) fn timesteps(config: &SchedulerConfig, spacing: TimestepSpacing, steps: usize) -> Vec<f64> {
    let count = config.num_train_timesteps;
    let from_the_end = |i: usize| (steps - 1 - i) as f64;
    let timestep = |i: usize| match spacing {
        TimestepSpacing::Leading => from_the_end(i) * (count / steps) as f64 + config.steps_offset as f64,
        TimestepSpacing::Linspace if steps == 1 => 0.0,
        TimestepSpacing::Linspace => from_the_end(i) * ((count - 1) as f64 / (steps - 1) as f64),
        TimestepSpacing::Trailing => trailing(count as f64, count, steps, i),
    };
    (0..steps).map(timestep).collect()
}

/// Timestep `i` of a walk of `steps` that ends one spacing above nothing.
pub(super) fn trailing(from: f64, count: usize, steps: usize, i: usize) -> f64 {
    ((from - i as f64 * (count as f64 / steps as f64)).round_ties_even() - 1.0).max(0.0)
}

/// σ at fractional training steps, linear between whole ones.
pub(super) fn interpolated(training: &[f64], timesteps: &[f64]) -> Vec<f64> {
    let last = training.len() - 1;
    let at = |timestep: &f64| {
        let timestep = timestep.clamp(0.0, last as f64);
        let low = (timestep as usize).min(last);
        let high = (low + 1).min(last);
        training[low] + (training[high] - training[low]) * (timestep - low as f64)
    };
    timesteps.iter().map(at).collect()
}

/// Sigmas from `max` to `min` (Karras et al. 2022, equation 5, ρ = 7); the configuration's own bounds win.
pub(super) fn karras(config: &SchedulerConfig, max: f64, min: f64, steps: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let max = config.sigma_max.unwrap_or(max).powf(1.0 / RHO);
    let min = config.sigma_min.unwrap_or(min).powf(1.0 / RHO);
    let ramp = |i: usize| if steps == 1 { 0.0 } else { i as f64 / (steps - 1) as f64 };
    (0..steps).map(|i| (max + ramp(i) * (min - max)).powf(RHO)).collect()
}

/// The fractional training step of a sigma, linear in its logarithm (diffusers' `_sigma_to_t`).
pub(super) fn timestep_of_sigma(training: &[f64], sigma: f64) -> f64 {
    let low = training.partition_point(|&level| level <= sigma).saturating_sub(1).min(training.len() - 2);
    let (below, above) = (training[low].ln(), training[low + 1].ln());
    let weight = (below - sigma.max(1e-10).ln()) / (below - above);
    low as f64 + weight.clamp(0.0, 1.0)
}

/// What the configuration wants left at the end of a walk.
pub(super) fn final_sigma(config: &SchedulerConfig, training: &[f64]) -> f64 {
    match config.final_sigmas_type {
        FinalSigma::Zero => 0.0,
        FinalSigma::SigmaMin => training[0],
    }
}
