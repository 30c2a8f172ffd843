//! Candle as it is published: its convolution, its product, and the networks of `candle-transformers`.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder};
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};

use super::serve::{Compute, Spec};
use crate::cases::{TIMESTEP, Work};

/// What latents of the autoencoder are divided by.
const SCALING: f64 = 0.18215;

/// Makes stock candle ready.
pub(super) fn prepare(spec: &Spec) -> anyhow::Result<Compute> {
    let tensors = spec.inputs()?;
    let x = tensors["x"].clone();
    Ok(match spec.work {
        Work::Conv2d { kernel, .. } => {
            let (x, weight) = (channels_first(&x)?, tensors["weight"].clone());
            let bias = tensors["bias"].reshape((1, (), 1, 1))?;
            Box::new(move || {
                let y = x.conv2d(&weight, kernel / 2, 1, 1, 1)?.broadcast_add(&bias)?;
                Ok(channels_last(&y)?)
            })
        }
        Work::Linear { .. } => {
            let layer = Linear::new(tensors["weight"].clone(), Some(tensors["bias"].clone()));
            Box::new(move || Ok(layer.forward(&x)?))
        }
        Work::Unet { .. } => {
            let unet = unet(weights(spec, "unet")?)?;
            let (x, context) = (channels_first(&x)?, tensors["context"].clone());
            Box::new(move || Ok(channels_last(&unet.forward(&x, TIMESTEP, &context)?)?))
        }
        Work::Vae { .. } => {
            let config = AutoEncoderKLConfig {
                block_out_channels: vec![128, 256, 512, 512],
                layers_per_block: 2,
                ..AutoEncoderKLConfig::default()
            };
            let vae = AutoEncoderKL::new(weights(spec, "vae")?, 3, 3, config)?;
            let x = channels_first(&(x / SCALING)?)?;
            Box::new(move || Ok(channels_last(&vae.decode(&x)?)?))
        }
    })
}

fn weights(spec: &Spec, network: &str) -> candle_core::Result<VarBuilder<'static>> {
    let file = spec.model.join(network).join("diffusion_pytorch_model.safetensors");
    let tensors = candle_core::safetensors::load(file, &Device::Cpu)?;
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

fn channels_first(x: &Tensor) -> candle_core::Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

/// The view of a picture as all engines are compared; nothing is copied, so nothing is added to the time.
fn channels_last(x: &Tensor) -> candle_core::Result<Tensor> {
    x.permute((0, 2, 3, 1))
}

fn unet(weights: VarBuilder) -> anyhow::Result<UNet2DConditionModel> {
    let block = |out_channels, use_cross_attn, attention_head_dim| BlockConfig {
        out_channels,
        use_cross_attn,
        attention_head_dim,
    };
    let config = UNet2DConditionModelConfig {
        blocks: vec![block(320, Some(1), 8), block(640, Some(1), 8), block(1280, Some(1), 8), block(1280, None, 8)],
        center_input_sample: false,
        cross_attention_dim: 768,
        downsample_padding: 1,
        flip_sin_to_cos: true,
        freq_shift: 0.0,
        layers_per_block: 2,
        mid_block_scale_factor: 1.0,
        norm_eps: 1e-5,
        norm_num_groups: 32,
        sliced_attention_size: None,
        use_linear_projection: false,
    };
    Ok(UNet2DConditionModel::new(weights, 4, 4, false, config)?)
}
