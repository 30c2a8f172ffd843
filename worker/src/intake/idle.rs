//! What a request says that has no effect: no fault, and worth a sentence.

use sd_protocol::{InpaintArea, InpaintFill, JobRequest};

use super::PictureRequest;
use crate::diffusion::guidance::Guidance;
use crate::diffusion::schedulers::SCHEDULERS;
use crate::diffusion::{GenerationSpec, MicroKind, ModelInfo};
use crate::models::CatalogueModel;

/// A sentence about everything that `request`, understood as `spec`, says in vain to the models that will draw it.
pub(super) fn warnings(
    request: &JobRequest,
    spec: &GenerationSpec,
    model: &CatalogueModel,
    refiner: Option<&CatalogueModel>,
    picture: Option<&PictureRequest>,
) -> Vec<String> {
    let mut idle = Idle { warnings: Vec::new() };
    idle.micro(request, model, refiner);
    idle.guidance(request, spec, model, refiner);
    if request.eta.is_some() && spec.scheduler.eta.is_none() {
        let readers = SCHEDULERS.iter().filter(|entry| entry.eta.is_some()).map(|entry| entry.label);
        let readers = readers.collect::<Vec<_>>().join(" and ");
        idle.add(&["eta"], format!("{readers} read it, {} does not", spec.scheduler.label));
    }
    if let Some(picture) = picture {
        idle.picture(request, picture);
    }
    for lora in spec.loras.iter().filter(|lora| lora.weight == 0.0) {
        idle.warnings
            .push(format!("The LoRA “{}” has the weight 0, which leaves the networks as they are.", lora.name));
    }
    idle.warnings
}

struct Idle {
    warnings: Vec<String>,
}

impl Idle {
    /// One sentence for `fields` that have no effect for one reason.
    fn add(&mut self, fields: &[&str], because: String) {
        let quoted: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let (verb, named) = match quoted.as_slice() {
            [] => return,
            [one] => ("has", one.clone()),
            [first @ .., last] => ("have", format!("{} and {last}", first.join(", "))),
        };
        self.warnings.push(format!("{named} {verb} no effect: {because}."));
    }

    /// What models are told about the picture's origin.
    fn micro(&mut self, request: &JobRequest, model: &CatalogueModel, refiner: Option<&CatalogueModel>) {
        let reads = |kinds: &[MicroKind]| {
            [Some(model), refiner].into_iter().flatten().any(|model| kinds.contains(&model.info.micro))
        };
        let any = reads(&[MicroKind::Sizes, MicroKind::Aesthetic]);
        let (sizes, aesthetic) = (reads(&[MicroKind::Sizes]), reads(&[MicroKind::Aesthetic]));
        let given = [
            ("original_size", request.original_size.is_some() && !any),
            ("crops_coords_top_left", request.crops_coords_top_left.is_some() && !any),
            ("target_size", request.target_size.is_some() && !sizes),
            ("aesthetic_score", request.aesthetic_score.is_some() && !aesthetic),
            ("negative_aesthetic_score", request.negative_aesthetic_score.is_some() && !aesthetic),
        ];
        let models = match refiner {
            Some(refiner) => format!("neither {} nor {} reads such a thing", model.name, refiner.name),
            None => format!("the model {} reads no such thing", model.name),
        };
        self.add(&idle(&given), models);
    }

    /// What steers towards one prompt and away from the other.
    fn guidance(
        &mut self,
        request: &JobRequest,
        spec: &GenerationSpec,
        model: &CatalogueModel,
        refiner: Option<&CatalogueModel>,
    ) {
        let is_guided = |info: &ModelInfo| !info.has_guidance_inside && Guidance::is_on(spec.guidance.scale);
        if [Some(model), refiner].into_iter().flatten().any(|model| is_guided(&model.info)) {
            return;
        }
        let negative = request.negative_prompt.as_deref().is_some_and(|negative| !negative.is_empty());
        let given = [
            ("negative_prompt", negative),
            ("guidance_rescale", request.guidance_rescale.is_some_and(|rescale| rescale > 0.0)),
            ("guidance_interval", request.guidance_interval.is_some_and(|interval| interval != [0.0, 1.0])),
            ("negative_aesthetic_score", request.negative_aesthetic_score.is_some() && reads_scores(model, refiner)),
        ];
        let because = if model.info.has_guidance_inside {
            format!("the model {} has guidance built in and reads its scale alone", model.name)
        } else {
            format!("a `guidance_scale` of {} turns guidance off", spec.guidance.scale)
        };
        self.add(&idle(&given), because);
    }

    /// What goes with an input picture.
    fn picture(&mut self, request: &JobRequest, picture: &PictureRequest) {
        let inpaint = request.inpaint.unwrap_or_default();
        if request.resize.is_some() && picture.settings.is_masked && inpaint.area == InpaintArea::Masked {
            self.add(&["resize"], "with the `area` masked the part around the mask is fitted as a whole".into());
        }
        if inpaint.fill != InpaintFill::Original && picture.settings.strength >= 1.0 {
            self.add(&["inpaint.fill"], "with a `strength` of 1 the walk starts from noise alone".into());
        }
    }
}

fn reads_scores(model: &CatalogueModel, refiner: Option<&CatalogueModel>) -> bool {
    [Some(model), refiner].into_iter().flatten().any(|model| model.info.micro == MicroKind::Aesthetic)
}

fn idle<'a>(given: &[(&'a str, bool)]) -> Vec<&'a str> {
    given.iter().filter(|(_, is_idle)| *is_idle).map(|(field, _)| *field).collect()
}
