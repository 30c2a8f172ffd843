//! Inputs, the same for all engines and on every run.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};

use crate::cases::{CONTEXT, Work};
use crate::setting::Setting;

/// Writes what an engine reads: `x`, and `weight` and `bias` of an operation, or the `context` of the UNet.
pub(super) fn write(work: Work, setting: &Setting) -> anyhow::Result<PathBuf> {
    let mut tensors = HashMap::new();
    let mut add = |name: &'static str, shape: &[usize], scale: f32| -> anyhow::Result<()> {
        tensors.insert(name, numbers(shape, scale, tensors.len() as u32 + 1)?);
        Ok(())
    };
    match work {
        Work::Conv2d { batch, size, inputs_channels, outputs_channels, kernel } => {
            add("x", &[batch, size, size, inputs_channels], 1.0)?;
            let scale = 1.0 / ((inputs_channels * kernel * kernel) as f32).sqrt();
            add("weight", &[outputs_channels, inputs_channels, kernel, kernel], scale)?;
            add("bias", &[outputs_channels], 0.1)?;
        }
        Work::Linear { rows, inputs_channels, outputs_channels } => {
            add("x", &[rows, inputs_channels], 1.0)?;
            add("weight", &[outputs_channels, inputs_channels], 1.0 / (inputs_channels as f32).sqrt())?;
            add("bias", &[outputs_channels], 0.1)?;
        }
        Work::Unet { batch, size } => {
            add("x", &[batch, size, size, 4], 1.0)?;
            add("context", &[batch, CONTEXT[0], CONTEXT[1]], 1.0)?;
        }
        Work::Vae { size } => add("x", &[1, size, size, 4], 1.0)?,
    }
    let path = setting.folder.join("inputs.safetensors");
    candle_core::safetensors::save(&tensors, &path)?;
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
pub(super) fn relative_l2(found: &Tensor, expected: &Tensor) -> anyhow::Result<f64> {
    anyhow::ensure!(found.dims() == expected.dims(), "{:?} came out, not {:?}", found.dims(), expected.dims());
    let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    let square = |x: f32| f64::from(x) * f64::from(x);
    let (found, expected) = (flat(found)?, flat(expected)?);
    let distance: f64 = found.iter().zip(&expected).map(|(f, e)| square(f - e)).sum();
    Ok((distance / expected.into_iter().map(square).sum::<f64>()).sqrt())
}
