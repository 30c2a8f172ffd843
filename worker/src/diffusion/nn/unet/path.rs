//! The blocks of the way down, of the middle and of the way up. What the way down leaves, the way up takes back.

use candle_core::Tensor;

use super::Conditioning;
use super::config::UnetConfig;
use crate::diffusion::cancel::Halt;
use crate::diffusion::nn::blocks::{Downsample, ResnetBlock, ResnetSettings, Upsample};
use crate::diffusion::nn::transformer::SpatialTransformer;
use crate::diffusion::ops::Padding;
use crate::diffusion::weights::{LoadError, Scope};

/// A residual block with its attention, where the level has one.
#[derive(Debug)]
struct Layer {
    resnet: ResnetBlock,
    attention: Option<SpatialTransformer>,
}

impl Layer {
    fn forward(&self, x: &Tensor, given: &Conditioning) -> Result<Tensor, Halt> {
        given.cancel.checkpoint()?;
        let x = self.resnet.forward(x, Some(&given.time))?;
        let Some(attention) = &self.attention else { return Ok(x) };
        given.cancel.checkpoint()?;
        Ok(attention.forward(&x, &given.context)?)
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

    /// Pushes one skip per layer, and one after downsampling.
    pub(super) fn forward(&self, mut x: Tensor, given: &Conditioning, skips: &mut Vec<Tensor>) -> Result<Tensor, Halt> {
        for layer in &self.layers {
            x = layer.forward(&x, given)?;
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            given.cancel.checkpoint()?;
            x = downsample.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// Diffusers' `UNetMidBlock2DCrossAttn` of one layer.
#[derive(Debug)]
pub(super) struct MidBlock {
    before: ResnetBlock,
    attention: SpatialTransformer,
    behind: ResnetBlock,
}

impl MidBlock {
    /// Loads the block between the way down and the way up.
    pub(super) fn load(root: &Scope, config: &UnetConfig, settings: ResnetSettings) -> Result<Self, LoadError> {
        let scope = root.sub("mid_block");
        let coarsest = &config.blocks[config.blocks.len() - 1];
        let resnet = |name| ResnetBlock::load(&scope.sub(name), coarsest.channels, coarsest.channels, settings);
        Ok(Self {
            before: resnet("resnets.0")?,
            attention: SpatialTransformer::load(&scope.sub("attentions.0"), config.transformer(coarsest))?,
            behind: resnet("resnets.1")?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, given: &Conditioning) -> Result<Tensor, Halt> {
        given.cancel.checkpoint()?;
        let x = self.before.forward(x, Some(&given.time))?;
        given.cancel.checkpoint()?;
        let x = self.attention.forward(&x, &given.context)?;
        given.cancel.checkpoint()?;
        Ok(self.behind.forward(&x, Some(&given.time))?)
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

    /// Pops one skip per layer. The picture grows to the size of the next skip, which is odd where the way down
    /// rounded up.
    pub(super) fn forward(&self, mut x: Tensor, given: &Conditioning, skips: &mut Vec<Tensor>) -> Result<Tensor, Halt> {
        for layer in &self.layers {
            let skip = skips.pop().expect("the way down pushed one skip for each layer of the way up");
            x = layer.forward(&Tensor::cat(&[&x, &skip], 3)?, given)?;
        }
        if let Some(upsample) = &self.upsample {
            given.cancel.checkpoint()?;
            let next = skips.last().expect("a finer block follows, and its skips are still there");
            let (_, height, width, _) = next.dims4()?;
            x = upsample.forward(&x, height, width)?;
        }
        Ok(x)
    }
}
