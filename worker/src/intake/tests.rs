use sd_protocol::{ErrorCode, JobRequest, Limits};
use serde_json::{Value, json};

use super::{Offer, validate};
use crate::diffusion::pipeline::ModelSchedule;
use crate::diffusion::schedulers::{self, AlignedModel, SchedulerConfig, SigmaSpacing};
use crate::diffusion::{MicroKind, ModelInfo};
use crate::models::{AdapterSet, CatalogueModel};

fn model() -> CatalogueModel {
    let info = ModelInfo {
        family: "sd",
        width: 256,
        height: 192,
        steps: 20,
        guidance_scale: 4.0,
        scheduler: schedulers::find("euler").unwrap(),
        sigmas: SigmaSpacing::Karras,
        schedule: ModelSchedule { config: SchedulerConfig::default(), aligned: AlignedModel::Sd15 },
        micro: MicroKind::None,
        has_guidance_inside: false,
        latent_channels: 4,
        latent_scale: 8,
        scaling_factor: 0.18215,
        clip_skip_max: 10,
        preview_rows: vec![[0.0; 3]; 4],
        preview_bias: [0.0; 3],
        examples: Vec::new(),
    };
    CatalogueModel { name: "known".into(), info, preview_decoder: None }
}

/// A model called `name`, of Stable Diffusion but for `change`.
fn other(name: &str, change: fn(&mut ModelInfo)) -> CatalogueModel {
    let mut model = CatalogueModel { name: name.into(), ..model() };
    change(&mut model.info);
    model
}

/// What may be asked for: the default model, SDXL with its refiner, one with guidance inside, and one trained for few
/// steps.
fn offer() -> Offer {
    let models = vec![
        model(),
        other("xl", |info| info.micro = MicroKind::Sizes),
        other("xl_refiner", |info| info.micro = MicroKind::Aesthetic),
        other("guided", |info| info.has_guidance_inside = true),
        other("short", |info| {
            info.schedule.config = serde_json::from_value(json!({"num_train_timesteps": 21})).unwrap();
        }),
        other("clean", |info| {
            info.schedule.config = serde_json::from_value(json!({"prediction_type": "sample"})).unwrap();
        }),
    ];
    Offer { devices: Vec::new(), models, adapters: AdapterSet::default(), limits: Limits::default() }
}

fn check(job: Value) -> Result<JobRequest, Vec<String>> {
    match validate(job, &offer()) {
        Ok(valid) => Ok(valid.job.understood),
        Err(error) => {
            assert_eq!(error.code, ErrorCode::InvalidRequest);
            Err(error.details.into_iter().map(|detail| detail.field).collect())
        }
    }
}

#[test]
fn what_is_left_out_is_filled_in() {
    let understood = check(json!({"prompt": "a"})).unwrap();
    assert_eq!((understood.width, understood.height), (Some(256), Some(192)));
    assert_eq!(understood.steps, Some(20));
    assert_eq!(understood.sigmas.as_deref(), Some("karras"));
    assert_eq!(understood.scheduler.as_deref(), Some("euler"));
    let other = check(json!({"prompt": "a"})).unwrap();
    assert_ne!(understood.seed, other.seed, "an absent seed is drawn");
}

#[test]
fn the_models_spacing_gives_way_to_the_scheduler_asked_for() {
    let understood = check(json!({"prompt": "a", "scheduler": "ddim"})).unwrap();
    assert_eq!(understood.sigmas.as_deref(), Some("default"));
    assert_eq!(check(json!({"prompt": "a", "scheduler": "ddim", "sigmas": "karras"})), Err(vec!["sigmas".into()]));
}

#[test]
fn eta_is_that_of_the_scheduler() {
    let eta_of = |scheduler: &str| check(json!({"prompt": "a", "scheduler": scheduler})).unwrap().eta;
    assert_eq!((eta_of("ddim"), eta_of("tcd"), eta_of("euler")), (Some(0.0), Some(0.3), None));
}

#[test]
fn a_walk_that_there_is_not_is_a_fault_among_the_others() {
    let faults = |fields: Value| {
        let mut job = json!({"prompt": "a", "width": 65});
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let details = validate(job, &offer()).unwrap_err().details;
        let said: Vec<_> = details.into_iter().map(|detail| format!("{}: {}", detail.field, detail.message)).collect();
        assert!(said[0].starts_with("width: "), "{said:?}");
        said[1..].to_vec()
    };
    let steps = |steps_min, steps_max, steps| {
        format!("steps: this model can be walked in {steps_min} to {steps_max} steps, not in {steps}")
    };
    assert_eq!(faults(json!({"scheduler": "lcm", "steps": 60})), [steps(1, 50, 60)]);
    assert_eq!(faults(json!({"scheduler": "pndm", "steps": 3})), [steps(4, 999, 3)]);
    assert_eq!(faults(json!({"model": "short", "steps": 21})), [steps(1, 20, 21)]);
    let predicts = "scheduler: DPM2 cannot walk a model that predicts the clean latent; choose another scheduler";
    assert_eq!(faults(json!({"model": "clean", "scheduler": "dpm2"})), [predicts]);
    let refiner = "refiner.model: short cannot go on: this model can be walked in 1 to 20 steps, not in 25";
    assert_eq!(faults(json!({"refiner": {"model": "short"}, "steps": 25})), [refiner]);
    // The one fault makes no other one.
    let one_fault = faults(json!({"scheduler": "lcm", "sigmas": "karras", "steps": 60}));
    assert!(one_fault.len() == 1 && one_fault[0].starts_with("sigmas: "), "{one_fault:?}");
}

#[test]
fn what_has_no_effect_is_told() {
    let check = |fields: Value, says: &[&str]| {
        let mut job = json!({"prompt": "a"});
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(validate(job.clone(), &offer()).unwrap().job.warnings, says, "{job}");
    };
    check(json!({"negative_prompt": "b", "guidance_rescale": 0.5, "scheduler": "ddim", "eta": 0.5}), &[]);
    let sizes = json!({"original_size": [64, 64], "target_size": [64, 64]});
    let known = "`original_size` and `target_size` have no effect: the model known reads no such thing.";
    check(sizes.clone(), &[known]);
    let of = |model: &str, fields: &Value| {
        let mut job = json!({"model": model});
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        job
    };
    check(of("xl", &sizes), &[]);
    let refiner = "`target_size` has no effect: the model xl_refiner reads no such thing.";
    check(of("xl_refiner", &sizes), &[refiner]);
    let scores = json!({"aesthetic_score": 7.0, "negative_aesthetic_score": 2.0});
    let both = "`aesthetic_score` and `negative_aesthetic_score` have no effect: the model xl reads no such thing.";
    check(of("xl", &scores), &[both]);
    check(json!({"model": "xl", "refiner": {"model": "xl_refiner"}, "aesthetic_score": 7.0}), &[]);
    check(json!({"eta": 0.0}), &["`eta` has no effect: DDIM and TCD read it, Euler does not."]);
    let off = "`negative_prompt` and `guidance_rescale` have no effect: a `guidance_scale` of 1 turns guidance off.";
    check(json!({"guidance_scale": 1.0, "negative_prompt": "b", "guidance_rescale": 0.5}), &[off]);
    let inside = "`negative_prompt` has no effect: the model guided has guidance built in and reads its scale alone.";
    check(json!({"model": "guided", "negative_prompt": "b"}), &[inside]);
    check(json!({"model": "guided", "negative_prompt": "", "guidance_interval": [0.0, 1.0]}), &[]);
    let masked = json!({"image": "x", "mask": "y", "resize": "fit", "inpaint": {"area": "masked", "fill": "noise"}});
    let fitted = "`resize` has no effect: with the `area` masked the part around the mask is fitted as a whole.";
    let filled = "`inpaint.fill` has no effect: with a `strength` of 1 the walk starts from noise alone.";
    check(masked, &[fitted, filled]);
}

#[test]
fn every_fault_is_named_at_once() {
    let faults = check(json!({
        "model": "unknown", "width": 513, "height": 32, "steps": 0, "guidance_scale": -1.0, "batch_size": 99,
        "seed": 1_u64 << 60, "lorem": 1, "negative_prompt": false, "scheduler": "magic", "sigmas": "odd", "eta": 2.0, "preview": {"every": 0},
    }))
    .unwrap_err();
    let expected = [
        "lorem",
        "negative_prompt",
        "model",
        "prompt",
        "width",
        "height",
        "batch_size",
        "scheduler",
        "sigmas",
        "steps",
        "guidance_scale",
        "seed",
        "eta",
        "preview.every",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn bounds_are_inclusive() {
    check(json!({"prompt": "", "width": 64, "height": 2048, "steps": 150, "guidance_scale": 50.0})).unwrap();
    assert_eq!(
        check(json!({"prompt": "a", "width": 2048, "height": 2048, "batch_size": 3})),
        Err(vec!["width".into()])
    );
    assert_eq!(check(json!({"prompt": "a".repeat(20_000)})), Err(vec!["prompt".into()]));
    let last = (1_u64 << 53) - 1;
    assert_eq!(check(json!({"prompt": "a", "seed": last})).unwrap().seed, Some(last));
    assert_eq!(check(json!({"prompt": "a", "seed": last, "batch_size": 2})), Err(vec!["seed".into()]));
}

#[test]
fn fields_of_a_picture_go_with_a_picture() {
    let faults = |job| check(job).unwrap_err();
    assert_eq!(faults(json!({"prompt": "a", "mask": "x", "strength": 0.5})), ["mask", "strength"]);
    assert_eq!(faults(json!({"prompt": "a", "image": "x", "mask_blur": 4})), ["mask_blur"]);
    assert_eq!(faults(json!({"prompt": "a", "image": "x", "strength": 0.01})), ["strength"]);
    assert_eq!(faults(json!({"prompt": "a", "image": "x", "strength": 1.5})), ["strength"]);
    assert_eq!(faults(json!({"prompt": "a", "image": "x", "outpaint": {"left": 9000}})), ["outpaint.left"]);
    let refined =
        |strength: f64| check(json!({"prompt": "a", "image": "x", "strength": strength, "refiner": {"model": "xl"}}));
    assert_eq!(refined(0.2).unwrap_err(), ["refiner.switch_at"], "which is 0.8");
    refined(0.3).unwrap();
    let understood = check(json!({"prompt": "a", "image": "x"})).unwrap();
    assert_eq!((understood.strength, understood.inpaint), (Some(0.8), None));
    let understood = check(json!({"prompt": "a", "image": "x", "mask": "y"})).unwrap();
    assert_eq!((understood.strength, understood.mask_blur), (Some(1.0), Some(0)));
}

#[test]
fn names_and_fractions_are_checked() {
    let faults = |job| check(job).unwrap_err();
    let loras = json!([{"name": "ink"}, {"name": "oil", "weight": 11.0}]);
    assert_eq!(faults(json!({"prompt": "a", "loras": loras})), ["loras[0].name", "loras[1].weight", "loras[1].name"]);
    assert_eq!(faults(json!({"prompt": "a", "guidance_interval": [0.8, 0.2]})), ["guidance_interval"]);
    assert_eq!(faults(json!({"prompt": "a", "clip_skip": 12})), ["clip_skip"]);
    assert_eq!(
        faults(json!({"prompt": "a", "refiner": {"model": "none", "switch_at": 1.0}})),
        ["refiner.switch_at", "refiner.model"]
    );
}
