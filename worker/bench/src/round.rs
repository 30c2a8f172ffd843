//! One case on all engines.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::{Device, Tensor};
use serde::Serialize;

use crate::cases::{CONTEXT, Case, Work};
use crate::engines::{ENGINES, OURS, Setting};
use crate::torch;

/// Relative L2 distance from torch that ours may show in f32.
const RELATIVE_L2_MAX: f64 = 1e-4;

/// What one engine did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) engine: &'static str,
    /// Of its output from torch's.
    pub(crate) relative_l2: f64,
    pub(crate) fastest_ms: f64,
    pub(crate) median_ms: f64,
    pub(crate) slowest_ms: f64,
}

/// What all engines did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) lines: Vec<Line>,
}

/// Computes a case on every engine, compares what comes out, then takes times in turns.
///
/// # Errors
/// When an engine fails, or ours is too far from torch.
pub(crate) fn run(case: &Case, setting: &Setting) -> anyhow::Result<Outcome> {
    eprintln!("{}", case.name);
    if matches!(case.work, Work::Unet { .. }) {
        place_model(setting)?;
    }
    let inputs = write_inputs(case, setting)?;
    let mut engines = Vec::new();
    let mut expected: Option<Tensor> = None;
    for (name, prepare) in ENGINES {
        let mut engine = prepare(case, &inputs, setting)?;
        let output = engine.output()?;
        let distance = relative_l2(&output, expected.get_or_insert(output.clone()))?;
        eprintln!("  {name}: relative L2 {distance:.1e}");
        anyhow::ensure!(*name != OURS || distance <= RELATIVE_L2_MAX, "ours is {distance:e} from torch");
        engines.push((*name, engine, distance, Vec::with_capacity(case.repeats)));
    }
    for _ in 0..case.repeats {
        for (_, engine, _, times) in &mut engines {
            times.push(engine.time()?);
        }
    }
    let lines = engines.into_iter().map(|(engine, _, relative_l2, mut times)| {
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (fastest_ms, median_ms) = (ms(times[0]), ms(times[times.len() / 2]));
        Line { engine, relative_l2, fastest_ms, median_ms, slowest_ms: ms(times[times.len() - 1]) }
    });
    Ok(Outcome { case: case.clone(), lines: lines.collect() })
}

/// Puts configuration and weights where all engines read them.
fn place_model(setting: &Setting) -> anyhow::Result<()> {
    let folder = setting.model().join("unet");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("config.json"), include_str!("../sd15/unet/config.json"))?;
    torch::make_weights(setting, &setting.model())
}

fn write_inputs(case: &Case, setting: &Setting) -> anyhow::Result<PathBuf> {
    let mut tensors = HashMap::new();
    match case.work {
        Work::Conv2d { batch, size, inputs, outputs, kernel } => {
            tensors.insert("x", numbers(&[batch, size, size, inputs], 1.0, 1)?);
            let scale = 1.0 / ((inputs * kernel * kernel) as f32).sqrt();
            tensors.insert("weight", numbers(&[outputs, inputs, kernel, kernel], scale, 2)?);
            tensors.insert("bias", numbers(&[outputs], 0.1, 3)?);
        }
        Work::Linear { rows, inputs, outputs } => {
            tensors.insert("x", numbers(&[rows, inputs], 1.0, 1)?);
            tensors.insert("weight", numbers(&[outputs, inputs], 1.0 / (inputs as f32).sqrt(), 2)?);
            tensors.insert("bias", numbers(&[outputs], 0.1, 3)?);
        }
        Work::Unet { batch, size } => {
            tensors.insert("x", numbers(&[batch, size, size, 4], 1.0, 1)?);
            tensors.insert("context", numbers(&[batch, CONTEXT[0], CONTEXT[1]], 1.0, 2)?);
        }
    }
    let path = setting.folder.join("inputs.safetensors");
    candle_core::safetensors::save(&tensors, Path::new(&path))?;
    Ok(path)
}

/// Numbers of unit variance times `scale` that look random: uniform, the same on every run.
fn numbers(shape: &[usize], scale: f32, seed: u32) -> anyhow::Result<Tensor> {
    let count: usize = shape.iter().product();
    let values = (0..count as u32).map(|i| {
        let mixed = (i ^ seed.wrapping_mul(0x5bd1_e995)).wrapping_mul(0x9e37_79b1);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b);
        ((mixed ^ (mixed >> 13)) as f32 / (1u32 << 31) as f32 - 1.0) * 3f32.sqrt() * scale
    });
    Ok(Tensor::from_iter(values, &Device::Cpu)?.reshape(shape)?)
}

/// ‖found − expected‖ / ‖expected‖
fn relative_l2(found: &Tensor, expected: &Tensor) -> anyhow::Result<f64> {
    anyhow::ensure!(found.dims() == expected.dims(), "{:?} came out, not {:?}", found.dims(), expected.dims());
    let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    let square = |x: f32| f64::from(x) * f64::from(x);
    let (found, expected) = (flat(found)?, flat(expected)?);
    let distance: f64 = found.iter().zip(&expected).map(|(f, e)| square(f - e)).sum();
    Ok((distance / expected.into_iter().map(square).sum::<f64>()).sqrt())
}
