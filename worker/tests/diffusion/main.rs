//! The diffusion half of the worker, held against diffusers' goldens and against what the built-in model means.
//!
//! `tests/goldens/make.py` writes the goldens; the tolerances stand here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod caches;
mod configs;
mod dtypes;
mod embeddings;
mod families;
mod images;
mod inputs;
mod lora;
mod meaning;
mod networks;
mod noise;
mod philox;
mod pictures;
mod preview_decoder;
mod prompts;
mod trajectories;

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use sd_worker::diffusion::cancel::Halt;
use sd_worker::diffusion::nn::unet::{Unet, UnetInput};
use sd_worker::diffusion::weights::ModelFiles;
use sd_worker::diffusion::{CancelToken, Finished, GenerationSpec, Observer, Outcome, Pipeline, StepView};

/// Relative L2 distance from diffusers that one network call, or a whole walk, may show in f32.
const RELATIVE_L2_MAX: f64 = 1e-4;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

fn golden_tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(name), &Device::Cpu).unwrap()
}

fn golden_json<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

/// One of the tiny pipelines.
fn tiny_model(name: &str) -> ModelFiles {
    ModelFiles::folder(golden(name))
}

struct Nobody;

impl Observer for Nobody {
    fn started(&mut self, _steps: u32) {}
    fn stepped(&mut self, _view: &StepView<'_>) {}
}

/// What `pipeline` draws where nobody looks on or interferes.
fn finished(pipeline: &mut dyn Pipeline, spec: &GenerationSpec) -> Finished {
    match pipeline.generate(spec, &CancelToken::default(), &mut Nobody).unwrap() {
        Outcome::Finished(finished) => finished,
        other => panic!("not finished: {other:?}"),
    }
}

/// What `unet` says of `latents` at one timestep.
fn said(unet: &Unet, latents: &Tensor, timestep: f64, input: &UnetInput, cancel: &CancelToken) -> Result<Tensor, Halt> {
    unet.forward(latents, 0, &unet.condition(input, &[timestep], cancel)?, cancel)
}

/// ‖found − expected‖ / ‖expected‖
fn relative_l2(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (numbers(found), numbers(expected));
    let square = |x: f32| f64::from(x) * f64::from(x);
    let distance: f64 = found.iter().zip(&expected).map(|(f, e)| square(f - e)).sum();
    (distance / expected.iter().copied().map(square).sum::<f64>()).sqrt()
}
