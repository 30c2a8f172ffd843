//! The worker.

use candle_core::{DType, Device};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::cancel::Halt;
use sd_worker::diffusion::nn::unet::{Unet, UnetConfig, UnetInput};
use sd_worker::diffusion::nn::vae::{VaeConfig, VaeDecoder};
use sd_worker::diffusion::ops::{Conv2d, Linear, Padding, conv2d, linear};
use sd_worker::diffusion::weights::{ModelFiles, Weights};

use super::serve::{Compute, Spec};
use crate::cases::{Dtype, TIMESTEP, Work};

/// The file of a network's weights, without its ending.
const STEM: &str = "diffusion_pytorch_model";

/// Makes the worker's operations, or its networks, ready.
pub(super) fn prepare(spec: &Spec) -> anyhow::Result<Compute> {
    let tensors = spec.inputs()?;
    let x = tensors["x"].clone();
    let dtype = match spec.dtype {
        Dtype::Fp32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
    };
    let files = ModelFiles::folder(&spec.model);
    Ok(match spec.work {
        // An operation is given and gives what it does inside of a network: numbers of its own type.
        Work::Conv2d { kernel, .. } => {
            let [x, weight, bias] = [&x, &tensors["weight"], &tensors["bias"]].map(|one| one.to_dtype(dtype));
            let (x, conv) = (x?, Conv2d::new(&weight?, Some(bias?), 1, Padding::same(kernel))?);
            Box::new(move || Ok(conv2d(&x, &conv)?))
        }
        Work::Linear { .. } => {
            let [x, weight, bias] = [&x, &tensors["weight"], &tensors["bias"]].map(|one| one.to_dtype(dtype));
            let (x, layer) = (x?, Linear::new(&weight?, Some(bias?))?);
            Box::new(move || Ok(linear(&x, &layer)?))
        }
        Work::Unet { .. } => {
            let config = UnetConfig::read(&files, "unet/config.json")?;
            let weights = Weights::open(&files, "unet", STEM)?;
            let unet = Unet::load(&config, &weights, &Device::Cpu, dtype)?;
            let input = UnetInput::from(tensors["context"].clone());
            // What a job computes once for all of its steps is timed too: the other engines compute it in each.
            Box::new(move || {
                let cancel = CancelToken::default();
                let conditioning = unet.condition(&input, &[TIMESTEP], &cancel).map_err(failed)?;
                unet.forward(&x, 0, &conditioning, &cancel).map_err(failed)
            })
        }
        Work::Vae { .. } => {
            let config = VaeConfig::read(&files, "vae/config.json")?;
            let weights = Weights::open(&files, "vae", STEM)?;
            let decoder = VaeDecoder::load(&config, &weights, &Device::Cpu, dtype)?;
            Box::new(move || decoder.decode(&x, &CancelToken::default()).map_err(failed))
        }
    })
}

fn failed(halt: Halt) -> anyhow::Error {
    match halt {
        Halt::Canceled => anyhow::anyhow!("nobody cancels a benchmark"),
        Halt::Tensor(error) => error.into(),
    }
}
