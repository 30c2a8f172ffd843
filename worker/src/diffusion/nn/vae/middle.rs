//! The attention between two residual blocks that both halves have at their coarsest resolution.

use candle_core::{Result, Tensor};

use super::config::{NORM_EPS, VaeConfig};
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::nn::blocks::ResnetBlock;
use crate::diffusion::ops::{Ending, GroupNorm, Heads, Linear, attention, group_norm, linear, linear_then};
use crate::diffusion::weights::{LoadError, Scope};

/// Diffusers' `UNetMidBlock2D` of one layer.
#[derive(Debug)]
pub(super) struct MidBlock {
    before: ResnetBlock,
    attention: Option<CellAttention>,
    behind: ResnetBlock,
}

impl MidBlock {
    /// Loads the block below `scope`, the encoder's or the decoder's.
    pub(super) fn load(scope: &Scope, config: &VaeConfig) -> Load<Self> {
        let scope = scope.sub("mid_block");
        let channels = config.block_out_channels[config.block_out_channels.len() - 1];
        let resnet = |name| ResnetBlock::load(&scope.sub(name), channels, channels, config.resnets());
        Ok(Self {
            before: resnet("resnets.0")?,
            attention: config
                .mid_block_add_attention
                .then(|| CellAttention::load(&scope.sub("attentions.0"), channels, config.norm_num_groups))
                .transpose()?,
            behind: resnet("resnets.1")?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, cancel: &CancelToken) -> std::result::Result<Tensor, Halt> {
        let mut x = self.before.forward(x, None, cancel)?;
        if let Some(attention) = &self.attention {
            cancel.checkpoint()?;
            x = attention.forward(&x)?;
        }
        self.behind.forward(&x, None, cancel)
    }
}

/// Attention of one head over all cells.
#[derive(Debug)]
struct CellAttention {
    norm: GroupNorm,
    queries: Linear,
    keys: Linear,
    values: Linear,
    out: Linear,
}

const ONE_HEAD: Heads = Heads { count: 1, causal: false, upcast: false };

impl CellAttention {
    fn load(scope: &Scope, channels: usize, groups: usize) -> Load<Self> {
        // Checkpoints from before diffusers 0.15 have the second name.
        let linear = |name: &str, legacy: &str| {
            let legacy_is_there = scope.contains(&format!("{legacy}.weight"));
            scope.sub(if legacy_is_there { legacy } else { name }).linear(channels, channels)
        };
        Ok(Self {
            norm: scope.sub("group_norm").group_norm(channels, groups, NORM_EPS)?,
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
        let y = attention(&q, &k, &v, ONE_HEAD)?.reshape((batch, height, width, channels))?;
        linear_then(&y, &self.out, Ending::plus(x))
    }
}

type Load<T> = std::result::Result<T, LoadError>;
