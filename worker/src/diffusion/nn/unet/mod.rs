//! UNet2DConditionModel (Rombach et al. 2022; diffusers' class of that name).
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `unet/config.json` |
//! | `sides` | the blocks of the way down and of the way up |

pub mod config;
mod sides;

use candle_core::{Device, Tensor};

pub use config::UnetConfig;

use self::sides::{DownBlock, UpBlock};
use super::blocks::{ResnetBlock, ResnetSettings};
use super::time::TimeEmbedding;
use super::transformer::SpatialTransformer;
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{Conv2d, GroupNorm, conv2d, group_norm_silu};
use crate::diffusion::weights::{LoadError, Scope, Weights};

/// The network that predicts noise, velocity or the clean latent.
#[derive(Debug)]
pub struct Unet {
    time: TimeEmbedding,
    conv_in: Conv2d,
    down: Vec<DownBlock>,
    mid_in: ResnetBlock,
    mid_attention: SpatialTransformer,
    mid_out: ResnetBlock,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// What every block of one call is given.
struct Conditioning<'a> {
    /// Time embedding, `[1, 4 · block_out_channels[0]]`.
    time: Tensor,
    /// Text, `[batch, tokens, cross_attention_dim]`.
    context: &'a Tensor,
    cancel: &'a CancelToken,
}

impl Unet {
    /// Loads the network.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(config: &UnetConfig, weights: &Weights, device: &Device) -> Result<Self, LoadError> {
        let root = Scope::root(weights, device);
        let blocks = config.blocks.as_slice();
        let (finest, coarsest) = (&blocks[0], &blocks[blocks.len() - 1]);
        let settings = ResnetSettings {
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            time_channels: Some(4 * finest.channels),
        };
        let mid = root.sub("mid_block");
        let mid_resnet = |name| ResnetBlock::load(&mid.sub(name), coarsest.channels, coarsest.channels, settings);
        Ok(Self {
            time: TimeEmbedding::load(
                &root.sub("time_embedding"),
                finest.channels,
                config.flip_sin_to_cos,
                config.freq_shift,
            )?,
            conv_in: root.sub("conv_in").conv2d(config.in_channels, finest.channels, 3, 1)?,
            down: (0..blocks.len()).map(|i| DownBlock::load(&root, config, i, settings)).collect::<Result<_, _>>()?,
            mid_in: mid_resnet("resnets.0")?,
            mid_attention: SpatialTransformer::load(&mid.sub("attentions.0"), config.transformer(coarsest))?,
            mid_out: mid_resnet("resnets.1")?,
            up: (0..blocks.len()).map(|i| UpBlock::load(&root, config, i, settings)).collect::<Result<_, _>>()?,
            norm_out: root.sub("conv_norm_out").group_norm(finest.channels, config.norm_num_groups, config.norm_eps)?,
            conv_out: root.sub("conv_out").conv2d(finest.channels, config.out_channels, 3, 1)?,
        })
    }

    /// `latents` is `[batch, h, w, in_channels]`, `context` `[batch, tokens, cross_attention_dim]`;
    /// `[batch, h, w, out_channels]` comes back. `timestep` counts in training steps and may be fractional.
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn forward(
        &self,
        latents: &Tensor,
        timestep: f64,
        context: &Tensor,
        cancel: &CancelToken,
    ) -> Result<Tensor, Halt> {
        cancel.checkpoint()?;
        let time = self.time.forward(timestep, latents.device())?;
        let given = Conditioning { time, context, cancel };
        let mut x = conv2d(latents, &self.conv_in)?;
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, &given, &mut skips)?;
        }
        cancel.checkpoint()?;
        x = self.mid_in.forward(&x, Some(&given.time))?;
        cancel.checkpoint()?;
        x = self.mid_attention.forward(&x, context)?;
        cancel.checkpoint()?;
        x = self.mid_out.forward(&x, Some(&given.time))?;
        for block in &self.up {
            x = block.forward(x, &given, &mut skips)?;
        }
        cancel.checkpoint()?;
        Ok(conv2d(&group_norm_silu(&x, &self.norm_out)?, &self.conv_out)?)
    }
}
