//! UNet2DConditionModel (Rombach et al. 2022; Podell et al. 2023 for SDXL; diffusers' class of that name).
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `unet/config.json` |
//! | `conditioning` | what a call is given besides latents, and the time embedding made of it |
//! | `path` | the blocks of the way down, of the middle and of the way up |

mod conditioning;
pub mod config;
mod path;

use candle_core::{DType, Device, Tensor};

pub use conditioning::{AddedConditioning, UnetInput};
pub use config::{AdditionConfig, UnetConfig};

use self::conditioning::ConditionEmbedding;
use self::path::{DownBlock, MidBlock, UpBlock};
use super::blocks::ResnetSettings;
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{Conv2d, GroupNorm, conv2d, group_norm_silu};
use crate::diffusion::weights::{LoadError, Scope, Weights};

/// The network that predicts noise, velocity or the clean latent.
#[derive(Debug)]
pub struct Unet {
    embedding: ConditionEmbedding,
    conv_in: Conv2d,
    down: Vec<DownBlock>,
    mid: MidBlock,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    dtype: DType,
}

/// What every block of one call is given.
struct Conditioning<'a> {
    /// Time embedding, `[batch or 1, 4 · block_out_channels[0]]`.
    time: Tensor,
    /// Text, `[batch, tokens, cross_attention_dim]`.
    context: Tensor,
    cancel: &'a CancelToken,
}

impl Unet {
    /// Loads the network to compute in `dtype`.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(config: &UnetConfig, weights: &Weights, device: &Device, dtype: DType) -> Result<Self, LoadError> {
        let root = Scope::root(weights, device, dtype);
        let levels = config.blocks.len();
        let finest = config.blocks[0].channels;
        let (groups, eps) = (config.norm_num_groups, config.norm_eps);
        let settings = ResnetSettings { groups, eps, time_channels: Some(config.time_channels()) };
        Ok(Self {
            embedding: ConditionEmbedding::load(&root, config)?,
            conv_in: root.sub("conv_in").conv2d(config.in_channels, finest, 3, 1)?,
            down: (0..levels).map(|i| DownBlock::load(&root, config, i, settings)).collect::<Result<_, _>>()?,
            mid: MidBlock::load(&root, config, settings)?,
            up: (0..levels).map(|i| UpBlock::load(&root, config, i, settings)).collect::<Result<_, _>>()?,
            norm_out: root.sub("conv_norm_out").group_norm(finest, groups, eps)?,
            conv_out: root.sub("conv_out").conv2d(finest, config.out_channels, 3, 1)?,
            dtype,
        })
    }

    /// `latents` is `[batch, h, w, in_channels]`; `[batch, h, w, out_channels]` f32 comes back. `timestep` counts in
    /// training steps and may be fractional.
    ///
    /// # Errors
    /// When the token is set, `input` lacks what the network is conditioned on or has what it does not know, or
    /// memory runs out.
    pub fn forward(
        &self,
        latents: &Tensor,
        timestep: f64,
        input: &UnetInput,
        cancel: &CancelToken,
    ) -> Result<Tensor, Halt> {
        cancel.checkpoint()?;
        let time = self.embedding.forward(timestep, input)?;
        let given = Conditioning { time, context: input.context.to_dtype(self.dtype)?, cancel };
        let mut x = conv2d(&latents.to_dtype(self.dtype)?, &self.conv_in)?;
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, &given, &mut skips)?;
        }
        x = self.mid.forward(&x, &given)?;
        for block in &self.up {
            x = block.forward(x, &given, &mut skips)?;
        }
        cancel.checkpoint()?;
        Ok(conv2d(&group_norm_silu(&x, &self.norm_out)?, &self.conv_out)?.to_dtype(DType::F32)?)
    }
}
