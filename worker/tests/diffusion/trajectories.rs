use std::collections::HashSet;

use candle_core::{Device, Tensor};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::noise::LatentNoise;
use sd_worker::diffusion::schedulers::{self, SCHEDULERS, ScheduleSpec, SchedulerConfig, SigmaSpacing};
use serde::Deserialize;

use super::{RELATIVE_L2_MAX, golden_json, golden_tensors, networks, relative_l2};

#[derive(Deserialize)]
struct Case {
    scheduler: String,
    sigmas: String,
    steps: usize,
    eta: f64,
    seed: u64,
    config: serde_json::Value,
}

#[test]
fn every_latent_and_prediction_is_diffusers() {
    let cases: Vec<Case> = golden_json("trajectories.json");
    let goldens = golden_tensors("trajectories.safetensors");
    let unet = networks::unet("sd1");
    let context = &goldens["context"];
    let mut worst = (0.0, String::new());
    for (number, case) in cases.iter().enumerate() {
        let name = format!("case {number}, {} {} {}", case.scheduler, case.sigmas, case.config);
        let config: SchedulerConfig = serde_json::from_value(case.config.clone()).unwrap();
        let sigmas = SigmaSpacing::find(&case.sigmas).unwrap();
        let spec = ScheduleSpec { steps: case.steps, sigmas, eta: case.eta };
        let mut scheduler = schedulers::find(&case.scheduler).unwrap().build(&config, &spec).unwrap();

        let timesteps = goldens[&format!("{number}/timesteps")].to_vec1::<f32>().unwrap();
        assert_eq!(scheduler.steps(), timesteps.len(), "{name}");
        for (step, expected) in timesteps.iter().enumerate() {
            let found = scheduler.timestep(step);
            assert!((found - f64::from(*expected)).abs() < 0.02, "{name}: timestep {step} is {found}, not {expected}");
        }

        let mut noise = LatentNoise::new(case.seed, 1, (4, 4, 4), &Device::Cpu);
        let mut check = |what: &str, step: usize, found: &Tensor| {
            let expected = goldens[&format!("{number}/{what}")].narrow(0, step, 1).unwrap();
            let distance = relative_l2(found, &expected);
            assert!(distance <= RELATIVE_L2_MAX, "{name}: {what} {step} is {distance:e} away");
            if distance > worst.0 {
                worst = (distance, format!("{what} {step} of {name}"));
            }
        };
        let mut sample = (noise.draw().unwrap() * scheduler.initial_sigma()).unwrap();
        check("latents", 0, &sample);
        for step in 0..scheduler.steps() {
            let input = scheduler.scale_input(&sample, step).unwrap();
            let output = unet.forward(&input, scheduler.timestep(step), context, &CancelToken::default()).unwrap();
            let stepped = scheduler.advance(step, &output, &sample, &mut || noise.draw()).unwrap();
            check("denoised", step, &stepped.denoised);
            check("latents", step + 1, &stepped.next);
            sample = stepped.next;
        }
    }
    println!("{} trajectories: at most {:.1e} (relative L2), {}", cases.len(), worst.0, worst.1);
}

#[test]
fn every_row_has_a_golden_for_each_of_its_spacings() {
    let cases: Vec<Case> = golden_json("trajectories.json");
    let covered: HashSet<_> = cases.iter().map(|case| (case.scheduler.as_str(), case.sigmas.as_str())).collect();
    for entry in SCHEDULERS {
        for (spacing, name, _) in SigmaSpacing::ALL {
            assert_eq!(covered.contains(&(entry.name, *name)), entry.supports(*spacing), "{} {name}", entry.name);
        }
    }
}

#[test]
fn sigmas_fall_to_the_end() {
    let config = SchedulerConfig::default();
    for entry in SCHEDULERS {
        for &sigmas in entry.spacings {
            for steps in [1, 2, 25, 150] {
                let scheduler = entry.build(&config, &ScheduleSpec { steps, sigmas, eta: 0.0 }).unwrap();
                let levels: Vec<f64> = (0..=scheduler.steps()).map(|step| scheduler.sigma(step)).collect();
                assert!(levels.is_sorted_by(|a, b| a > b), "{} {sigmas:?} in {steps}: {levels:?}", entry.name);
                assert_eq!(levels[steps], 0.0, "{} {sigmas:?}", entry.name);
            }
        }
    }
}

#[test]
fn a_walk_that_there_is_not_is_refused_with_a_sentence() {
    let config = SchedulerConfig::default();
    let refusal = |scheduler: &str, steps, sigmas| {
        let spec = ScheduleSpec { steps, sigmas, eta: 0.0 };
        schedulers::find(scheduler).unwrap().build(&config, &spec).err().unwrap().to_string()
    };
    let karras = refusal("ddim", 5, SigmaSpacing::Karras);
    assert_eq!(karras, "DDIM has no Karras sigmas; leave `sigmas` out or choose another scheduler");
    assert_eq!(refusal("euler", 0, SigmaSpacing::Default), "this model can be walked in 1 to 999 steps, not in 0");
    assert_eq!(
        refusal("euler", 1000, SigmaSpacing::Default),
        "this model can be walked in 1 to 999 steps, not in 1000"
    );
}
