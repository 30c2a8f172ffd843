//! From what a client asks ([`JobRequest`]) to what will be drawn: every check, once, all faults together.
//!
//! | module | what it holds |
//! |---|---|
//! | `picture` | the fields that go with an input image |
//! | `faults` | the list of what is wrong |
//! | `idle` | what a request says that has no effect |

mod faults;
mod idle;
mod picture;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use sd_protocol::limits::{
    CLIP_SKIP_MAX, LANE_BYTES_MAX, LORA_WEIGHT_MAX, LORAS_MAX, MICRO_PX_MAX, OUTPUT_QUALITY_MAX, PRIORITY_MAX,
};
use sd_protocol::{ErrorBody, ErrorCode, ErrorDetail, JobRequest, Limits, LoraRequest, PreviewOptions, Supersede};
use serde_json::Value;

use self::faults::{Faults, unknown};
pub use self::picture::PictureRequest;
use crate::device::DeviceInfo;
use crate::diffusion::noise::Rng;
use crate::diffusion::schedulers::{self, SCHEDULERS, ScheduleError, SchedulerEntry, SigmaSpacing};
use crate::diffusion::{GenerationSpec, GuidanceSpec, LoraChoice, MicroConditioning, ModelInfo};
use crate::engine::JobPicture;
use crate::inputs::{ImageSource, InputError, Uploads};
use crate::jobs::NewJob;
use crate::models::{AdapterSet, Adapters, CatalogueModel};

/// Largest seed: JavaScript reads larger integers inexactly.
const SEED_MAX: u64 = (1 << 53) - 1;

/// What may be asked for.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What draws, never empty.
    pub devices: Vec<DeviceInfo>,
    /// Never empty; the first is the default.
    pub models: Vec<CatalogueModel>,
    /// LoRAs and embeddings by name.
    pub adapters: AdapterSet,
    /// Bounds.
    pub limits: Limits,
}

/// A request that passed every check, except that its pictures have not been looked at.
#[derive(Debug)]
pub struct ValidJob {
    /// For the registry.
    pub job: NewJob,
    /// For the engine.
    pub spec: GenerationSpec,
    /// Which model draws it.
    pub model: String,
    /// Which model draws the last part of it.
    pub refiner: Option<String>,
    /// What it starts from.
    pub picture: Option<PictureRequest>,
    /// What previews the submitter wants.
    pub preview: PreviewOptions,
}

/// Reads a job, checks it against what is offered, and fills in what it leaves out.
///
/// # Errors
/// `malformed_json` for what is no object, `invalid_request` with one detail per fault.
pub fn validate(job: Value, offer: &Offer) -> Result<ValidJob, ErrorBody> {
    let (request, unreadable) = JobRequest::from_json(job)?;
    let mut check = Check { request: &request, limits: &offer.limits, faults: Faults(unreadable) };
    let model = check.model(&offer.models);
    let spec = check.spec(&model.info, offer);
    check.walk(&model.info, &spec);
    let refiner = check.refiner(model, &offer.models, &spec);
    let picture = check.picture(spec.steps);
    check.handover(picture.as_ref());
    let preview = request.preview.unwrap_or_default();
    check.faults.range("preview.every", preview.every, 1, offer.limits.steps_max);
    let output = request.output.unwrap_or_default();
    check.faults.range("output.quality", output.quality, 1, OUTPUT_QUALITY_MAX);
    check.place_in_line();
    if !check.faults.is_empty() {
        return Err(ErrorBody::invalid(check.faults.0));
    }

    let switch_at = request.refiner.as_ref().map_or(1.0, |refiner| refiner.switch_at);
    let spec = GenerationSpec { denoising_end: switch_at, ..spec };
    let understood = understood(&request, &model.name, &spec, picture.as_ref(), preview);
    let warnings = idle::warnings(&request, &spec, model, refiner, picture.as_ref());
    Ok(ValidJob {
        refiner: refiner.map(|refiner| refiner.name.clone()),
        model: model.name.clone(),
        job: NewJob { understood, warnings, steps: spec.steps, submitted: request },
        spec,
        picture,
        preview,
    })
}

impl ValidJob {
    /// Puts the pictures of the job into `uploads`, or finds them there, and holds them in place. From then on the
    /// request names them by their ids. Blocks on the disk.
    ///
    /// # Errors
    /// `invalid_request` with the field of a picture that cannot be used; `uploads_full` or `storage_failed`.
    pub fn lease_picture(&mut self, uploads: &Arc<Uploads>) -> Result<Option<JobPicture>, ErrorBody> {
        let Some(picture) = &self.picture else { return Ok(None) };
        let lease = |field: &str, text: &str| {
            ImageSource::parse(text).and_then(|source| uploads.lease(&source)).map_err(|error| of_field(field, error))
        };
        let image = lease("image", &picture.image)?;
        let mask = picture.mask.as_ref().map(|mask| lease("mask", mask)).transpose()?;
        for request in [&mut self.job.submitted, &mut self.job.understood] {
            request.image = Some(image.id().to_owned());
            request.mask = mask.as_ref().map(|mask| mask.id().to_owned());
        }
        Ok(Some(JobPicture { image, mask, settings: picture.settings }))
    }
}

/// A picture's fault as a fault of its field, where it is one of the request.
fn of_field(field: &str, error: InputError) -> ErrorBody {
    match error.code() {
        ErrorCode::ImageInvalid | ErrorCode::UploadNotFound | ErrorCode::TooLarge => {
            ErrorBody::invalid(vec![ErrorDetail { field: field.into(), message: error.to_string() }])
        }
        _ => error.into(),
    }
}

/// The request with everything filled in.
fn understood(
    request: &JobRequest,
    model: &str,
    spec: &GenerationSpec,
    picture: Option<&PictureRequest>,
    preview: PreviewOptions,
) -> JobRequest {
    let picture = picture.map(|picture| picture.understood.clone()).unwrap_or_default();
    JobRequest {
        id: request.id.clone(),
        model: Some(model.into()),
        prompt: Some(spec.prompt.clone()),
        negative_prompt: spec.negative_prompt.clone(),
        width: Some(spec.width),
        height: Some(spec.height),
        steps: Some(spec.steps),
        guidance_scale: Some(spec.guidance.scale as f32),
        guidance_rescale: Some(spec.guidance.rescale as f32),
        guidance_interval: Some(spec.guidance.interval.into()),
        seed: Some(spec.seed),
        rng: Some(request.rng.unwrap_or_default()),
        batch_size: Some(spec.batch_size),
        scheduler: Some(spec.scheduler.name.into()),
        sigmas: Some(spec.sigmas.name().into()),
        eta: spec.scheduler.eta.map(|_| spec.eta as f32),
        clip_skip: Some(spec.clip_skip as u32),
        preview: Some(preview),
        output: Some(request.output.unwrap_or_default()),
        lane: request.lane.clone(),
        supersede: request.lane.as_ref().map(|_| request.supersede.unwrap_or_default()),
        on_disconnect: Some(request.on_disconnect.unwrap_or_default()),
        priority: Some(request.priority.unwrap_or(0)),
        loras: request.loras.clone(),
        refiner: request.refiner.clone(),
        original_size: request.original_size,
        crops_coords_top_left: request.crops_coords_top_left,
        target_size: request.target_size,
        aesthetic_score: request.aesthetic_score,
        negative_aesthetic_score: request.negative_aesthetic_score,
        ..picture
    }
}

/// One request under examination.
struct Check<'a> {
    request: &'a JobRequest,
    limits: &'a Limits,
    faults: Faults,
}

impl<'a> Check<'a> {
    fn model(&mut self, models: &'a [CatalogueModel]) -> &'a CatalogueModel {
        let Some(name) = &self.request.model else { return &models[0] };
        models.iter().find(|model| model.name == *name).unwrap_or_else(|| {
            self.faults.add("model", unknown(name, models.iter().map(|model| model.name.as_str())));
            &models[0]
        })
    }

    fn spec(&mut self, info: &ModelInfo, offer: &Offer) -> GenerationSpec {
        let Self { request, limits, .. } = *self;
        self.texts();
        let (width, height, batch_size) = self.size(info);
        let (scheduler, sigmas) = self.schedule(info);
        let faults = &mut self.faults;
        let eta = request.eta.unwrap_or(scheduler.eta.unwrap_or(0.0) as f32);
        let seed = request.seed.unwrap_or_else(|| random_seed() % (SEED_MAX - u64::from(limits.batch_size_max)));
        let clip_skip = request.clip_skip.unwrap_or(0);
        GenerationSpec {
            negative_prompt: request.negative_prompt.clone(),
            clip_skip: faults.range("clip_skip", clip_skip, 0, CLIP_SKIP_MAX.min(info.clip_skip_max as u32)) as usize,
            width,
            height,
            steps: faults.range("steps", request.steps.unwrap_or(info.steps), 1, limits.steps_max),
            guidance: self.guidance(info),
            seed: self.faults.range("seed", seed, 0, SEED_MAX - u64::from(batch_size - 1)),
            rng: match request.rng.unwrap_or_default() {
                sd_protocol::Rng::Cpu => Rng::Cpu,
                sd_protocol::Rng::Philox => Rng::Philox,
            },
            batch_size,
            scheduler,
            sigmas,
            eta: f64::from(self.faults.range("eta", eta, 0.0, 1.0)),
            micro: self.micro(width, height),
            loras: self.loras(&offer.adapters.loras),
            ..GenerationSpec::new(request.prompt.clone().unwrap_or_default(), info)
        }
    }

    fn place_in_line(&mut self) {
        let request = self.request;
        self.faults.range("priority", request.priority.unwrap_or(0), -PRIORITY_MAX, PRIORITY_MAX);
        match &request.lane {
            Some(lane) if lane.is_empty() || lane.len() > LANE_BYTES_MAX => {
                self.faults.add("lane", format!("has {} bytes, allowed is 1 to {LANE_BYTES_MAX}", lane.len()));
            }
            None if request.supersede.is_some_and(|which| which != Supersede::None) => {
                self.faults.add("supersede", "goes with a `lane`, and there is none".into());
            }
            _ => {}
        }
    }

    fn texts(&mut self) {
        let Self { request, limits, .. } = *self;
        if request.prompt.is_none() && !self.faults.names("prompt") {
            self.faults.add("prompt", "is missing; say what to draw".into());
        }
        for (field, text) in [("prompt", &request.prompt), ("negative_prompt", &request.negative_prompt)] {
            let bytes = text.as_deref().map_or(0, str::len);
            if bytes > limits.prompt_bytes_max {
                self.faults.add(field, format!("has {bytes} bytes, the limit is {}", limits.prompt_bytes_max));
            }
        }
    }

    fn size(&mut self, info: &ModelInfo) -> (u32, u32, u32) {
        let Self { request, limits, .. } = *self;
        let width = self.faults.side("width", request.width.unwrap_or(info.width), limits);
        let height = self.faults.side("height", request.height.unwrap_or(info.height), limits);
        let batch_size = self.faults.range("batch_size", request.batch_size.unwrap_or(1), 1, limits.batch_size_max);
        let pixels = u64::from(width) * u64::from(height) * u64::from(batch_size);
        if pixels > limits.job_pixels_max
            && !["width", "height", "batch_size"].iter().any(|field| self.faults.names(field))
        {
            let most = limits.job_pixels_max;
            self.faults.add("width", format!("width × height × batch_size is {pixels} px, the limit is {most}"));
        }
        (width, height, batch_size)
    }

    fn guidance(&mut self, info: &ModelInfo) -> GuidanceSpec {
        let Self { request, limits, .. } = *self;
        let scale = request.guidance_scale.unwrap_or(info.guidance_scale as f32);
        let rescale = request.guidance_rescale.unwrap_or(0.0);
        let [start, end] = request.guidance_interval.unwrap_or([0.0, 1.0]);
        if !(0.0 <= start && start <= end && end <= 1.0) {
            let message = format!("is [{start}, {end}]; it is two fractions of the walk, the lower one first");
            self.faults.add("guidance_interval", message);
        }
        GuidanceSpec {
            scale: f64::from(self.faults.range("guidance_scale", scale, 0.0, limits.guidance_scale_max)),
            rescale: f64::from(self.faults.range("guidance_rescale", rescale, 0.0, 1.0)),
            interval: (start, end),
        }
    }

    fn schedule(&mut self, info: &ModelInfo) -> (&'static SchedulerEntry, SigmaSpacing) {
        let scheduler = match &self.request.scheduler {
            None => info.scheduler,
            Some(name) => schedulers::find(name).unwrap_or_else(|| {
                self.faults.add("scheduler", unknown(name, SCHEDULERS.iter().map(|entry| entry.name)));
                info.scheduler
            }),
        };
        let sigmas = match &self.request.sigmas {
            // The model's own spacing may not fit the scheduler that the request names.
            None if scheduler.supports(info.sigmas) => info.sigmas,
            None => SigmaSpacing::Default,
            Some(name) => SigmaSpacing::find(name).unwrap_or_else(|| {
                self.faults.add("sigmas", unknown(name, SigmaSpacing::ALL.iter().map(|(_, name, _)| *name)));
                SigmaSpacing::Default
            }),
        };
        if !scheduler.supports(sigmas) {
            let (given, fit) = (sigmas.name(), scheduler.spacings.iter().map(|spacing| spacing.name()));
            let fit = fit.collect::<Vec<_>>().join(", ");
            self.faults
                .add("sigmas", format!("{given} does not go with the scheduler {}; {fit} would", scheduler.name));
        }
        (scheduler, sigmas)
    }

    fn micro(&mut self, width: u32, height: u32) -> MicroConditioning {
        let request = self.request;
        let defaults = MicroConditioning::of(height, width);
        let mut pair = |field, given: Option<[u32; 2]>, default: (u32, u32)| {
            given.map_or(default, |given| given.map(|px| self.faults.range(field, px, 0, MICRO_PX_MAX)).into())
        };
        let original_size = pair("original_size", request.original_size, defaults.original_size);
        let crops = pair("crops_coords_top_left", request.crops_coords_top_left, defaults.crops_coords_top_left);
        let target_size = pair("target_size", request.target_size, defaults.target_size);
        let mut score = |field, given: Option<f32>, default: f64| {
            given.map_or(default, |given| f64::from(self.faults.range(field, given, 0.0, 10.0)))
        };
        MicroConditioning {
            original_size,
            crops_coords_top_left: crops,
            target_size,
            aesthetic_score: score("aesthetic_score", request.aesthetic_score, defaults.aesthetic_score),
            negative_aesthetic_score: score(
                "negative_aesthetic_score",
                request.negative_aesthetic_score,
                defaults.negative_aesthetic_score,
            ),
        }
    }

    fn loras(&mut self, known: &Adapters) -> Vec<LoraChoice> {
        let asked = self.request.loras.as_deref().unwrap_or_default();
        if asked.len() > LORAS_MAX {
            self.faults.add("loras", format!("are {}, the limit is {LORAS_MAX}", asked.len()));
        }
        let choose = |(at, LoraRequest { name, weight }): (usize, &LoraRequest)| {
            let field = format!("loras[{at}].weight");
            let weight = self.faults.range(&field, *weight, -LORA_WEIGHT_MAX, LORA_WEIGHT_MAX);
            let Some(path) = known.path(name) else {
                self.faults.add(&format!("loras[{at}].name"), unknown(name, known.names()));
                return None;
            };
            Some(LoraChoice { name: name.clone(), path: path.into(), weight: f64::from(weight) })
        };
        asked.iter().enumerate().filter_map(choose).collect()
    }

    /// The walk that `spec` asks for, of which each part was found to be possible alone.
    fn walk(&mut self, info: &ModelInfo, spec: &GenerationSpec) {
        let Err(error) = info.schedule.check(spec) else { return };
        let field = match &error {
            ScheduleError::Spacing { .. } => "sigmas",
            ScheduleError::Prediction { .. } => "scheduler",
            ScheduleError::Steps { .. } => "steps",
        };
        // What stands in for a value at fault may make a walk that nobody asked for.
        if !["model", "scheduler", "sigmas", "steps"].iter().any(|field| self.faults.names(field)) {
            self.faults.add(field, error.to_string());
        }
    }

    /// The second model, which must live in the latent space of the first and know the walk of `spec`.
    fn refiner(
        &mut self,
        base: &CatalogueModel,
        models: &'a [CatalogueModel],
        spec: &GenerationSpec,
    ) -> Option<&'a CatalogueModel> {
        let refiner = self.request.refiner.as_ref()?;
        if !(refiner.switch_at > 0.0 && refiner.switch_at < 1.0) {
            let message = format!("is {}, allowed is more than 0 and less than 1", refiner.switch_at);
            self.faults.add("refiner.switch_at", message);
        }
        let fits = |model: &&CatalogueModel| model.info.shares_latents(&base.info);
        let found = models.iter().find(|model| model.name == refiner.model);
        match found {
            None => {
                let known = models.iter().filter(fits).map(|model| model.name.as_str());
                self.faults.add("refiner.model", unknown(&refiner.model, known));
            }
            Some(model) if !fits(&model) => {
                let message = format!("{} cannot go on with the latents of {}", model.name, base.name);
                self.faults.add("refiner.model", message);
            }
            Some(model) => {
                let is_walked = base.info.schedule.check(spec).is_ok();
                if let (true, Err(error)) = (is_walked, model.info.schedule.check(spec)) {
                    self.faults.add("refiner.model", format!("{} cannot go on: {error}", model.name));
                }
            }
        }
        found
    }
}

/// The standard library's hasher keys come from the system's randomness; a seed needs no more than that.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
