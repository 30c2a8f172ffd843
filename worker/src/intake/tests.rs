use sd_protocol::{ErrorCode, JobRequest, Limits};
use serde_json::{Value, json};

use super::{Offer, validate};
use crate::diffusion::ModelInfo;
use crate::diffusion::schedulers::{self, SigmaSpacing};
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
        latent_channels: 4,
        latent_scale: 8,
        scaling_factor: 0.18215,
        clip_skip_max: 10,
        preview_rows: vec![[0.0; 3]; 4],
        preview_bias: [0.0; 3],
        examples: Vec::new(),
    };
    CatalogueModel { name: "known".into(), info }
}

fn check(job: Value) -> Result<JobRequest, Vec<String>> {
    let offer = Offer { models: vec![model()], adapters: AdapterSet::default(), limits: Limits::default() };
    match validate(job, &offer) {
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
    assert_eq!((eta_of("ddim"), eta_of("tcd")), (Some(0.0), Some(0.3)));
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
    let understood = check(json!({"prompt": "a", "image": "x"})).unwrap();
    assert_eq!((understood.strength, understood.inpaint), (Some(0.8), None));
    let understood = check(json!({"prompt": "a", "image": "x", "mask": "y"})).unwrap();
    assert_eq!((understood.strength, understood.mask_blur), (Some(1.0), Some(0)));
}

#[test]
fn names_and_fractions_are_checked() {
    let faults = |job| check(job).unwrap_err();
    assert_eq!(faults(json!({"prompt": "a", "loras": [{"name": "ink"}]})), ["loras.name"]);
    assert_eq!(faults(json!({"prompt": "a", "guidance_interval": [0.8, 0.2]})), ["guidance_interval"]);
    assert_eq!(faults(json!({"prompt": "a", "clip_skip": 12})), ["clip_skip"]);
    assert_eq!(
        faults(json!({"prompt": "a", "refiner": {"model": "none", "switch_at": 1.0}})),
        ["refiner.switch_at", "refiner.model"]
    );
}
