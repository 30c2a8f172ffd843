//! What the built-in model draws means what the prompt says.

use std::cell::Cell;

use sd_worker::diffusion::{
    CancelToken, GenerationSpec, GuidanceSpec, Observer, Outcome, Picture, Pipeline, Placement, StepView, families,
    schedulers,
};

/// Cancels after some steps, where it is asked to.
#[derive(Default)]
struct Watcher {
    cancel_after: Option<(u32, CancelToken)>,
    steps: Cell<u32>,
}

impl Observer for Watcher {
    fn started(&mut self, _steps: u32) {}

    fn stepped(&mut self, view: &StepView<'_>) {
        self.steps.set(view.step);
        if let Some((step, token)) = &self.cancel_after
            && *step == view.step
        {
            token.cancel();
        }
    }
}

fn builtin() -> Box<dyn Pipeline> {
    families::load(&sd_worker::builtin::files(), &[], &Placement::cpu()).unwrap()
}

fn spec(prompt: &str, seed: u64) -> GenerationSpec {
    let info = families::inspect(&sd_worker::builtin::files()).unwrap();
    let scheduler = schedulers::find("dpmpp_2m").unwrap();
    GenerationSpec { steps: 8, seed, scheduler, ..GenerationSpec::new(prompt, &info) }
}

fn draw(pipeline: &mut dyn Pipeline, spec: &GenerationSpec) -> Picture {
    match pipeline.generate(spec, &CancelToken::default(), &mut Watcher::default()).unwrap() {
        Outcome::Finished(mut finished) => finished.pictures.remove(0),
        other => panic!("not finished: {other:?}"),
    }
}

/// Mean RGB of the upper half, where the sky and the balloon are.
fn sky(picture: &Picture) -> [f64; 3] {
    let half = &picture.rgb[..picture.rgb.len() / 2];
    std::array::from_fn(|channel| {
        let values = half.iter().skip(channel).step_by(3);
        values.map(|&value| f64::from(value)).sum::<f64>() / (half.len() / 3) as f64
    })
}

#[test]
fn a_red_balloon_is_redder_than_a_blue_one() {
    let mut pipeline = builtin();
    for seed in [0, 1] {
        let redness = |pipeline: &mut dyn Pipeline, color: &str| {
            let prompt = format!("a {color} hot air balloon over mountains at sunset");
            let [red, _, blue] = sky(&draw(pipeline, &spec(&prompt, seed)));
            red - blue
        };
        let (red, blue) = (redness(pipeline.as_mut(), "red"), redness(pipeline.as_mut(), "blue"));
        println!("seed {seed}: red − blue in the sky is {red:.1} with a red balloon, {blue:.1} with a blue one");
        assert!(red > blue + 5.0, "seed {seed}: {red} against {blue}");
    }
}

#[test]
fn night_is_darker_than_noon() {
    let mut pipeline = builtin();
    let brightness = |pipeline: &mut dyn Pipeline, time: &str| {
        let picture = draw(pipeline, &spec(&format!("green hills {time}"), 1));
        sky(&picture).iter().sum::<f64>() / 3.0
    };
    let (night, noon) = (brightness(pipeline.as_mut(), "at night"), brightness(pipeline.as_mut(), "at noon"));
    println!("brightness of the sky: night {night:.1}, noon {noon:.1}");
    assert!(night + 40.0 < noon, "{night} against {noon}");
}

#[test]
fn a_seed_draws_the_same_bytes_twice() {
    let mut pipeline = builtin();
    let spec = GenerationSpec { steps: 3, width: 64, height: 96, ..spec("the sea at dawn", 9) };
    let first = draw(pipeline.as_mut(), &spec);
    assert_eq!((first.width, first.height), (64, 96));
    assert_eq!(first, draw(pipeline.as_mut(), &spec));
    assert_eq!(first, draw(builtin().as_mut(), &spec));
    assert_ne!(first, draw(pipeline.as_mut(), &GenerationSpec { seed: 10, ..spec }));
}

/// Keeps the clean latents of glimpses, and of the first step.
#[derive(Default)]
struct Glimpser {
    glimpses: Vec<Vec<f32>>,
    first: Option<Vec<f32>>,
}

impl Observer for Glimpser {
    fn started(&mut self, _steps: u32) {}

    fn stepped(&mut self, view: &StepView<'_>) {
        if view.step == 1 {
            self.first = Some((view.denoised)().unwrap());
        }
    }

    fn wants_glimpse(&self) -> bool {
        true
    }

    fn glimpsed(&mut self, view: &StepView<'_>) {
        assert_eq!((view.step, self.first.is_none()), (0, true));
        self.glimpses.push((view.denoised)().unwrap());
    }
}

#[test]
fn a_glimpse_is_what_a_step_without_guidance_shows() {
    let mut pipeline = builtin();
    let mut look = |spec: &GenerationSpec| {
        let mut glimpser = Glimpser::default();
        pipeline.generate(spec, &CancelToken::default(), &mut glimpser).unwrap();
        glimpser
    };
    let guided = GenerationSpec { steps: 2, width: 64, height: 96, batch_size: 2, ..spec("the sea at dawn", 9) };
    let unguided = GenerationSpec { guidance: GuidanceSpec::of(1.0), ..guided.clone() };
    let (seen, expected) = (look(&guided), look(&unguided));
    assert_eq!(expected.glimpses.len(), 0);
    assert_eq!(seen.glimpses, [expected.first.unwrap()]);
    assert_ne!(seen.first.unwrap(), seen.glimpses[0]);
}

#[test]
fn a_canceled_generation_is_an_outcome_and_leaves_the_pipeline_usable() {
    let mut pipeline = builtin();
    let spec = GenerationSpec { width: 64, height: 64, ..spec("the sea at dawn", 9) };
    let token = CancelToken::default();
    let mut watcher = Watcher { cancel_after: Some((2, token.clone())), ..Watcher::default() };
    let outcome = pipeline.generate(&spec, &token, &mut watcher).unwrap();
    assert!(matches!(outcome, Outcome::Canceled));
    assert_eq!(watcher.steps.get(), 2);
    draw(pipeline.as_mut(), &spec);
}

#[test]
fn a_generation_is_canceled_from_another_thread() {
    let mut pipeline = builtin();
    let steps = 50;
    let spec = GenerationSpec { width: 512, height: 512, steps, ..spec("the sea at dawn", 9) };
    let token = CancelToken::default();
    let mut observer = CancelOnStart { token: token.clone(), thread: None, steps: 0 };
    let outcome = pipeline.generate(&spec, &token, &mut observer).unwrap();
    observer.thread.unwrap().join().unwrap();
    println!("canceled from outside after {} finished steps of {steps}", observer.steps);
    assert!(matches!(outcome, Outcome::Canceled));
}

/// Has the token set by another thread while the first step runs.
struct CancelOnStart {
    token: CancelToken,
    thread: Option<std::thread::JoinHandle<()>>,
    steps: u32,
}

impl Observer for CancelOnStart {
    fn started(&mut self, _steps: u32) {
        let token = self.token.clone();
        let canceler = std::thread::Builder::new().name("canceler".into()).spawn(move || token.cancel());
        self.thread = Some(canceler.unwrap());
    }

    fn stepped(&mut self, view: &StepView<'_>) {
        self.steps = view.step;
    }
}
