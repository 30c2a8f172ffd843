//! The decoder of AutoencoderKL (Rombach et al. 2022; diffusers' `AutoencoderKL`).

use candle_core::{Device, Result, Tensor};
use serde::Deserialize;

use super::blocks::{ResnetBlock, ResnetSettings, Upsample};

use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{Conv2d, GroupNorm, Linear, attention, conv2d, group_norm, group_norm_silu, linear};
use crate::diffusion::weights::config::{self, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles, Scope, Weights};

/// `vae/config.json`; absent keys have the defaults of diffusers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    out_channels: usize,
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    norm_num_groups: usize,
    /// Latents of the UNet are those of the VAE times this.
    pub scaling_factor: f64,
    use_post_quant_conv: bool,
    mid_block_add_attention: bool,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            out_channels: 3,
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

const SETTLED: &[Settled] = &[
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("out_channels", &["3"]),
    ("up_block_types", &["\"UpDecoderBlock2D\""]),
    ("shift_factor", &["null", "0", "0.0"]),
    ("latents_mean", &["null"]),
    ("latents_std", &["null"]),
];

impl VaeConfig {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// When it is missing, no such JSON, or asks for what is not implemented.
    pub fn read(files: &ModelFiles, path: &str) -> Load<Self> {
        let config: Self = config::read(files, path, SETTLED)?;
        let positive = config.block_out_channels.iter().all(|&channels| channels > 0);
        if config.block_out_channels.is_empty() || !positive {
            let found = format!("{:?}", config.block_out_channels);
            return Err(config::unsupported(files, path, "block_out_channels", &found, "one number or more, none 0"));
        }
        Ok(config)
    }

    /// Pixels along one side of a latent cell.
    pub fn scale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}

/// The decoder.
#[derive(Debug)]
pub struct VaeDecoder {
    scaling_factor: f64,
    post_quant: Option<Conv2d>,
    conv_in: Conv2d,
    mid_in: ResnetBlock,
    mid_attention: Option<MidAttention>,
    mid_out: ResnetBlock,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsample: Option<Upsample>,
}

impl VaeDecoder {
    /// Loads the decoder half of the weights.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(config: &VaeConfig, weights: &Weights, device: &Device) -> Load<Self> {
        let root = Scope::root(weights, device);
        let decoder = root.sub("decoder");
        let mid = decoder.sub("mid_block");
        let (latent, groups) = (config.latent_channels, config.norm_num_groups);
        let settings = ResnetSettings { groups, eps: 1e-6, time_channels: None };
        // The decoder runs from the coarsest block to the finest; the configuration lists them the other way.
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (coarsest, finest) = (channels[0], channels[channels.len() - 1]);
        let up = (0..channels.len())
            .map(|i| {
                let scope = decoder.sub("up_blocks").sub(i);
                let inputs = channels[i.saturating_sub(1)];
                UpBlock::load(
                    &scope,
                    inputs,
                    channels[i],
                    config.layers_per_block + 1,
                    i + 1 < channels.len(),
                    settings,
                )
            })
            .collect::<Load<_>>()?;
        Ok(Self {
            scaling_factor: config.scaling_factor,
            post_quant: config
                .use_post_quant_conv
                .then(|| root.sub("post_quant_conv").conv2d(latent, latent, 1, 1))
                .transpose()?,
            conv_in: decoder.sub("conv_in").conv2d(latent, coarsest, 3, 1)?,
            mid_in: ResnetBlock::load(&mid.sub("resnets.0"), coarsest, coarsest, settings)?,
            mid_attention: config
                .mid_block_add_attention
                .then(|| MidAttention::load(&mid.sub("attentions.0"), coarsest, groups))
                .transpose()?,
            mid_out: ResnetBlock::load(&mid.sub("resnets.1"), coarsest, coarsest, settings)?,
            up,
            norm_out: decoder.sub("conv_norm_out").group_norm(finest, groups, 1e-6)?,
            conv_out: decoder.sub("conv_out").conv2d(finest, config.out_channels, 3, 1)?,
        })
    }

    /// Latents `[batch, h, w, latent_channels]` of unit variance into pictures `[batch, h·scale, w·scale, 3]`, about
    /// `[-1, 1]`.
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> std::result::Result<Tensor, Halt> {
        cancel.checkpoint()?;
        let mut x = (latents / self.scaling_factor)?;
        if let Some(post_quant) = &self.post_quant {
            x = conv2d(&x, post_quant)?;
        }
        x = self.mid_in.forward(&conv2d(&x, &self.conv_in)?, None)?;
        if let Some(attention) = &self.mid_attention {
            cancel.checkpoint()?;
            x = attention.forward(&x)?;
        }
        cancel.checkpoint()?;
        x = self.mid_out.forward(&x, None)?;
        for block in &self.up {
            x = block.forward(x, cancel)?;
        }
        cancel.checkpoint()?;
        Ok(conv2d(&group_norm_silu(&x, &self.norm_out)?, &self.conv_out)?)
    }
}

impl UpBlock {
    fn load(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        layers: usize,
        upsamples: bool,
        settings: ResnetSettings,
    ) -> Load<Self> {
        let resnets = (0..layers)
            .map(|i| {
                let inputs = if i == 0 { inputs } else { outputs };
                ResnetBlock::load(&scope.sub("resnets").sub(i), inputs, outputs, settings)
            })
            .collect::<Load<_>>()?;
        let upsample = upsamples.then(|| Upsample::load(&scope.sub("upsamplers.0"), outputs)).transpose()?;
        Ok(Self { resnets, upsample })
    }

    fn forward(&self, mut x: Tensor, cancel: &CancelToken) -> std::result::Result<Tensor, Halt> {
        for resnet in &self.resnets {
            cancel.checkpoint()?;
            x = resnet.forward(&x, None)?;
        }
        if let Some(upsample) = &self.upsample {
            cancel.checkpoint()?;
            let (_, height, width, _) = x.dims4()?;
            x = upsample.forward(&x, 2 * height, 2 * width)?;
        }
        Ok(x)
    }
}

/// Attention of one head over all cells.
#[derive(Debug)]
struct MidAttention {
    norm: GroupNorm,
    queries: Linear,
    keys: Linear,
    values: Linear,
    out: Linear,
}

impl MidAttention {
    fn load(scope: &Scope, channels: usize, groups: usize) -> Load<Self> {
        // Checkpoints from before diffusers 0.15 have the second name.
        let linear = |name: &str, legacy: &str| {
            let legacy_is_there = scope.contains(&format!("{legacy}.weight"));
            scope.sub(if legacy_is_there { legacy } else { name }).linear(channels, channels)
        };
        Ok(Self {
            norm: scope.sub("group_norm").group_norm(channels, groups, 1e-6)?,
            queries: linear("to_q", "query")?,
            keys: linear("to_k", "key")?,
            values: linear("to_v", "value")?,
            out: linear("to_out.0", "proj_attn")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = x.dims4()?;
        let y = group_norm(x, &self.norm)?.reshape((batch, height * width, channels))?;
        let (q, k, v) = (linear(&y, &self.queries)?, linear(&y, &self.keys)?, linear(&y, &self.values)?);
        let y = linear(&attention(&q, &k, &v, 1, false)?, &self.out)?;
        y.reshape((batch, height, width, channels))? + x
    }
}

type Load<T> = std::result::Result<T, LoadError>;
