//! The blocks of the way down, of the middle and of the way up. What the way down leaves, the way up takes back.

use candle_core::Tensor;

use super::Call;
use super::conditioning::LayerInput;
use super::config::UnetConfig;
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::nn::blocks::{Downsample, ResnetBlock, ResnetSettings, Upsample};
use crate::diffusion::nn::transformer::{KeysValues, SpatialTransformer};
use crate::diffusion::ops::Padding;
use crate::diffusion::weights::{LoadError, Scope};

/// A residual block with its attention, where the level has one.
#[derive(Debug)]
pub(super) struct Layer {
    resnet: ResnetBlock,
    attention: Option<SpatialTransformer>,
}

impl Layer {
    /// What it takes of the time embedding under its activation, `[steps, items or 1, channels]`, and of the text,
    /// `[items, tokens, cross_attention_dim]`.
    pub(super) fn condition(
        &self,
        time: &Tensor,
        context: &Tensor,
        cancel: &CancelToken,
    ) -> Result<(Tensor, Vec<KeysValues>), Halt> {
        cancel.checkpoint()?;
        let Some(shift) = self.resnet.shift(time)? else {
            return Err(candle_core::Error::msg("a residual block of a UNet knows the time").into());
        };
        let texts = self.attention.as_ref().map(|attention| attention.read(context)).transpose()?;
        Ok((shift, texts.unwrap_or_default()))
    }

    fn forward(&self, x: &Tensor, call: &mut Call) -> Result<Tensor, Halt> {
        let LayerInput { shift, texts } = call.next_layer()?;
        let x = self.resnet.forward(x, Some(shift), call.cancel)?;
        match &self.attention {
            Some(attention) => attention.forward(&x, texts, call.cancel),
            None => Ok(x),
        }
    }
}

/// Diffusers' `DownBlock2D` and `CrossAttnDownBlock2D`.
#[derive(Debug)]
pub(super) struct DownBlock {
    layers: Vec<Layer>,
    downsample: Option<Downsample>,
}

impl DownBlock {
    /// Loads block `index`, counted from the finest.
    pub(super) fn load(
        root: &Scope,
        config: &UnetConfig,
        index: usize,
        settings: ResnetSettings,
    ) -> Result<Self, LoadError> {
        let scope = root.sub("down_blocks").sub(index);
        let block = &config.blocks[index];
        let layers = (0..block.layers)
            .map(|i| {
                let before = if i == 0 { index.saturating_sub(1) } else { index };
                let inputs = config.blocks[before].channels;
                Ok(Layer {
                    resnet: ResnetBlock::load(&scope.sub("resnets").sub(i), inputs, block.channels, settings)?,
                    attention: block
                        .down_attends
                        .then(|| SpatialTransformer::load(&scope.sub("attentions").sub(i), config.transformer(block)))
                        .transpose()?,
                })
            })
            .collect::<Result<_, LoadError>>()?;
        let coarser_follows = index + 1 < config.blocks.len();
        let downsample = coarser_follows
            .then(|| Downsample::load(&scope.sub("downsamplers.0"), block.channels, Padding::same(3)))
            .transpose()?;
        Ok(Self { layers, downsample })
    }

    /// In their order.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Pushes one skip per layer, and one after downsampling.
    pub(super) fn forward(&self, mut x: Tensor, call: &mut Call, skips: &mut Vec<Tensor>) -> Result<Tensor, Halt> {
        for layer in &self.layers {
            x = layer.forward(&x, call)?;
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            call.cancel.checkpoint()?;
            x = downsample.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// Diffusers' `UNetMidBlock2DCrossAttn` of one layer.
#[derive(Debug)]
pub(super) struct MidBlock([Layer; 2]);

impl MidBlock {
    /// Loads the block between the way down and the way up.
    pub(super) fn load(root: &Scope, config: &UnetConfig, settings: ResnetSettings) -> Result<Self, LoadError> {
        let scope = root.sub("mid_block");
        let coarsest = &config.blocks[config.blocks.len() - 1];
        let resnet = |name| ResnetBlock::load(&scope.sub(name), coarsest.channels, coarsest.channels, settings);
        let attention = SpatialTransformer::load(&scope.sub("attentions.0"), config.transformer(coarsest))?;
        Ok(Self([
            Layer { resnet: resnet("resnets.0")?, attention: Some(attention) },
            Layer { resnet: resnet("resnets.1")?, attention: None },
        ]))
    }

    /// In their order.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.0
    }

    pub(super) fn forward(&self, x: &Tensor, call: &mut Call) -> Result<Tensor, Halt> {
        let [before, behind] = &self.0;
        behind.forward(&before.forward(x, call)?, call)
    }
}

/// Diffusers' `UpBlock2D` and `CrossAttnUpBlock2D`.
#[derive(Debug)]
pub(super) struct UpBlock {
    layers: Vec<Layer>,
    upsample: Option<Upsample>,
}

impl UpBlock {
    /// Loads block `index`, counted from the coarsest.
    pub(super) fn load(
        root: &Scope,
        config: &UnetConfig,
        index: usize,
        settings: ResnetSettings,
    ) -> Result<Self, LoadError> {
        let scope = root.sub("up_blocks").sub(index);
        let level = config.blocks.len() - 1 - index;
        let block = &config.blocks[level];
        let coarser = &config.blocks[(level + 1).min(config.blocks.len() - 1)];
        let finer = &config.blocks[level.saturating_sub(1)];
        let last = block.layers;
        let layers = (0..=last)
            .map(|i| {
                let from_below = if i == 0 { coarser.channels } else { block.channels };
                let skip = if i == last { finer.channels } else { block.channels };
                let resnet = scope.sub("resnets").sub(i);
                Ok(Layer {
                    resnet: ResnetBlock::load(&resnet, from_below + skip, block.channels, settings)?,
                    attention: block
                        .up_attends
                        .then(|| SpatialTransformer::load(&scope.sub("attentions").sub(i), config.transformer(block)))
                        .transpose()?,
                })
            })
            .collect::<Result<_, LoadError>>()?;
        let upsample = (level > 0).then(|| Upsample::load(&scope.sub("upsamplers.0"), block.channels)).transpose()?;
        Ok(Self { layers, upsample })
    }

    /// In their order.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Pops one skip per layer. The picture grows to the size of the next skip, which is odd where the way down
    /// rounded up.
    pub(super) fn forward(&self, mut x: Tensor, call: &mut Call, skips: &mut Vec<Tensor>) -> Result<Tensor, Halt> {
        for layer in &self.layers {
            let skip = skips.pop().expect("the way down pushed one skip for each layer of the way up");
            x = layer.forward(&Tensor::cat(&[&x, &skip], 3)?, call)?;
        }
        if let Some(upsample) = &self.upsample {
            call.cancel.checkpoint()?;
            let next = skips.last().expect("a finer block follows, and its skips are still there");
            let (_, height, width, _) = next.dims4()?;
            x = upsample.forward(&x, height, width)?;
        }
        Ok(x)
    }
}
