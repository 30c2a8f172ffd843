use sd_worker::diffusion::weights::ModelFiles;
use sd_worker::diffusion::{
    CancelToken, GenerationSpec, GuidanceSpec, ModelInfo, Observer, Outcome, Pipeline, Placement, StepView, families,
    schedulers,
};
use serde::Deserialize;

use super::{golden, golden_json, tiny_model};

/// Largest difference of a byte from diffusers' picture.
const BYTE_DIFFERENCE_MAX: u8 = 2;

/// A picture that diffusers drew.
#[derive(Clone, Deserialize)]
pub(super) struct Case {
    pub(super) file: String,
    pub(super) model: String,
    prompt: String,
    negative_prompt: String,
    scheduler: String,
    sigmas: String,
    steps: u32,
    guidance_scale: f64,
    seed: u64,
    width: u32,
    height: u32,
    batch_size: u32,
}

impl Case {
    /// Every picture in `pictures/`.
    pub(super) fn all() -> Vec<Self> {
        golden_json("pictures.json")
    }

    /// What was asked for.
    pub(super) fn spec(&self, info: &ModelInfo) -> GenerationSpec {
        GenerationSpec {
            negative_prompt: Some(self.negative_prompt.clone()),
            width: self.width,
            height: self.height,
            steps: self.steps,
            guidance: GuidanceSpec::of(self.guidance_scale),
            seed: self.seed,
            batch_size: self.batch_size,
            scheduler: schedulers::find(&self.scheduler).unwrap(),
            sigmas: schedulers::SigmaSpacing::find(&self.sigmas).unwrap(),
            ..GenerationSpec::new(self.prompt.clone(), info)
        }
    }

    /// The bytes of its pictures, one below the other.
    pub(super) fn expected(&self) -> Vec<u8> {
        let picture = image::open(golden("pictures").join(&self.file)).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (self.width, self.height * self.batch_size));
        picture.into_raw()
    }
}

/// Counts what it is told.
#[derive(Default)]
struct Counter {
    announced: u32,
    told: Vec<u32>,
}

impl Observer for Counter {
    fn started(&mut self, steps: u32) {
        self.announced = steps;
    }

    fn stepped(&mut self, view: &StepView<'_>) {
        self.told.push(view.step);
        assert_eq!(view.steps, self.announced);
        assert!((view.denoised)().unwrap().iter().all(|value| value.is_finite()));
    }
}

pub(super) fn files(model: &str) -> ModelFiles {
    if model == "builtin" { sd_worker::builtin::files() } else { tiny_model(model) }
}

fn check(model: &str) {
    let files = files(model);
    let info = families::inspect(&files).unwrap();
    let mut pipeline: Box<dyn Pipeline> = families::load(&files, &[], &Placement::cpu()).unwrap();
    let cases: Vec<_> = Case::all().into_iter().filter(|case| case.model == model).collect();
    assert!(!cases.is_empty());
    for case in cases {
        let mut counter = Counter::default();
        let outcome = pipeline.generate(&case.spec(&info), &CancelToken::default(), &mut counter).unwrap();
        let Outcome::Finished(finished) = outcome else { panic!("nobody canceled") };
        assert_eq!(counter.told, (1..=case.steps).collect::<Vec<_>>());
        assert_eq!(finished.pictures.len(), case.batch_size as usize);

        let expected = case.expected();
        let found: Vec<u8> = finished.pictures.iter().flat_map(|picture| picture.rgb.iter().copied()).collect();
        let differences: Vec<u8> = found.iter().zip(&expected).map(|(f, e)| f.abs_diff(*e)).collect();
        let worst = differences.iter().max().unwrap();
        let differing = differences.iter().filter(|difference| **difference > 0).count();
        println!("{}: at most {worst}/255, {differing} of {} bytes differ", case.file, found.len());
        assert!(*worst <= BYTE_DIFFERENCE_MAX, "{}: {worst}", case.file);
        assert_eq!(info.latent_scale, 8);
    }
}

#[test]
fn of_a_tiny_sd1_are_diffusers() {
    check("sd1");
}

#[test]
fn of_a_tiny_sd2_are_diffusers() {
    check("sd2");
}

#[test]
fn of_the_built_in_model_are_diffusers() {
    check("builtin");
}
