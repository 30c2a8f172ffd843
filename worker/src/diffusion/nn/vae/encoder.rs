//! From pictures to the distribution of their latents.

use candle_core::{D, DType, Device, Tensor};

use super::config::{LatentScaling, NORM_EPS, VaeConfig};
use super::middle::MidBlock;
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::nn::blocks::{Downsample, ResnetBlock};
use crate::diffusion::ops::{Conv2d, GroupNorm, Padding, conv2d, group_norm_silu, together};
use crate::diffusion::weights::{LoadError, Scope, Weights};

/// The encoder half.
#[derive(Debug)]
pub struct VaeEncoder {
    scaling: LatentScaling,
    conv_in: Conv2d,
    down: Vec<DownBlock>,
    mid: MidBlock,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    quant: Option<Conv2d>,
    dtype: DType,
    /// Pixels along one side of a latent cell.
    scale: usize,
    /// Numbers that a latent cell's distribution has.
    moments: usize,
}

#[derive(Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsample: Option<Downsample>,
}

/// One row and one column of zeros below and on the right, before each halving.
const HALVING: Padding = Padding { before: 0, behind: 1 };

impl VaeEncoder {
    /// Whether `weights` have the encoder half; some are published without.
    pub fn is_in(weights: &Weights) -> bool {
        weights.contains("encoder.conv_in.weight")
    }

    /// Loads the encoder half of the weights, to compute in `dtype`.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(config: &VaeConfig, weights: &Weights, device: &Device, dtype: DType) -> Load<Self> {
        let root = Scope::root(weights, device, dtype);
        let scope = root.sub("encoder");
        let channels = config.block_out_channels.as_slice();
        let (finest, coarsest) = (channels[0], channels[channels.len() - 1]);
        // Mean and logarithm of the variance of each channel.
        let moments = 2 * config.latent_channels;
        let load_block = |i: usize| {
            let ends = [channels[i.saturating_sub(1)], channels[i]];
            let coarser_follows = i + 1 < channels.len();
            DownBlock::load(&scope.sub("down_blocks").sub(i), ends, config, coarser_follows)
        };
        Ok(Self {
            scaling: config.scaling,
            conv_in: scope.sub("conv_in").conv2d(config.in_channels, finest, 3, 1)?,
            down: (0..channels.len()).map(load_block).collect::<Load<_>>()?,
            mid: MidBlock::load(&scope, config)?,
            norm_out: scope.sub("conv_norm_out").group_norm(coarsest, config.norm_num_groups, NORM_EPS)?,
            conv_out: scope.sub("conv_out").conv2d(coarsest, moments, 3, 1)?,
            quant: config.use_quant_conv.then(|| root.sub("quant_conv").conv2d(moments, moments, 1, 1)).transpose()?,
            dtype,
            scale: config.scale(),
            moments,
        })
    }

    /// Size of the [`Posterior`] of one picture of this width and height in px.
    pub fn posterior_bytes(&self, (width, height): (u32, u32)) -> usize {
        let cells = (width as usize / self.scale) * (height as usize / self.scale);
        cells * self.moments * DType::F32.size_in_bytes()
    }

    /// Pictures `[batch, height, width, 3]` in `[-1, 1]` into the distribution of their latents, `[batch,
    /// ⌊height/scale⌋, ⌊width/scale⌋, latent_channels]`.
    ///
    /// # Errors
    /// When the token is set, a picture is smaller than a latent cell, or memory runs out.
    pub fn encode(&self, pictures: &Tensor, cancel: &CancelToken) -> Result<Posterior, Halt> {
        together(pictures.device(), || {
            cancel.checkpoint()?;
            let mut x = conv2d(&pictures.to_dtype(self.dtype)?, &self.conv_in)?;
            for block in &self.down {
                x = block.forward(x, cancel)?;
            }
            x = self.mid.forward(&x, cancel)?;
            cancel.checkpoint()?;
            x = conv2d(&group_norm_silu(&x, &self.norm_out)?, &self.conv_out)?;
            if let Some(quant) = &self.quant {
                x = conv2d(&x, quant)?;
            }
            Ok(Posterior::new(&x.to_dtype(DType::F32)?, self.scaling)?)
        })
    }
}

impl DownBlock {
    fn load(scope: &Scope, [inputs, outputs]: [usize; 2], config: &VaeConfig, downsamples: bool) -> Load<Self> {
        let settings = config.resnets();
        let resnets = (0..config.layers_per_block)
            .map(|i| {
                let inputs = if i == 0 { inputs } else { outputs };
                ResnetBlock::load(&scope.sub("resnets").sub(i), inputs, outputs, settings)
            })
            .collect::<Load<_>>()?;
        let downsample =
            downsamples.then(|| Downsample::load(&scope.sub("downsamplers.0"), outputs, HALVING)).transpose()?;
        Ok(Self { resnets, downsample })
    }

    fn forward(&self, mut x: Tensor, cancel: &CancelToken) -> Result<Tensor, Halt> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, None, cancel)?;
        }
        if let Some(downsample) = &self.downsample {
            cancel.checkpoint()?;
            x = downsample.forward(&x)?;
        }
        Ok(x)
    }
}

/// The distribution of the latents of pictures: normal, each number on its own (Kingma and Welling 2014; diffusers'
/// `DiagonalGaussianDistribution`).
#[derive(Clone, Debug)]
pub struct Posterior {
    /// `[batch, h, w, latent_channels]` f32, in the units of the autoencoder.
    pub mean: Tensor,
    /// Logarithm of the variance, of the same shape and units, within `[-30, 20]`.
    pub logvar: Tensor,
    scaling: LatentScaling,
}

impl Posterior {
    /// `moments` is `[batch, h, w, 2 · latent_channels]` f32: all means, then all logarithms of variances.
    fn new(moments: &Tensor, scaling: LatentScaling) -> candle_core::Result<Self> {
        let channels = moments.dim(D::Minus1)? / 2;
        let mean = moments.narrow(D::Minus1, 0, channels)?.contiguous()?;
        let logvar = moments.narrow(D::Minus1, channels, channels)?.contiguous()?.clamp(-30f32, 20f32)?;
        Ok(Self { mean, logvar, scaling })
    }

    /// The latents that `noise`, of the shape of [`Self::mean`] and unit variance, picks: for the UNet, already scaled.
    ///
    /// # Errors
    /// When shapes do not fit or memory runs out.
    pub fn sample(&self, noise: &Tensor) -> candle_core::Result<Tensor> {
        let deviation = (&self.logvar * 0.5)?.exp()?;
        self.scaling.unit_from_vae(&(&self.mean + (deviation * noise)?)?)
    }

    /// The likeliest latents: for the UNet, already scaled.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn mode(&self) -> candle_core::Result<Tensor> {
        self.scaling.unit_from_vae(&self.mean)
    }
}

type Load<T> = Result<T, LoadError>;
