//! From latents to pictures.

use candle_core::{DType, Device, Tensor};

use super::config::{LatentScaling, NORM_EPS, VaeConfig};
use super::middle::MidBlock;
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::nn::blocks::{ResnetBlock, Upsample};
use crate::diffusion::ops::{Conv2d, GroupNorm, Recorder, conv2d, group_norm_silu, together};
use crate::diffusion::weights::{LoadError, Scope, Weights};

/// The decoder half.
#[derive(Debug)]
pub struct VaeDecoder {
    scaling: LatentScaling,
    post_quant: Option<Conv2d>,
    conv_in: Conv2d,
    mid: MidBlock,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    dtype: DType,
    recorder: Recorder,
}

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsample: Option<Upsample>,
}

impl VaeDecoder {
    /// Loads the decoder half of the weights, to compute in `dtype`.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(config: &VaeConfig, weights: &Weights, device: &Device, dtype: DType) -> Load<Self> {
        let root = Scope::root(weights, device, dtype);
        let scope = root.sub("decoder");
        // The decoder runs from the coarsest block to the finest; the configuration lists them the other way.
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (coarsest, finest) = (channels[0], channels[channels.len() - 1]);
        let latent = config.latent_channels;
        let load_block = |i: usize| {
            let ends = [channels[i.saturating_sub(1)], channels[i]];
            let finer_follows = i + 1 < channels.len();
            UpBlock::load(&scope.sub("up_blocks").sub(i), ends, config, finer_follows)
        };
        Ok(Self {
            scaling: config.scaling,
            post_quant: config
                .use_post_quant_conv
                .then(|| root.sub("post_quant_conv").conv2d(latent, latent, 1, 1))
                .transpose()?,
            conv_in: scope.sub("conv_in").conv2d(latent, coarsest, 3, 1)?,
            mid: MidBlock::load(&scope, config)?,
            up: (0..channels.len()).map(load_block).collect::<Load<_>>()?,
            norm_out: scope.sub("conv_norm_out").group_norm(finest, config.norm_num_groups, NORM_EPS)?,
            conv_out: scope.sub("conv_out").conv2d(finest, config.out_channels, 3, 1)?,
            dtype,
            recorder: Recorder::default(),
        })
    }

    /// Latents `[batch, h, w, latent_channels]` of unit variance into pictures `[batch, h·scale, w·scale, 3]` f32,
    /// about `[-1, 1]`.
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor, Halt> {
        together(latents.device(), || {
            self.recorder.run(std::slice::from_ref(latents), |inputs| self.walk(&inputs[0], cancel))
        })
    }

    fn walk(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor, Halt> {
        cancel.checkpoint()?;
        let mut x = self.scaling.vae_from_unit(latents)?.to_dtype(self.dtype)?;
        if let Some(post_quant) = &self.post_quant {
            x = conv2d(&x, post_quant)?;
        }
        x = self.mid.forward(&conv2d(&x, &self.conv_in)?, cancel)?;
        for block in &self.up {
            x = block.forward(x, cancel)?;
        }
        cancel.checkpoint()?;
        Ok(conv2d(&group_norm_silu(&x, &self.norm_out)?, &self.conv_out)?.to_dtype(DType::F32)?)
    }
}

impl UpBlock {
    fn load(scope: &Scope, [inputs, outputs]: [usize; 2], config: &VaeConfig, upsamples: bool) -> Load<Self> {
        let settings = config.resnets();
        let resnets = (0..=config.layers_per_block)
            .map(|i| {
                let inputs = if i == 0 { inputs } else { outputs };
                ResnetBlock::load(&scope.sub("resnets").sub(i), inputs, outputs, settings)
            })
            .collect::<Load<_>>()?;
        let upsample = upsamples.then(|| Upsample::load(&scope.sub("upsamplers.0"), outputs)).transpose()?;
        Ok(Self { resnets, upsample })
    }

    fn forward(&self, mut x: Tensor, cancel: &CancelToken) -> Result<Tensor, Halt> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, None, cancel)?;
        }
        if let Some(upsample) = &self.upsample {
            cancel.checkpoint()?;
            let (_, height, width, _) = x.dims4()?;
            x = upsample.forward(&x, 2 * height, 2 * width)?;
        }
        Ok(x)
    }
}

type Load<T> = Result<T, LoadError>;
