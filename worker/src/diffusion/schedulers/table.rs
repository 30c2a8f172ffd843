//! The table of samplers.

use super::config::{Class, Prediction, SchedulerConfig};
use super::consistency::{self, Lcm, Tcd};
use super::ddim::Ddim;
use super::ddpm::Ddpm;
use super::deis::Deis;
use super::dpm_multistep::DpmMultistep;
use super::dpm_sde::DpmSde;
use super::dpm_singlestep::DpmSinglestep;
use super::dpm2::Dpm2;
use super::euler::Euler;
use super::euler_ancestral::EulerAncestral;
use super::heun::Heun;
use super::lms::Lms;
use super::pndm::{self, Pndm};
use super::sigmas::TrainingSigmas;
use super::unipc::UniPc;
use super::{ScheduleError, ScheduleSpec, Scheduler, SigmaSpacing};

/// A row of [`SCHEDULERS`].
#[derive(Debug)]
pub struct SchedulerEntry {
    /// The value of a request's `scheduler`.
    pub name: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// The diffusers class that it follows, as `scheduler_config.json` names it.
    pub diffusers_class: &'static str,
    /// The spacings it can walk, those that its class has; [`SigmaSpacing::Default`] is always among them.
    pub spacings: &'static [SigmaSpacing],
    /// What the network may have been trained to say.
    pub predictions: &'static [Prediction],
    /// η for a request that names none; `None` where it means nothing.
    pub eta: Option<f64>,
    build: fn(&SchedulerConfig, &ScheduleSpec) -> Box<dyn Scheduler>,
}

/// The class has no choice but its timesteps.
const TRAILING: &[SigmaSpacing] = &[SigmaSpacing::Default, SigmaSpacing::SgmUniform];
/// The class can be told its timesteps one by one.
const NAMED: &[SigmaSpacing] = &[SigmaSpacing::Default, SigmaSpacing::Simple, SigmaSpacing::AlignYourSteps];
/// Both.
const TRAILING_OR_NAMED: &[SigmaSpacing] =
    &[SigmaSpacing::Default, SigmaSpacing::SgmUniform, SigmaSpacing::Simple, SigmaSpacing::AlignYourSteps];
/// The class has switches for the spacing of its sigmas.
const SWITCHED: &[SigmaSpacing] = &[
    SigmaSpacing::Default,
    SigmaSpacing::Karras,
    SigmaSpacing::Exponential,
    SigmaSpacing::Beta,
    SigmaSpacing::SgmUniform,
];
/// The class has such switches, and can be told its timesteps one by one.
const SWITCHED_OR_NAMED: &[SigmaSpacing] = &[
    SigmaSpacing::Default,
    SigmaSpacing::Karras,
    SigmaSpacing::Exponential,
    SigmaSpacing::Beta,
    SigmaSpacing::Simple,
    SigmaSpacing::AlignYourSteps,
];
/// All of these.
const ANY: &[SigmaSpacing] = &[
    SigmaSpacing::Default,
    SigmaSpacing::Karras,
    SigmaSpacing::Exponential,
    SigmaSpacing::Beta,
    SigmaSpacing::SgmUniform,
    SigmaSpacing::Simple,
    SigmaSpacing::AlignYourSteps,
];

const EACH: &[Prediction] = &[Prediction::Epsilon, Prediction::VPrediction, Prediction::Sample];
const NOT_SAMPLE: &[Prediction] = &[Prediction::Epsilon, Prediction::VPrediction];

/// What most rows share.
const ROW: SchedulerEntry = SchedulerEntry {
    name: "euler",
    label: "Euler",
    diffusers_class: "EulerDiscreteScheduler",
    spacings: ANY,
    predictions: EACH,
    eta: None,
    build: |config, spec| Box::new(Euler::new(config, spec)),
};

/// Every scheduler. The first stands in where a model names one that is not here; of several with one class the first
/// is meant by it.
pub static SCHEDULERS: &[SchedulerEntry] = &[
    ROW,
    SchedulerEntry {
        name: "euler_a",
        label: "Euler a",
        diffusers_class: "EulerAncestralDiscreteScheduler",
        spacings: TRAILING,
        predictions: NOT_SAMPLE,
        build: |config, spec| Box::new(EulerAncestral::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "heun",
        label: "Heun",
        diffusers_class: "HeunDiscreteScheduler",
        build: |config, spec| Box::new(Heun::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "dpm2",
        label: "DPM2",
        diffusers_class: "KDPM2DiscreteScheduler",
        spacings: SWITCHED,
        predictions: NOT_SAMPLE,
        build: |config, spec| Box::new(Dpm2::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "dpm2_a",
        label: "DPM2 a",
        diffusers_class: "KDPM2AncestralDiscreteScheduler",
        spacings: SWITCHED,
        predictions: NOT_SAMPLE,
        build: |config, spec| Box::new(Dpm2::ancestral(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "dpmpp_2m",
        label: "DPM++ 2M",
        diffusers_class: "DPMSolverMultistepScheduler",
        build: |config, spec| Box::new(DpmMultistep::flow(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "dpmpp_2m_sde",
        label: "DPM++ 2M SDE",
        diffusers_class: "DPMSolverMultistepScheduler",
        build: |config, spec| Box::new(DpmMultistep::stochastic(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "dpmpp_3m_sde",
        label: "DPM++ 3M SDE",
        diffusers_class: "DPMSolverMultistepScheduler",
        build: |config, spec| Box::new(DpmMultistep::stochastic_third(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "dpmpp_2s",
        label: "DPM++ 2S",
        diffusers_class: "DPMSolverSinglestepScheduler",
        spacings: SWITCHED_OR_NAMED,
        build: |config, spec| Box::new(DpmSinglestep::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "dpmpp_sde",
        label: "DPM++ SDE",
        diffusers_class: "DPMSolverSDEScheduler",
        spacings: SWITCHED,
        predictions: NOT_SAMPLE,
        build: |config, spec| Box::new(DpmSde::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "unipc",
        label: "UniPC",
        diffusers_class: "UniPCMultistepScheduler",
        spacings: SWITCHED,
        build: |config, spec| Box::new(UniPc::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "deis",
        label: "DEIS",
        diffusers_class: "DEISMultistepScheduler",
        spacings: SWITCHED,
        build: |config, spec| Box::new(Deis::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "lms",
        label: "LMS",
        diffusers_class: "LMSDiscreteScheduler",
        spacings: SWITCHED,
        build: |config, spec| Box::new(Lms::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "ddim",
        label: "DDIM",
        diffusers_class: "DDIMScheduler",
        spacings: TRAILING,
        eta: Some(0.0),
        build: |config, spec| Box::new(Ddim::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "ddpm",
        label: "DDPM",
        diffusers_class: "DDPMScheduler",
        spacings: TRAILING_OR_NAMED,
        build: |config, spec| Box::new(Ddpm::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "pndm",
        label: "PNDM",
        diffusers_class: "PNDMScheduler",
        spacings: TRAILING,
        predictions: NOT_SAMPLE,
        build: |config, spec| Box::new(Pndm::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "lcm",
        label: "LCM",
        diffusers_class: "LCMScheduler",
        spacings: NAMED,
        build: |config, spec| Box::new(Lcm::new(config, spec)),
        ..ROW
    },
    SchedulerEntry {
        name: "tcd",
        label: "TCD",
        diffusers_class: "TCDScheduler",
        spacings: NAMED,
        eta: Some(0.3),
        build: |config, spec| Box::new(Tcd::new(config, spec)),
        ..ROW
    },
];

/// The row of [`SCHEDULERS`] called `name`.
pub fn find(name: &str) -> Option<&'static SchedulerEntry> {
    SCHEDULERS.iter().find(|entry| entry.name == name)
}

impl SchedulerEntry {
    /// Whether it can walk this spacing.
    pub fn supports(&self, sigmas: SigmaSpacing) -> bool {
        self.spacings.contains(&sigmas)
    }

    /// Whether there is the walk that `spec` asks for, with a model of `config`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn check(&self, config: &SchedulerConfig, spec: &ScheduleSpec) -> Result<(), ScheduleError> {
        if !self.supports(spec.sigmas) {
            return Err(ScheduleError::Spacing { scheduler: self.label, sigmas: spec.sigmas.label() });
        }
        if !self.predictions.contains(&config.prediction_type) {
            return Err(ScheduleError::Prediction { scheduler: self.label });
        }
        let (steps_min, steps_max) = self.steps_range(config, spec);
        if !(steps_min..=steps_max).contains(&spec.steps) {
            return Err(ScheduleError::Steps { steps: spec.steps, steps_min, steps_max });
        }
        Ok(())
    }

    /// The walk that `spec` asks for, with a model of `config`.
    ///
    /// # Errors
    /// As [`SchedulerEntry::check`].
    pub fn build(&self, config: &SchedulerConfig, spec: &ScheduleSpec) -> Result<Box<dyn Scheduler>, ScheduleError> {
        self.check(config, spec)?;
        Ok((self.build)(config, spec))
    }

    /// The least and the most steps of a walk like `spec`.
    fn steps_range(&self, config: &SchedulerConfig, spec: &ScheduleSpec) -> (usize, usize) {
        let steps_min = if self.name == "pndm" { pndm::steps_min(config) } else { 1 };
        let mut steps_max = config.steps_max();
        if matches!(self.name, "lcm" | "tcd") {
            steps_max = steps_max.min(consistency::steps_max(config, spec));
        }
        if spec.sigmas == SigmaSpacing::AlignYourSteps {
            steps_max =
                steps_max.min(spec.aligned.steps_max(spec.steps, &TrainingSigmas::new(config, Class::RESCALING)));
        }
        (steps_min, steps_max)
    }
}

impl PartialEq for SchedulerEntry {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
