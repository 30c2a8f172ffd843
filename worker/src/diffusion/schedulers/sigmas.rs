//! Noise levels: of training, and of the walks through them.

use super::config::{BetaSchedule, Betas, Class, FinalSigma, SchedulerConfig, TimestepSpacing};

/// ᾱ of every training step, from the least noise to the most (Ho et al. 2020, equation 4), as `class` takes them.
///
/// Every operation is rounded to f32 as in torch: the rounding of 1 − ᾱ moves the smallest sigma by 10⁻⁵, and a
/// sigma in the last place can decide which training step it is cut down to.
pub(super) fn alphas_cumprod(config: &SchedulerConfig, class: Class) -> Vec<f64> {
    let betas = config.betas(class);
    let count = config.num_train_timesteps;
    let mut alphas: Vec<f32> = (0..count).map(|i| 1.0 - beta(&betas, count, i)).collect();
    if betas.zero_snr {
        alphas = rescaled_to_zero_snr(&cumulative(&alphas));
    }
    cumulative(&alphas).into_iter().map(f64::from).collect()
}

fn beta(betas: &Betas, count: usize, i: usize) -> f32 {
    match betas.schedule {
        BetaSchedule::Linear => linspace(betas.start, betas.end, count, i),
        BetaSchedule::ScaledLinear => linspace(betas.start.sqrt(), betas.end.sqrt(), count, i).powi(2),
        BetaSchedule::SquaredCosine => {
            let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
            (1.0 - alpha_bar((i + 1) as f64 / count as f64) / alpha_bar(i as f64 / count as f64)).min(0.999) as f32
        }
    }
}

/// Number `i` of `torch.linspace(start, end, count)`, f32: counted from the nearer end, with fused multiply-add.
fn linspace(start: f64, end: f64, count: usize, i: usize) -> f32 {
    let (start, end) = (start as f32, end as f32);
    let stride = f64::from((end - start) / (count - 1) as f32);
    if i < count / 2 {
        (f64::from(start) + stride * i as f64) as f32
    } else {
        (f64::from(end) - stride * (count - 1 - i) as f64) as f32
    }
}

/// The running product, added up in f64 as torch does.
fn cumulative(factors: &[f32]) -> Vec<f32> {
    let running = factors.iter().scan(1.0, |product: &mut f64, &factor| {
        *product *= f64::from(factor);
        Some(*product as f32)
    });
    running.collect()
}

/// The factors 1 − β after √ᾱ is shifted and scaled so that the last training step is pure noise (Lin et al. 2024,
/// algorithm 1).
fn rescaled_to_zero_snr(alphas_cumprod: &[f32]) -> Vec<f32> {
    let (first, last) = (alphas_cumprod[0].sqrt(), alphas_cumprod[alphas_cumprod.len() - 1].sqrt());
    let scale = first / (first - last);
    let rescaled: Vec<f32> = alphas_cumprod.iter().map(|alpha| ((alpha.sqrt() - last) * scale).powi(2)).collect();
    let factors = rescaled.windows(2).map(|pair| pair[1] / pair[0]);
    // By way of β, as diffusers keeps it.
    std::iter::once(rescaled[0]).chain(factors).map(|alpha| 1.0 - (1.0 - alpha)).collect()
}

/// σ of every training step in variance exploding coordinates, from the least noise to the most, and its logarithm.
#[derive(Debug)]
pub(super) struct TrainingSigmas {
    pub(super) levels: Vec<f64>,
    logarithms: Vec<f64>,
}

impl TrainingSigmas {
    /// The levels as `class` takes them.
    pub(super) fn new(config: &SchedulerConfig, class: Class) -> Self {
        let mut alphas = alphas_cumprod(config, class);
        if config.betas(class).zero_snr {
            // Diffusers' stand-in for zero, so that the largest sigma is finite.
            let last = alphas.len() - 1;
            alphas[last] = 2f64.powi(-24);
        }
        let in_f32 = |alpha: f64| {
            let alpha = alpha as f32;
            f64::from(((1.0 - alpha) / alpha).sqrt())
        };
        let levels: Vec<f64> = alphas.into_iter().map(in_f32).collect();
        let logarithms = levels.iter().map(|sigma| f64::from(sigma.ln() as f32)).collect();
        Self { levels, logarithms }
    }

    /// The least.
    pub(super) fn min(&self) -> f64 {
        self.levels[0]
    }

    /// The most.
    pub(super) fn max(&self) -> f64 {
        self.levels[self.levels.len() - 1]
    }

    /// σ at a fractional training step, linear between whole ones.
    pub(super) fn at(&self, timestep: f64) -> f64 {
        let last = self.levels.len() - 1;
        let timestep = timestep.clamp(0.0, last as f64);
        let low = timestep as usize;
        let high = (low + 1).min(last);
        self.levels[low] + (self.levels[high] - self.levels[low]) * (timestep - low as f64)
    }

    /// The fractional training step of a sigma, linear in its logarithm (diffusers' `_sigma_to_t`).
    pub(super) fn timestep_of(&self, sigma: f64) -> f64 {
        let logarithm = sigma.max(1e-10).ln();
        let above = self.logarithms.partition_point(|&level| level <= logarithm);
        let low = above.saturating_sub(1).min(self.logarithms.len() - 2);
        let (below, above) = (self.logarithms[low], self.logarithms[low + 1]);
        let weight = ((below - logarithm) / (below - above)).clamp(0.0, 1.0);
        (1.0 - weight) * low as f64 + weight * (low + 1) as f64
    }

    /// What the configuration wants left at the end of a walk.
    pub(super) fn last_of_walk(&self, config: &SchedulerConfig) -> f64 {
        match config.final_sigmas_type {
            FinalSigma::Zero => 0.0,
            FinalSigma::SigmaMin => self.min(),
        }
    }
}

/// √((1 − ᾱ) / ᾱ)
pub(super) fn sigma_of_alpha(alpha: f64) -> f64 {
    ((1.0 - alpha) / alpha).sqrt()
}

/// The training steps that a walk of `steps` visits, from the most noise to the least; `linspace` ones may be
/// fractional. As the classes from k-diffusion and DDIM's kin choose them.
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

/// [`timesteps`], whole and within training: those of the classes that look ᾱ up.
pub(super) fn whole_timesteps(config: &SchedulerConfig, spacing: TimestepSpacing, steps: usize) -> Vec<usize> {
    let whole = |timestep: f64| (timestep.round_ties_even() as usize).min(config.num_train_timesteps - 1);
    timesteps(config, spacing, steps).into_iter().map(whole).collect()
}

/// Timestep `i` of a walk of `steps` that ends one spacing above nothing.
pub(super) fn trailing(from: f64, count: usize, steps: usize, i: usize) -> f64 {
    ((from - i as f64 * (count as f64 / steps as f64)).round_ties_even() - 1.0).max(0.0)
}

/// `steps` sigmas from `max` to `min` (Karras et al. 2022, equation 5, ρ = 7).
pub(super) fn karras(max: f64, min: f64, steps: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (max, min) = (max.powf(1.0 / RHO), min.powf(1.0 / RHO));
    ramp(steps).map(|along| (max + along * (min - max)).powf(RHO)).collect()
}

/// `steps` sigmas from `max` to `min`, even in their logarithm.
pub(super) fn exponential(max: f64, min: f64, steps: usize) -> Vec<f64> {
    let (max, min) = (max.ln(), min.ln());
    ramp(steps).map(|along| (max + along * (min - max)).exp()).collect()
}

/// `steps` sigmas from `max` to `min`, spaced by the quantiles of the Beta distribution (Lee et al. 2024).
pub(super) fn beta_quantiles(max: f64, min: f64, steps: usize) -> Vec<f64> {
    ramp(steps).map(|along| min + symmetric_beta_quantile(1.0 - along) * (max - min)).collect()
}

/// From 0 to 1; for one step 0.
fn ramp(steps: usize) -> impl Iterator<Item = f64> {
    (0..steps).map(move |i| if steps == 1 { 0.0 } else { i as f64 / (steps - 1) as f64 })
}

/// The `x` below which lies the share `p` of the Beta(0.6, 0.6) distribution (scipy's `stats.beta.ppf`).
fn symmetric_beta_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return 1.0 - symmetric_beta_quantile(1.0 - p);
    }
    // Half of the distribution lies below 0.5, which gives the scale, and the share grows with x.
    let wanted = p * 2.0 * incomplete_beta(0.5);
    let (mut low, mut high) = (0.0, 0.5);
    while low < high {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if incomplete_beta(middle) < wanted { low = middle } else { high = middle }
    }
    high
}

/// ∫₀ˣ (t (1 − t))^(a − 1) dt for a = 0.6 and x ≤ 0.5, by the power series of (1 − t)^(a − 1).
fn incomplete_beta(x: f64) -> f64 {
    const A: f64 = 0.6;
    let (mut coefficient, mut sum) = (1.0, 0.0);
    for n in 0..64 {
        let n = f64::from(n);
        sum += coefficient / (A + n);
        coefficient *= (n + 1.0 - A) / (n + 1.0) * x;
    }
    x.powf(A) * sum
}

/// Of an ancestral step between two sigmas: where the deterministic part goes, and the noise that is added to it
/// (k-diffusion's `get_ancestral_step`).
pub(super) fn ancestral(from: f64, to: f64) -> (f64, f64) {
    let up = (to.powi(2) * (from.powi(2) - to.powi(2)) / from.powi(2)).sqrt().min(to);
    ((to.powi(2) - up.powi(2)).sqrt(), up)
}
