//! How the sigmas of a walk are spaced.

use super::ScheduleSpec;
use super::sigmas::TrainingSigmas;

/// How the sigmas of a schedule are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigmaSpacing {
    /// As the model's scheduler configuration says.
    Default,
    /// Karras et al. 2022, equation 5, ρ = 7 (diffusers' `use_karras_sigmas`).
    Karras,
    /// Even in the logarithm of sigma (diffusers' `use_exponential_sigmas`).
    Exponential,
    /// Even training steps that begin with the last one, as Stability's generative-models walk them (diffusers'
    /// `timestep_spacing="trailing"`).
    SgmUniform,
    /// ComfyUI's `simple`: every so many training steps from the last one, the places cut down (given to diffusers as
    /// `timesteps`).
    Simple,
    /// Quantiles of the Beta(0.6, 0.6) distribution (Lee et al. 2024; diffusers' `use_beta_sigmas`).
    Beta,
    /// Align Your Steps (Sabour et al. 2024): the published training steps of ten (given to diffusers as `timesteps`),
    /// and for other counts the published sigmas interpolated as the authors do it.
    AlignYourSteps,
}

/// The models that Align Your Steps has been computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlignedModel {
    /// Stable Diffusion 1.5.
    Sd15,
    /// Stable Diffusion XL.
    Sdxl,
}

impl SigmaSpacing {
    /// All spacings with the value of a request's `sigmas` and a label.
    pub const ALL: &[(Self, &'static str, &'static str)] = &[
        (Self::Default, "default", "Default"),
        (Self::Karras, "karras", "Karras"),
        (Self::Exponential, "exponential", "exponential"),
        (Self::SgmUniform, "sgm_uniform", "SGM uniform"),
        (Self::Simple, "simple", "simple"),
        (Self::Beta, "beta", "beta"),
        (Self::AlignYourSteps, "ays", "Align Your Steps"),
    ];

    /// The spacing that requests call `name`.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(spacing, ..)| *spacing)
    }

    /// The value of a request's `sigmas`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        self.row().2
    }

    /// The training steps of a spacing that names them one by one, from the most noise to the least.
    pub(super) fn chosen_timesteps(self, spec: &ScheduleSpec, training: &TrainingSigmas) -> Option<Vec<f64>> {
        match self {
            Self::Simple => {
                let count = training.levels.len();
                let stride = count as f64 / spec.steps as f64;
                Some((0..spec.steps).map(|i| ((count - 1) as f64) - (i as f64 * stride).floor()).collect())
            }
            Self::AlignYourSteps => Some(spec.aligned.timesteps(spec.steps, training)),
            Self::Default | Self::Karras | Self::Exponential | Self::SgmUniform | Self::Beta => None,
        }
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        Self::ALL.iter().find(|(spacing, ..)| *spacing == self).expect("ALL names every spacing")
    }
}

impl AlignedModel {
    /// Published for ten steps.
    fn published_timesteps(self) -> [f64; 10] {
        match self {
            Self::Sd15 => [999.0, 850.0, 736.0, 645.0, 545.0, 455.0, 343.0, 233.0, 124.0, 24.0],
            Self::Sdxl => [999.0, 845.0, 730.0, 587.0, 443.0, 310.0, 193.0, 116.0, 53.0, 13.0],
        }
    }

    /// Published for ten steps, with the sigma that the last one ends at.
    fn published_sigmas(self) -> [f64; 11] {
        match self {
            Self::Sd15 => [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029],
            Self::Sdxl => [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029],
        }
    }

    /// The most steps, up to those asked for, that fall on different training steps.
    pub(super) fn steps_max(self, steps: usize, training: &TrainingSigmas) -> usize {
        let are_different = |&steps: &usize| self.timesteps(steps, training).is_sorted_by(|a, b| a > b);
        (1..=steps.min(training.levels.len())).rev().find(are_different).unwrap_or(1)
    }

    /// The nearest whole training steps of the published sigmas, interpolated in their logarithm over `steps`.
    fn timesteps(self, steps: usize, training: &TrainingSigmas) -> Vec<f64> {
        let published = self.published_timesteps();
        if steps == published.len() {
            return published.to_vec();
        }
        let sigmas = self.published_sigmas();
        let timestep = |i: usize| {
            let along = i as f64 * (sigmas.len() - 1) as f64 / steps as f64;
            let (low, weight) = (along as usize, along.fract());
            let logarithm = sigmas[low].ln() * (1.0 - weight) + sigmas[low + 1].ln() * weight;
            training.timestep_of(logarithm.exp()).round_ties_even()
        };
        (0..steps).map(timestep).collect()
    }
}
