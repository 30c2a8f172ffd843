//! Whole pictures of every family and way to draw.

use std::collections::HashSet;

use sd_worker::diffusion::inpaint::InpaintFill;
use sd_worker::diffusion::pixels::{Mask, Raster, Rgb};
use sd_worker::diffusion::weights::ModelFiles;
use sd_worker::diffusion::{
    CancelToken, GenerationSpec, GuidanceSpec, ImageStart, MaskSpec, MicroConditioning, Outcome, Pipeline, Placement,
    Start, families, schedulers,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::{Nobody, golden, golden_json, tiny_model};

/// Largest difference of a byte from diffusers' picture.
const BYTE_DIFFERENCE_MAX: u8 = 2;

#[derive(Deserialize)]
struct Case {
    file: String,
    pipeline: String,
    model: String,
    scheduler: String,
    /// What the model's own configuration of its scheduler says otherwise.
    scheduler_config: Option<Map<String, Value>>,
    seeds: Vec<u64>,
    image: Option<String>,
    mask: Option<String>,
    refiner: Option<String>,
    arguments: Arguments,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    prompt: String,
    negative_prompt: Option<String>,
    num_inference_steps: u32,
    guidance_scale: f64,
    width: Option<u32>,
    height: Option<u32>,
    clip_skip: Option<usize>,
    guidance_rescale: Option<f64>,
    original_size: Option<(u32, u32)>,
    crops_coords_top_left: Option<(u32, u32)>,
    target_size: Option<(u32, u32)>,
    aesthetic_score: Option<f64>,
    strength: Option<f64>,
    denoising_end: Option<f64>,
}

/// The files of a case's model; where it has another configuration of the scheduler, a folder that lasts as long as the
/// second value.
fn files(case: &Case) -> (ModelFiles, Option<TempDir>) {
    const SCHEDULER: &str = "scheduler/scheduler_config.json";
    let Some(changes) = &case.scheduler_config else { return (tiny_model(&case.model), None) };
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(&case.model)).unwrap().map(Result::unwrap) {
        if entry.file_name() != "scheduler" {
            std::os::unix::fs::symlink(entry.path().canonicalize().unwrap(), folder.path().join(entry.file_name()))
                .unwrap();
        }
    }
    let written = std::fs::read_to_string(golden(&case.model).join(SCHEDULER)).unwrap();
    // Python's way to write that there is no bound.
    let mut config: Map<String, Value> = serde_json::from_str(&written.replace("-Infinity", "null")).unwrap();
    config.extend(changes.clone());
    std::fs::create_dir(folder.path().join("scheduler")).unwrap();
    std::fs::write(folder.path().join(SCHEDULER), Value::Object(config).to_string()).unwrap();
    (ModelFiles::folder(folder.path()), Some(folder))
}

fn input(file: &str) -> image::DynamicImage {
    image::open(golden("families").join(file)).unwrap()
}

fn rgb(file: &str) -> Rgb {
    let picture = input(file).to_rgb8();
    Raster::new(picture.width(), picture.height(), picture.into_raw()).unwrap()
}

fn mask(file: &str) -> Mask {
    let picture = input(file).to_luma8();
    Raster::new(picture.width(), picture.height(), picture.into_raw()).unwrap()
}

fn start(case: &Case) -> Start {
    let Some(image) = &case.image else { return Start::Noise };
    let (picture, strength) = (rgb(image), case.arguments.strength.unwrap());
    let mask = case.mask.as_ref().map(|file| MaskSpec { mask: mask(file), fill: InpaintFill::Original });
    Start::Image(ImageStart { picture, strength, mask })
}

fn load(files: &ModelFiles) -> Box<dyn Pipeline> {
    families::load(files, &[], &Placement::cpu()).unwrap()
}

/// The picture of one seed alone, which is what it is in a batch.
fn draw(case: &Case, seed: u64) -> Vec<u8> {
    let arguments = &case.arguments;
    let (files, _folder) = files(case);
    let info = families::inspect(&files).unwrap();
    let start = start(case);
    let (width, height) = match &start {
        Start::Image(image) => image.picture.size(),
        _ => (arguments.width.unwrap(), arguments.height.unwrap()),
    };
    let micro = MicroConditioning::of(height, width);
    let spec = GenerationSpec {
        negative_prompt: arguments.negative_prompt.clone(),
        clip_skip: arguments.clip_skip.unwrap_or(0),
        width,
        height,
        steps: arguments.num_inference_steps,
        guidance: GuidanceSpec {
            rescale: arguments.guidance_rescale.unwrap_or(0.0),
            ..GuidanceSpec::of(arguments.guidance_scale)
        },
        seed,
        scheduler: schedulers::find(&case.scheduler).unwrap(),
        micro: MicroConditioning {
            original_size: arguments.original_size.unwrap_or(micro.original_size),
            crops_coords_top_left: arguments.crops_coords_top_left.unwrap_or(micro.crops_coords_top_left),
            target_size: arguments.target_size.unwrap_or(micro.target_size),
            aesthetic_score: arguments.aesthetic_score.unwrap_or(micro.aesthetic_score),
            ..micro
        },
        start,
        denoising_end: arguments.denoising_end.unwrap_or(1.0),
        ..GenerationSpec::new(arguments.prompt.clone(), &info)
    };
    let cancel = CancelToken::default();
    let mut outcome = load(&files).generate(&spec, &cancel, &mut Nobody).unwrap();
    if let Outcome::HandedOver(over) = outcome {
        let start = Start::Latents { latents: over.latents, denoising_start: spec.denoising_end };
        let spec = GenerationSpec { start, denoising_end: 1.0, ..spec };
        outcome = load(&tiny_model(case.refiner.as_ref().unwrap())).generate(&spec, &cancel, &mut Nobody).unwrap();
    }
    let Outcome::Finished(mut finished) = outcome else { panic!("not finished: {outcome:?}") };
    finished.pictures.remove(0).rgb
}

#[test]
fn every_way_to_draw_is_diffusers() {
    let cases: Vec<Case> = golden_json("families.json");
    let mut failures = Vec::new();
    for case in &cases {
        // Inpainting a batch, diffusers draws the sample of the picture from the first generator only, so that the
        // others are not what their seeds draw alone.
        let seeds = if case.mask.is_some() { &case.seeds[..1] } else { &case.seeds[..] };
        let found: Vec<u8> = seeds.iter().flat_map(|&seed| draw(case, seed)).collect();
        let expected = input(&case.file).to_rgb8().into_raw();
        assert_eq!(found.len() * case.seeds.len(), expected.len() * seeds.len(), "{}", case.file);
        let worst = found.iter().zip(&expected).map(|(f, e)| f.abs_diff(*e)).max().unwrap();
        println!("{} {} {}: at most {worst}/255", case.file, case.pipeline, case.scheduler);
        if worst > BYTE_DIFFERENCE_MAX {
            failures.push(format!("{} {} {}: {worst}", case.file, case.pipeline, case.scheduler));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_turbo_configuration_brings_few_steps_without_guidance() {
    let cases: Vec<Case> = golden_json("families.json");
    let is_turbo = |case: &&Case| {
        let said = |key: &str| case.scheduler_config.as_ref().and_then(|config| config.get(key));
        let is = |key, value: Value| said(key) == Some(&value);
        is("timestep_spacing", "trailing".into()) && !is("rescale_betas_zero_snr", true.into())
    };
    let turbo: Vec<&Case> = cases.iter().filter(is_turbo).collect();
    assert!(turbo.len() >= 2);
    for case in turbo {
        let (files, _folder) = files(case);
        let info = families::inspect(&files).unwrap();
        assert_eq!((info.steps, info.guidance_scale, info.scheduler.name), (4, 1.0, case.scheduler.as_str()));
    }
}

#[test]
fn every_family_has_a_golden() {
    let cases: Vec<Case> = golden_json("families.json");
    let drawn: HashSet<&str> = cases
        .iter()
        .flat_map(|case| [Some(&case.model), case.refiner.as_ref()])
        .flatten()
        .map(|model| families::inspect(&tiny_model(model)).unwrap().family)
        .collect();
    for family in families::FAMILIES {
        assert!(drawn.contains(family.name), "{}", family.name);
        for class in family.diffusers_classes {
            assert!(cases.iter().any(|case| case.pipeline == *class), "{class}");
        }
    }
}
