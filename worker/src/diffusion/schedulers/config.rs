//! `scheduler/scheduler_config.json`.

use serde::{Deserialize, Serialize};

use super::{SCHEDULERS, ScheduleSpec, SchedulerEntry, SigmaSpacing};
use crate::diffusion::weights::config::{self, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles};

/// How the model was trained, and what its authors chose for sampling. An absent key has the default of the class
/// that is built, as `from_config` does it, so a key whose default differs between classes is an `Option`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    class_name: String,
    pub(super) num_train_timesteps: usize,
    beta_start: Option<f64>,
    beta_end: Option<f64>,
    beta_schedule: Option<BetaSchedule>,
    rescale_betas_zero_snr: bool,
    pub(super) prediction_type: Prediction,
    pub(super) timestep_spacing: Option<TimestepSpacing>,
    pub(crate) steps_offset: usize,
    pub(crate) clip_sample: Option<bool>,
    clip_sample_range: f64,
    pub(super) set_alpha_to_one: Option<bool>,
    pub(super) skip_prk_steps: bool,
    pub(super) variance_type: Option<Variance>,
    use_karras_sigmas: Option<bool>,
    use_exponential_sigmas: Option<bool>,
    use_beta_sigmas: Option<bool>,
    pub(super) sigma_min: Option<f64>,
    pub(super) sigma_max: Option<f64>,
    pub(super) final_sigmas_type: FinalSigma,
    algorithm_type: Option<Algorithm>,
    pub(super) solver_type: Option<Solver>,
    pub(super) solver_order: usize,
    pub(super) lower_order_final: Option<bool>,
    pub(super) euler_at_final: bool,
    pub(super) lambda_min_clipped: Option<f64>,
    pub(super) disable_corrector: Vec<usize>,
    pub(super) original_inference_steps: usize,
    pub(super) timestep_scaling: f64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            class_name: String::new(),
            num_train_timesteps: 1000,
            beta_start: None,
            beta_end: None,
            beta_schedule: None,
            rescale_betas_zero_snr: false,
            prediction_type: Prediction::Epsilon,
            timestep_spacing: None,
            steps_offset: 0,
            clip_sample: None,
            clip_sample_range: 1.0,
            set_alpha_to_one: None,
            skip_prk_steps: false,
            variance_type: None,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            use_beta_sigmas: None,
            sigma_min: None,
            sigma_max: None,
            final_sigmas_type: FinalSigma::Zero,
            algorithm_type: None,
            solver_type: None,
            solver_order: 2,
            lower_order_final: None,
            euler_at_final: false,
            lambda_min_clipped: None,
            disable_corrector: Vec::new(),
            original_inference_steps: 50,
            timestep_scaling: 10.0,
        }
    }
}

/// What a class of diffusers makes of the noise of training: its own values for absent keys, and whether it knows
/// `rescale_betas_zero_snr`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    beta_start: f64,
    beta_end: f64,
    beta_schedule: BetaSchedule,
    rescales: bool,
}

impl Class {
    /// DDIM, DDPM, both Euler, DPM-Solver multistep, UniPC.
    pub(super) const RESCALING: Self = Self { rescales: true, ..Self::PLAIN };
    /// PNDM, LMS, DPM-Solver singlestep, DEIS.
    pub(super) const PLAIN: Self =
        Self { beta_start: 0.0001, beta_end: 0.02, beta_schedule: BetaSchedule::Linear, rescales: false };
    /// Heun, both DPM2, DPM++ SDE.
    pub(super) const TWO_STAGE: Self = Self { beta_start: 0.00085, beta_end: 0.012, ..Self::PLAIN };
    /// LCM and TCD.
    pub(super) const CONSISTENCY: Self =
        Self { beta_schedule: BetaSchedule::ScaledLinear, rescales: true, ..Self::TWO_STAGE };
}

/// The noise of training: how β grows, and whether it is rescaled so that nothing is left of the last latent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Betas {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) schedule: BetaSchedule,
    pub(super) zero_snr: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// The terms of higher order. A class that is given the solver of another one takes its own default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Solver {
    /// DPM-Solver.
    Midpoint,
    /// DPM-Solver.
    Heun,
    /// DEIS.
    Logrho,
    /// UniPC.
    Bh1,
    /// UniPC.
    Bh2,
}

/// Of DPM-Solver: along the probability flow, or with fresh noise at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Algorithm {
    // What diffusers takes for DEIS's own name.
    #[serde(rename = "dpmsolver++", alias = "deis")]
    Flow,
    #[serde(rename = "sde-dpmsolver++")]
    Stochastic,
}

/// The variance of DDPM's fresh noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Variance {
    #[serde(alias = "fixed_small_log")]
    FixedSmall,
    FixedLarge,
}

/// Every other argument of the diffusers classes that changes the walk, and the enumerations above.
const SETTLED: &[Settled] = &[
    ("algorithm_type", &["\"dpmsolver++\"", "\"sde-dpmsolver++\"", "\"deis\""]),
    ("beta_schedule", &["\"linear\"", "\"scaled_linear\"", "\"squaredcos_cap_v2\""]),
    ("final_sigmas_type", &["\"zero\"", "\"sigma_min\""]),
    ("interpolation_type", &["\"linear\""]),
    ("predict_x0", &["true"]),
    ("prediction_type", &["\"epsilon\"", "\"v_prediction\"", "\"sample\""]),
    ("solver_order", &["1", "2", "3"]),
    ("solver_p", &["null"]),
    ("solver_type", &["\"midpoint\"", "\"heun\"", "\"logrho\"", "\"bh1\"", "\"bh2\""]),
    ("thresholding", &["false"]),
    ("timestep_spacing", &["\"leading\"", "\"linspace\"", "\"trailing\""]),
    ("timestep_type", &["\"discrete\""]),
    ("trained_betas", &["null"]),
    ("use_dynamic_shifting", &["false", "null"]),
    ("use_flow_sigmas", &["false", "null"]),
    ("use_lu_lambdas", &["false", "null"]),
    ("variance_type", &["null", "\"fixed_small\"", "\"fixed_small_log\"", "\"fixed_large\""]),
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
        let Betas { start, end, .. } = config.betas(Class::PLAIN);
        if !(start > 0.0 && start <= end && end < 1.0) {
            return refuse("beta_end", &end, "a number between `beta_start` and 1");
        }
        let original = config.original_inference_steps;
        if original == 0 || original > config.num_train_timesteps {
            return refuse("original_inference_steps", &original, "1 to `num_train_timesteps`");
        }
        if config.named_spacings().count() > 1 {
            return refuse("use_karras_sigmas", &true, "one spacing of the sigmas at a time");
        }
        Ok(config)
    }

    /// The row of [`SCHEDULERS`] that the authors chose. Where there is none, the first row stands in, and a sentence
    /// for the user says so.
    pub fn entry(&self) -> (&'static SchedulerEntry, Option<String>) {
        let stochastic = self.algorithm_type == Some(Algorithm::Stochastic);
        let name = match self.class_name.as_str() {
            "DPMSolverMultistepScheduler" if stochastic && self.solver_order == 3 => Some("dpmpp_3m_sde"),
            "DPMSolverMultistepScheduler" if stochastic => Some("dpmpp_2m_sde"),
            _ => None,
        };
        let named =
            |entry: &&SchedulerEntry| name.map_or(entry.diffusers_class == self.class_name, |name| entry.name == name);
        // DPM-Solver singlestep is here without noise only.
        let is_here = self.class_name != "DPMSolverSinglestepScheduler" || !stochastic;
        if let Some(entry) = SCHEDULERS.iter().find(named).filter(|_| is_here) {
            return (entry, None);
        }
        let entry = &SCHEDULERS[0];
        let warning =
            format!("the model's own scheduler, {:?}, is not known here; {} stands in", self.class_name, entry.label);
        (entry, Some(warning))
    }

    /// The spacing of the sigmas that the authors chose.
    pub fn spacing(&self) -> SigmaSpacing {
        self.named_spacings().next().unwrap_or(SigmaSpacing::Default)
    }

    /// Whether the authors chose a walk of a few steps from pure noise, as for the Turbo and consistency models:
    /// consistency samplers, and Euler's from the very last training step without a network trained for zero SNR.
    pub(crate) fn is_for_few_steps(&self) -> bool {
        match self.class_name.as_str() {
            "LCMScheduler" | "TCDScheduler" => true,
            "EulerDiscreteScheduler" | "EulerAncestralDiscreteScheduler" => {
                self.timestep_spacing == Some(TimestepSpacing::Trailing) && !self.rescale_betas_zero_snr
            }
            _ => false,
        }
    }

    fn named_spacings(&self) -> impl Iterator<Item = SigmaSpacing> {
        let named = [
            (self.use_karras_sigmas, SigmaSpacing::Karras),
            (self.use_exponential_sigmas, SigmaSpacing::Exponential),
            (self.use_beta_sigmas, SigmaSpacing::Beta),
        ];
        named.into_iter().filter(|(key, _)| *key == Some(true)).map(|(_, spacing)| spacing)
    }

    /// The noise of training as a class understands the configuration.
    pub(super) fn betas(&self, class: Class) -> Betas {
        Betas {
            start: self.beta_start.unwrap_or(class.beta_start),
            end: self.beta_end.unwrap_or(class.beta_end),
            schedule: self.beta_schedule.unwrap_or(class.beta_schedule),
            zero_snr: class.rescales && self.rescale_betas_zero_snr,
        }
    }

    /// The spacing that a request gets of a class with switches for Karras, exponential and beta sigmas.
    pub(super) fn spacing_for(&self, spec: &ScheduleSpec) -> SigmaSpacing {
        if spec.sigmas == SigmaSpacing::Default { self.spacing() } else { spec.sigmas }
    }

    /// Which training steps a request gets of a class whose own choice is `default`.
    pub(super) fn timestep_spacing_for(&self, spec: &ScheduleSpec, default: TimestepSpacing) -> TimestepSpacing {
        if spec.sigmas == SigmaSpacing::SgmUniform {
            return TimestepSpacing::Trailing;
        }
        self.timestep_spacing.unwrap_or(default)
    }

    /// The bound that the predicted clean latent is clipped to, by a class that clips by `default` or not.
    pub(super) fn clip(&self, default: bool) -> Option<f64> {
        self.clip_sample.unwrap_or(default).then_some(self.clip_sample_range)
    }

    /// Steps of the longest walk: one per training step, less those that `steps_offset` pushes off the end.
    pub(super) fn steps_max(&self) -> usize {
        self.num_train_timesteps.saturating_sub(1 + self.steps_offset).max(1)
    }
}
