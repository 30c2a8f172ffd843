//! The worker.

use std::path::Path;

use candle_core::{DType, Device};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::cancel::Halt;
use sd_worker::diffusion::nn::unet::{Unet, UnetConfig, UnetInput};
use sd_worker::diffusion::ops::{Conv2d, Linear, Padding, conv2d, linear};
use sd_worker::diffusion::weights::{ModelFiles, Weights};

use crate::cases::{Case, Work};
use crate::engines::{Called, Ready, Setting, read};

/// Makes the worker's operations, or its UNet, ready.
pub(crate) fn prepare(case: &Case, inputs: &Path, setting: &Setting) -> anyhow::Result<Box<dyn Ready>> {
    let tensors = read(inputs)?;
    let x = tensors["x"].clone();
    let bias = tensors.get("bias").cloned();
    Ok(match case.work {
        Work::Conv2d { kernel, .. } => {
            let conv = Conv2d::new(&tensors["weight"], bias, 1, Padding::same(kernel))?;
            Box::new(Called(move || Ok(conv2d(&x, &conv)?)))
        }
        Work::Linear { .. } => {
            let layer = Linear::new(&tensors["weight"], bias)?;
            Box::new(Called(move || Ok(linear(&x, &layer)?)))
        }
        Work::Unet { .. } => {
            let files = ModelFiles::folder(setting.model());
            let config = UnetConfig::read(&files, "unet/config.json")?;
            let weights = Weights::open(&files, "unet", "diffusion_pytorch_model")?;
            let unet = Unet::load(&config, &weights, &Device::Cpu, DType::F32)?;
            drop(weights);
            let input = UnetInput::from(tensors["context"].clone());
            // What a job computes once for all of its steps is timed too: the other engines compute it in each.
            Box::new(Called(move || {
                let cancel = CancelToken::default();
                let said = unet
                    .condition(&input, &[crate::cases::TIMESTEP], &cancel)
                    .and_then(|conditioning| unet.forward(&x, 0, &conditioning, &cancel));
                said.map_err(|halt| match halt {
                    Halt::Canceled => anyhow::anyhow!("nobody cancels a benchmark"),
                    Halt::Tensor(error) => error.into(),
                })
            }))
        }
    })
}
