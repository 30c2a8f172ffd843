//! `scheduler/scheduler_config.json`.

use serde::Deserialize;

use crate::diffusion::weights::config::{self, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles};

/// How the model was trained, and what its authors chose for sampling. An absent key has the default of the class
/// that is built, as `from_config` does it, so a key whose default differs between classes is an `Option`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    pub(crate) class_name: String,
    pub(super) num_train_timesteps: usize,
    pub(super) beta_start: f64,
    pub(super) beta_end: f64,
    pub(super) beta_schedule: BetaSchedule,
    pub(super) rescale_betas_zero_snr: bool,
    pub(super) prediction_type: Prediction,
    pub(super) timestep_spacing: Option<TimestepSpacing>,
    pub(crate) steps_offset: usize,
    pub(crate) clip_sample: bool,
    pub(super) clip_sample_range: f64,
    pub(super) set_alpha_to_one: bool,
    pub(super) use_karras_sigmas: Option<bool>,
    pub(super) sigma_min: Option<f64>,
    pub(super) sigma_max: Option<f64>,
    pub(super) final_sigmas_type: FinalSigma,
    pub(super) solver_type: Solver,
    pub(super) lower_order_final: bool,
    pub(super) euler_at_final: bool,
    pub(super) lambda_min_clipped: Option<f64>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            class_name: String::new(),
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            rescale_betas_zero_snr: false,
            prediction_type: Prediction::Epsilon,
            timestep_spacing: None,
            steps_offset: 0,
            clip_sample: true,
            clip_sample_range: 1.0,
            set_alpha_to_one: true,
            use_karras_sigmas: None,
            sigma_min: None,
            sigma_max: None,
            final_sigmas_type: FinalSigma::Zero,
            solver_type: Solver::Midpoint,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: None,
        }
    }
}

/// How β grows over training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BetaSchedule {
    Linear,
    ScaledLinear,
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// What the network was trained to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity (Salimans and Ho 2022, section 2.4).
    VPrediction,
    /// The clean latent.
    Sample,
}

/// Which of the training steps a short walk visits (Lin et al. 2024, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestepSpacing {
    Leading,
    Linspace,
    Trailing,
}

/// The noise that the end of a walk leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinalSigma {
    Zero,
    SigmaMin,
}

/// The second-order term of DPM-Solver++.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Solver {
    // DEIS and UniPC name their own solvers; DPMSolverMultistepScheduler then takes its midpoint.
    #[serde(alias = "logrho", alias = "bh1", alias = "bh2")]
    Midpoint,
    Heun,
}

/// Every other argument of the diffusers classes that changes the walk, and the enumerations above.
const SETTLED: &[Settled] = &[
    ("algorithm_type", &["\"dpmsolver++\"", "\"deis\""]),
    ("beta_schedule", &["\"linear\"", "\"scaled_linear\"", "\"squaredcos_cap_v2\""]),
    ("final_sigmas_type", &["\"zero\"", "\"sigma_min\""]),
    ("interpolation_type", &["\"linear\""]),
    ("prediction_type", &["\"epsilon\"", "\"v_prediction\"", "\"sample\""]),
    ("solver_order", &["2"]),
    ("solver_type", &["\"midpoint\"", "\"heun\"", "\"logrho\"", "\"bh1\"", "\"bh2\""]),
    ("thresholding", &["false"]),
    ("timestep_spacing", &["\"leading\"", "\"linspace\"", "\"trailing\""]),
    ("timestep_type", &["\"discrete\""]),
    ("trained_betas", &["null"]),
    ("use_beta_sigmas", &["false", "null"]),
    ("use_dynamic_shifting", &["false", "null"]),
    ("use_exponential_sigmas", &["false", "null"]),
    ("use_flow_sigmas", &["false", "null"]),
    ("use_lu_lambdas", &["false", "null"]),
    ("variance_type", &["null", "\"fixed_small\"", "\"fixed_large\""]),
];

impl SchedulerConfig {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// When it is missing, no such JSON, or asks for what is not implemented.
    pub fn read(files: &ModelFiles, path: &str) -> Result<Self, LoadError> {
        let config: Self = config::read(files, path, SETTLED)?;
        let refuse = |key, value: &dyn std::fmt::Display, supported| {
            Err(config::unsupported(files, path, key, value, supported))
        };
        if config.num_train_timesteps < 2 {
            return refuse("num_train_timesteps", &config.num_train_timesteps, "2 or more");
        }
        if !(config.beta_start > 0.0 && config.beta_start <= config.beta_end && config.beta_end < 1.0) {
            return refuse("beta_end", &config.beta_end, "a number between `beta_start` and 1");
        }
        Ok(config)
    }

    /// Whether the authors chose Karras sigmas.
    pub(crate) fn names_karras(&self) -> bool {
        self.use_karras_sigmas == Some(true)
    }

    /// Steps of the longest walk: one per training step, less those that `steps_offset` pushes off the end.
    pub(super) fn steps_max(&self) -> usize {
        self.num_train_timesteps.saturating_sub(1 + self.steps_offset).max(1)
    }
}
