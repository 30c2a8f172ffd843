use std::collections::{HashMap, HashSet};

use candle_core::{Device, Tensor};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::nn::unet::{Unet, UnetInput};
use sd_worker::diffusion::noise::{LatentNoise, Rng};
use sd_worker::diffusion::schedulers::brownian::BrownianPath;
use sd_worker::diffusion::schedulers::{
    self, AlignedModel, Prediction, SCHEDULERS, ScheduleSpec, Scheduler, SchedulerConfig, SchedulerEntry, SigmaSpacing,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{RELATIVE_L2_MAX, golden_json, golden_tensors, networks, relative_l2, said};

#[derive(Deserialize)]
struct Goldens {
    trained: Map<String, Value>,
    walks: Vec<Walk>,
    parts: Vec<Part>,
    paths: Vec<Path>,
}

/// What a request and a model's configuration say.
#[derive(Deserialize)]
struct Walk {
    scheduler: String,
    sigmas: String,
    steps: usize,
    /// Over what all the models have.
    settings: Map<String, Value>,
    eta: Option<f64>,
    seed: u64,
    /// The walk begins in the middle, on a clean latent with noise.
    strength: Option<f64>,
    /// The part of their training steps that LCM and TCD spread theirs over.
    reach: Option<f64>,
    aligned: Option<String>,
    /// First timestep that is walked.
    start: usize,
}

/// Where parts of a walk begin and end.
#[derive(Deserialize)]
struct Part {
    scheduler: String,
    sigmas: String,
    steps: usize,
    settings: Map<String, Value>,
    strength: f64,
    strength_start: usize,
    fraction: f64,
    fraction_start: usize,
    fraction_end: usize,
}

/// A part of a Brownian path.
#[derive(Deserialize)]
struct Path {
    seed: u64,
    start: f64,
    end: f64,
    from: f64,
    to: f64,
}

impl Goldens {
    fn config(&self, settings: &Map<String, Value>) -> SchedulerConfig {
        let mut config = self.trained.clone();
        config.extend(settings.clone());
        serde_json::from_value(Value::Object(config)).unwrap()
    }
}

impl Walk {
    fn entry(&self) -> &'static SchedulerEntry {
        schedulers::find(&self.scheduler).unwrap()
    }

    fn spec(&self) -> ScheduleSpec {
        ScheduleSpec {
            eta: self.eta.or(self.entry().eta).unwrap_or(0.0),
            seed: self.seed,
            strength: self.reach.unwrap_or(1.0),
            aligned: if self.aligned.as_deref() == Some("sdxl") { AlignedModel::Sdxl } else { AlignedModel::Sd15 },
            ..ScheduleSpec::new(self.steps, SigmaSpacing::find(&self.sigmas).unwrap())
        }
    }

    /// What is walked, for messages.
    fn name(&self, number: usize) -> String {
        let Self { scheduler, sigmas, steps, settings, strength, .. } = self;
        let settings = Value::Object(settings.clone());
        format!("walk {number}, {scheduler} {sigmas} {steps} {settings} strength {strength:?}")
    }
}

/// The tensors of a walk, as the golden has them.
#[derive(Default)]
struct Walked {
    latents: Vec<Tensor>,
    denoised: Vec<Tensor>,
    mixed: Vec<Tensor>,
}

fn walk(case: &Walk, scheduler: &mut dyn Scheduler, unet: &Unet, context: &Tensor) -> Walked {
    let mut noise = LatentNoise::new(Rng::Cpu, case.seed, 1, (4, 4, 4), &Device::Cpu);
    let mut walked = Walked::default();
    let mut clean = None;
    let mut sample = match case.strength {
        None => (noise.draw().unwrap() * scheduler.initial_sigma()).unwrap(),
        Some(_) => {
            let (image, fresh) = (noise.draw().unwrap(), noise.draw().unwrap());
            let sample = scheduler.add_noise(&image, &fresh, case.start).unwrap();
            clean = Some((image, fresh));
            sample
        }
    };
    walked.latents.push(sample.clone());
    for step in case.start..scheduler.steps() {
        let input = scheduler.scale_input(&sample, step).unwrap();
        let input_of_text = UnetInput::from(context.clone());
        let output = said(unet, &input, scheduler.timestep(step), &input_of_text, &CancelToken::default()).unwrap();
        let estimate = scheduler.estimate(step, &output, &sample).unwrap();
        let stepped = scheduler.advance(step, &output, &sample, &mut || noise.draw()).unwrap();
        if step == case.start {
            let distance = relative_l2(&estimate, &stepped.denoised);
            // LCM pulls its estimate towards the sample, and others clip theirs where they are told to.
            let is_bent = case.scheduler == "lcm" || case.settings.get("clip_sample") == Some(&Value::Bool(true));
            assert!(is_bent || distance <= RELATIVE_L2_MAX, "{}: an estimate is off by {distance:e}", case.scheduler);
        }
        walked.denoised.push(stepped.denoised);
        walked.latents.push(stepped.next.clone());
        sample = stepped.next;
        if let Some((image, fresh)) = clean.as_ref().filter(|_| step + 1 < scheduler.steps()) {
            walked.mixed.push(scheduler.add_noise(image, fresh, step + 1).unwrap());
        }
    }
    walked
}

/// The scalar product with cos 0, cos 1, cos 2 …, and the largest it can be.
fn probe(tensor: &Tensor) -> (f64, f64) {
    let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let weights = (0..numbers.len()).map(|i| (i as f64).cos());
    let (mut product, mut squares, mut weight_squares) = (0.0, 0.0, 0.0);
    for (number, weight) in numbers.into_iter().map(f64::from).zip(weights) {
        product += number * weight;
        squares += number * number;
        weight_squares += weight * weight;
    }
    (product, (squares * weight_squares).sqrt())
}

/// The largest relative distance from the golden, and where it is.
fn distance(walked: &Walked, goldens: &HashMap<String, Tensor>, number: usize) -> (f64, String) {
    let mut worst = (0.0, String::new());
    let mut note = |distance: f64, what: String| {
        if distance > worst.0 || distance.is_nan() {
            worst = (distance, what);
        }
    };
    let middle = walked.denoised.len() / 2;
    let whole = &goldens[&format!("{number}/whole")];
    let kept = [&walked.latents[middle], walked.latents.last().unwrap(), &walked.denoised[middle]];
    for (row, found) in kept.into_iter().enumerate() {
        note(relative_l2(found, &whole.narrow(0, row, 1).unwrap()), format!("whole tensor {row}"));
    }
    let probes = goldens[&format!("{number}/probes")].to_vec1::<f32>().unwrap();
    let Walked { latents, denoised, mixed } = walked;
    assert_eq!(probes.len(), latents.len() + denoised.len() + mixed.len());
    for (place, (found, expected)) in latents.iter().chain(denoised).chain(mixed).zip(probes).enumerate() {
        let (product, largest) = probe(found);
        note((product - f64::from(expected)).abs() / largest, format!("probe {place}"));
    }
    worst
}

/// The noise of DPM++ SDE is that of a path at points that the last bit of an f32 logarithm decides, which torch does
/// not round alike on every processor: a millionth of sigma is a thousandth of noise. The path itself is exact, see
/// [`brownian_paths_are_those_of_torchsde`].
fn tolerance(entry: &SchedulerEntry) -> f64 {
    if entry.name == "dpmpp_sde" { 2e-3 } else { RELATIVE_L2_MAX }
}

/// Holds every walk of some rows against diffusers.
fn check(is_meant: fn(&SchedulerEntry) -> bool) {
    let goldens: Goldens = golden_json("trajectories.json");
    let tensors = golden_tensors("trajectories.safetensors");
    let unet = networks::unet("sd1");
    let mut worst: HashMap<&str, (f64, String)> = HashMap::new();
    let mut faults = Vec::new();
    for (number, case) in goldens.walks.iter().enumerate().filter(|(_, case)| is_meant(case.entry())) {
        let name = case.name(number);
        let mut scheduler = case.entry().build(&goldens.config(&case.settings), &case.spec()).unwrap();
        let timesteps = tensors[&format!("{number}/timesteps")].to_vec1::<f32>().unwrap();
        let found: Vec<f64> = (0..scheduler.steps()).map(|step| scheduler.timestep(step)).collect();
        let are_near = |(a, b): (&f64, &f32)| (a - f64::from(*b)).abs() < 0.02;
        if found.len() != timesteps.len() || !found.iter().zip(&timesteps).all(are_near) {
            faults.push(format!("{name}: timesteps {found:?}, not {timesteps:?}"));
            continue;
        }
        assert_eq!(case.strength.map_or(0, |strength| scheduler.start_at_strength(strength)), case.start, "{name}");
        let walked = walk(case, scheduler.as_mut(), &unet, &tensors["context"]);
        let (distance, place) = distance(&walked, &tensors, number);
        if distance > tolerance(case.entry()) || distance.is_nan() {
            faults.push(format!("{name}: {place} is {distance:e} away"));
        }
        let row = worst.entry(&case.scheduler).or_default();
        if distance > row.0 {
            *row = (distance, format!("{place} of {name}"));
        }
    }
    for (scheduler, (distance, place)) in &worst {
        println!("{scheduler}: at most {distance:.1e} (relative L2), {place}");
    }
    assert!(faults.is_empty(), "{} walks differ:\n{}", faults.len(), faults.join("\n"));
}

/// Whether a row looks ᾱ up, without sigmas of its own.
fn is_over_training_steps(entry: &SchedulerEntry) -> bool {
    matches!(entry.name, "ddim" | "ddpm" | "pndm" | "lcm" | "tcd")
}

#[test]
fn walks_over_training_steps_are_diffusers() {
    check(is_over_training_steps);
}

#[test]
fn walks_of_dpm_solver_are_diffusers() {
    check(|entry| entry.name.starts_with("dpmpp_"));
}

#[test]
fn all_other_walks_are_diffusers() {
    check(|entry| !entry.name.starts_with("dpmpp_") && !matches!(entry.name, "ddim" | "ddpm" | "pndm" | "lcm" | "tcd"));
}

#[test]
fn every_row_has_a_golden_for_each_of_its_spacings_and_predictions() {
    let goldens: Goldens = golden_json("trajectories.json");
    let key = |case: &Walk| {
        let prediction = case.settings.get("prediction_type").and_then(Value::as_str).unwrap_or("epsilon");
        (case.scheduler.clone(), case.sigmas.clone(), prediction.to_owned())
    };
    let covered: HashSet<_> = goldens.walks.iter().map(key).collect();
    let begun: HashSet<_> = goldens.walks.iter().filter(|case| case.start > 0).map(|case| &case.scheduler).collect();
    for entry in SCHEDULERS {
        assert!(begun.contains(&entry.name.to_owned()), "{} never begins in the middle", entry.name);
        for (spacing, name, _) in SigmaSpacing::ALL {
            for prediction in [Prediction::Epsilon, Prediction::VPrediction, Prediction::Sample] {
                let said = serde_json::to_value(prediction).unwrap();
                let golden = (entry.name.to_owned(), (*name).to_owned(), said.as_str().unwrap().to_owned());
                let walks = entry.supports(*spacing) && entry.predictions.contains(&prediction);
                assert_eq!(covered.contains(&golden), walks, "{golden:?}");
            }
        }
    }
}

#[test]
fn parts_of_a_walk_begin_and_end_where_diffusers_cuts_them() {
    let goldens: Goldens = golden_json("trajectories.json");
    assert!(goldens.parts.len() > 100);
    for part in &goldens.parts {
        let spec = ScheduleSpec::new(part.steps, SigmaSpacing::find(&part.sigmas).unwrap());
        let entry = schedulers::find(&part.scheduler).unwrap();
        let scheduler = entry.build(&goldens.config(&part.settings), &spec).unwrap();
        let found = (
            scheduler.start_at_strength(part.strength),
            scheduler.start_at_fraction(part.fraction),
            scheduler.end_at_fraction(part.fraction),
        );
        let Part { scheduler, sigmas, steps, strength, fraction, .. } = part;
        assert_eq!(
            found,
            (part.strength_start, part.fraction_start, part.fraction_end),
            "{scheduler} {sigmas} {steps} {strength} {fraction}"
        );
    }
}

#[test]
fn brownian_paths_are_those_of_torchsde() {
    let goldens: Goldens = golden_json("trajectories.json");
    let tensors = golden_tensors("trajectories.safetensors");
    let mut worst: f64 = 0.0;
    for (number, part) in goldens.paths.iter().enumerate() {
        let expected = &tensors[&format!("brownian/{number}")];
        let path = BrownianPath::new(part.seed, part.start, part.end);
        let distance = relative_l2(&path.gain(part.from, part.to, expected).unwrap(), expected);
        assert!(distance <= RELATIVE_L2_MAX, "seed {} from {} to {}: {distance:e}", part.seed, part.from, part.to);
        worst = worst.max(distance);
    }
    println!("{} parts of Brownian paths: at most {worst:.1e} (relative L2)", goldens.paths.len());
}

#[test]
fn sigmas_fall_to_the_end() {
    let config: SchedulerConfig = serde_json::from_str(r#"{"skip_prk_steps": true}"#).unwrap();
    for entry in SCHEDULERS {
        for &sigmas in entry.spacings {
            for steps in [1, 2, 25, 50] {
                if entry.name == "deis" && steps == 1 {
                    // Its one level is also its last.
                    continue;
                }
                let scheduler = entry.build(&config, &ScheduleSpec::new(steps, sigmas)).unwrap();
                let levels: Vec<f64> = (0..=scheduler.steps()).map(|step| scheduler.sigma(step)).collect();
                // Heun and DPM2 a look twice at a level, PNDM goes back to one, and DEIS stays at its last.
                let may_stay = matches!(entry.name, "heun" | "dpm2_a" | "pndm" | "deis");
                let falls = levels.is_sorted_by(|a, b| a > b || may_stay && (a - b).abs() < 1e-9);
                assert!(falls, "{} {sigmas:?} in {steps}: {levels:?}", entry.name);
                // PNDM, DEIS and TCD leave the least noise of training.
                let last = levels[scheduler.steps()];
                let leaves_least = matches!(entry.name, "pndm" | "deis" | "tcd");
                assert!(
                    if leaves_least { last > 0.0 && last < 0.03 } else { last == 0.0 },
                    "{} {sigmas:?}",
                    entry.name
                );
            }
        }
    }
}

#[test]
fn published_configurations_name_their_rows() {
    let entry = |config: &str| {
        let config: SchedulerConfig = serde_json::from_str(config).unwrap();
        let (entry, warning) = config.entry();
        (entry.name, config.spacing().name(), warning)
    };
    let known = [
        (r#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true, "trained_betas": null}"#, "pndm", "default"),
        (r#"{"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}"#, "ddim", "default"),
        (
            r#"{"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing", "timestep_type": "discrete",
                "interpolation_type": "linear", "sigma_max": null, "sigma_min": null, "use_karras_sigmas": false}"#,
            "euler",
            "default",
        ),
        (r#"{"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}"#, "euler_a", "default"),
        (r#"{"_class_name": "LCMScheduler", "original_inference_steps": 50}"#, "lcm", "default"),
        (
            r#"{"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": true, "variance_type": null}"#,
            "dpmpp_2m",
            "karras",
        ),
        (
            r#"{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}"#,
            "dpmpp_2m_sde",
            "default",
        ),
        (
            r#"{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "solver_order": 3}"#,
            "dpmpp_3m_sde",
            "default",
        ),
        (r#"{"_class_name": "UniPCMultistepScheduler", "use_beta_sigmas": true}"#, "unipc", "beta"),
    ];
    for (config, name, spacing) in known {
        assert_eq!(entry(config), (name, spacing, None), "{config}");
    }
    let (_, _, warning) =
        entry(r#"{"_class_name": "DPMSolverSinglestepScheduler", "algorithm_type": "sde-dpmsolver++"}"#);
    assert!(warning.is_some());
    let (name, _, warning) = entry(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#);
    let says = "the model's own scheduler, \"FlowMatchEulerDiscreteScheduler\", is not known here; Euler stands in";
    assert_eq!((name, warning.as_deref()), ("euler", Some(says)));
}

#[test]
fn a_walk_that_there_is_not_is_refused_with_a_sentence() {
    let refusal = |scheduler: &str, config: &str, steps, sigmas| {
        let config: SchedulerConfig = serde_json::from_str(config).unwrap();
        let spec = ScheduleSpec::new(steps, sigmas);
        schedulers::find(scheduler).unwrap().build(&config, &spec).err().unwrap().to_string()
    };
    let karras = refusal("ddim", "{}", 5, SigmaSpacing::Karras);
    assert_eq!(karras, "DDIM has no Karras sigmas; leave `sigmas` out or choose another scheduler");
    let steps = |scheduler, steps| refusal(scheduler, "{}", steps, SigmaSpacing::Default);
    assert_eq!(steps("euler", 0), "this model can be walked in 1 to 999 steps, not in 0");
    assert_eq!(steps("euler", 1000), "this model can be walked in 1 to 999 steps, not in 1000");
    assert_eq!(steps("lcm", 51), "this model can be walked in 1 to 50 steps, not in 51");
    assert_eq!(steps("pndm", 3), "this model can be walked in 4 to 999 steps, not in 3");
    let aligned = refusal("euler", "{}", 400, SigmaSpacing::AlignYourSteps);
    assert!(aligned.starts_with("this model can be walked in 1 to "), "{aligned}");
    let sample = refusal("dpm2", r#"{"prediction_type": "sample"}"#, 5, SigmaSpacing::Default);
    assert_eq!(sample, "DPM2 cannot walk a model that predicts the clean latent; choose another scheduler");
}
