use sd_protocol::{ErrorCode, JobRequest, Limits};
use serde_json::{Value, json};

use super::validate;
use crate::diffusion::ModelInfo;
use crate::diffusion::schedulers::{self, SigmaSpacing};
use crate::models::CatalogueModel;

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
        preview_rows: vec![[0.0; 3]; 4],
        preview_bias: [0.0; 3],
        examples: Vec::new(),
    };
    CatalogueModel { name: "known".into(), info }
}

fn check(job: Value) -> Result<JobRequest, Vec<String>> {
    match validate(job, &[model()], &Limits::default()) {
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
        "steps",
        "guidance_scale",
        "batch_size",
        "eta",
        "seed",
        "scheduler",
        "sigmas",
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
