//! From what a client asks ([`JobRequest`]) to what will be drawn: every check, once, all faults together.

use std::hash::{BuildHasher, Hasher, RandomState};

use sd_protocol::{ErrorBody, ErrorDetail, JobRequest, Limits, PreviewOptions};
use serde_json::Value;

use crate::diffusion::GenerationSpec;
use crate::diffusion::schedulers::{self, SCHEDULERS, SigmaSpacing};
use crate::jobs::NewJob;
use crate::models::CatalogueModel;

/// Largest seed: JavaScript reads larger integers inexactly.
const SEED_MAX: u64 = (1 << 53) - 1;

/// A request that passed every check.
#[derive(Debug)]
pub struct ValidJob {
    /// For the registry.
    pub job: NewJob,
    /// For the engine.
    pub spec: GenerationSpec,
    /// Which model draws it.
    pub model: String,
    /// What previews the submitter wants.
    pub preview: PreviewOptions,
}

/// Reads a job, checks it against a catalogue, whose first model is the default, and fills in what it leaves out.
///
/// # Errors
/// `malformed_json` for what is no object, `invalid_request` with one detail per fault.
pub fn validate(job: Value, models: &[CatalogueModel], limits: &Limits) -> Result<ValidJob, ErrorBody> {
    let (request, unreadable) = JobRequest::from_json(job)?;
    let mut faults = Faults(unreadable);
    let model = match &request.model {
        None => &models[0],
        Some(name) => models.iter().find(|model| model.name == *name).unwrap_or_else(|| {
            faults.add("model", unknown(name, models.iter().map(|model| model.name.as_str())));
            &models[0]
        }),
    };
    let info = &model.info;

    if request.prompt.is_none() && !faults.names("prompt") {
        faults.add("prompt", "is missing; say what to draw".into());
    }
    for (field, text) in [("prompt", &request.prompt), ("negative_prompt", &request.negative_prompt)] {
        let bytes = text.as_deref().map_or(0, str::len);
        if bytes > limits.prompt_bytes_max {
            faults.add(field, format!("has {bytes} bytes, the limit is {}", limits.prompt_bytes_max));
        }
    }
    let width = faults.side("width", request.width.unwrap_or(info.width), limits);
    let height = faults.side("height", request.height.unwrap_or(info.height), limits);
    let steps = faults.range("steps", request.steps.unwrap_or(info.steps), 1, limits.steps_max);
    let guidance_scale = request.guidance_scale.unwrap_or(info.guidance_scale as f32);
    let guidance_scale = faults.range("guidance_scale", guidance_scale, 0.0, limits.guidance_scale_max);
    let batch_size = faults.range("batch_size", request.batch_size.unwrap_or(1), 1, limits.batch_size_max);
    let pixels = u64::from(width) * u64::from(height) * u64::from(batch_size);
    if faults.is_empty() && pixels > limits.job_pixels_max {
        let most = limits.job_pixels_max;
        faults.add("width", format!("width × height × batch_size is {pixels} px, the limit is {most}"));
    }
    let eta = faults.range("eta", request.eta.unwrap_or(0.0), 0.0, 1.0);
    let seed = request.seed.unwrap_or_else(|| random_seed() % (SEED_MAX - u64::from(limits.batch_size_max)));
    let seed = faults.range("seed", seed, 0, SEED_MAX - u64::from(batch_size - 1));

    let scheduler = match &request.scheduler {
        None => info.scheduler,
        Some(name) => schedulers::find(name).unwrap_or_else(|| {
            faults.add("scheduler", unknown(name, SCHEDULERS.iter().map(|entry| entry.name)));
            info.scheduler
        }),
    };
    let sigmas = match &request.sigmas {
        // The model's own spacing may not fit the scheduler that the request names.
        None if scheduler.supports(info.sigmas) => info.sigmas,
        None => SigmaSpacing::Default,
        Some(name) => SigmaSpacing::find(name).unwrap_or_else(|| {
            faults.add("sigmas", unknown(name, SigmaSpacing::ALL.iter().map(|(_, name, _)| *name)));
            SigmaSpacing::Default
        }),
    };
    if !scheduler.supports(sigmas) {
        faults.add("sigmas", format!("{} does not go with the scheduler {}", sigmas.name(), scheduler.name));
    }
    let preview = request.preview.unwrap_or_default();
    faults.range("preview.every", preview.every, 1, limits.steps_max);

    if !faults.is_empty() {
        return Err(ErrorBody::invalid(faults.0));
    }
    let prompt = request.prompt.clone().unwrap_or_default();
    let negative_prompt = request.negative_prompt.clone().unwrap_or_default();
    let understood = JobRequest {
        id: request.id.clone(),
        model: Some(model.name.clone()),
        prompt: Some(prompt.clone()),
        negative_prompt: Some(negative_prompt.clone()),
        width: Some(width),
        height: Some(height),
        steps: Some(steps),
        guidance_scale: Some(guidance_scale),
        seed: Some(seed),
        batch_size: Some(batch_size),
        scheduler: Some(scheduler.name.into()),
        sigmas: Some(sigmas.name().into()),
        eta: Some(eta),
        preview: Some(preview),
    };
    let spec = GenerationSpec {
        prompt,
        negative_prompt,
        width,
        height,
        steps,
        guidance_scale: f64::from(guidance_scale),
        seed,
        batch_size,
        scheduler,
        sigmas,
        eta: f64::from(eta),
    };
    Ok(ValidJob { job: NewJob { submitted: request, understood, steps }, spec, model: model.name.clone(), preview })
}

struct Faults(Vec<ErrorDetail>);

impl Faults {
    fn add(&mut self, field: &str, message: String) {
        self.0.push(ErrorDetail { field: field.into(), message });
    }

    fn names(&self, field: &str) -> bool {
        self.0.iter().any(|fault| fault.field == field)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if it lies in the range, else a fault and the nearest end.
    fn range<T: PartialOrd + std::fmt::Display>(&mut self, field: &str, value: T, low: T, high: T) -> T {
        if value >= low && value <= high {
            return value;
        }
        self.add(field, format!("is {value}, allowed is {low} to {high}"));
        if value > high { high } else { low }
    }

    fn side(&mut self, field: &str, px: u32, limits: &Limits) -> u32 {
        let multiple = limits.side_px_multiple;
        if !px.is_multiple_of(multiple) {
            let near = (px / multiple * multiple).clamp(limits.side_px_min, limits.side_px_max);
            self.add(field, format!("is {px}, but sides are multiples of {multiple}; {near} would do"));
            return near;
        }
        self.range(field, px, limits.side_px_min, limits.side_px_max)
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    format!("no {name:?} here; there is {}", known.collect::<Vec<_>>().join(", "))
}

/// The standard library's hasher keys come from the system's randomness; a seed needs no more than that.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
