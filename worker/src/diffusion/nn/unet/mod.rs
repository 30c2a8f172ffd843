//! UNet2DConditionModel (Rombach et al. 2022; Podell et al. 2023 for SDXL; diffusers' class of that name).
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `unet/config.json` |
//! | `conditioning` | what a walk is given besides latents, and what the layers take of it, made once for all steps |
//! | `path` | the blocks of the way down, of the middle and of the way up |

mod conditioning;
pub mod config;
mod path;

use candle_core::{DType, Device, Tensor};

pub use conditioning::{AddedConditioning, Conditioning, UnetInput};
pub use config::{AdditionConfig, UnetConfig};

use self::conditioning::{ConditionEmbedding, LayerInput};
use self::path::{DownBlock, Layer, MidBlock, UpBlock};
use super::blocks::ResnetSettings;
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{self, Conv2d, GroupNorm, Recorder, conv2d, group_norm_silu, silu, together};
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
    recorder: Recorder,
}

/// What the blocks of one call are given.
struct Call<'a> {
    /// For the layers that are still to come.
    layers: std::slice::Iter<'a, LayerInput>,
    cancel: &'a CancelToken,
}

impl<'a> Call<'a> {
    /// For the next layer.
    fn next_layer(&mut self) -> candle_core::Result<&'a LayerInput> {
        match self.layers.next() {
            Some(layer) => Ok(layer),
            None => candle_core::bail!("this network has more layers than the one that was conditioned"),
        }
    }
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
            recorder: Recorder::default(),
        })
    }

    /// What the layers take of `input` at each of the `timesteps`, which count in training steps and may be fractional.
    /// No picture is in it, so that a walk makes it once, before its first step.
    ///
    /// # Errors
    /// When the token is set, `input` lacks what the network is conditioned on or has what it does not know, or
    /// memory runs out.
    pub fn condition(&self, input: &UnetInput, timesteps: &[f64], cancel: &CancelToken) -> Result<Conditioning, Halt> {
        together(self.embedding.device(), || {
            cancel.checkpoint()?;
            // Every layer takes the embedding under this activation.
            let time = silu(&self.embedding.forward(timesteps, input)?)?;
            let context = input.context.to_dtype(self.dtype)?;
            let layers = self.layers().map(|layer| layer.condition(&time, &context, cancel));
            Ok(Conditioning::new(layers.collect::<Result<_, Halt>>()?)?)
        })
    }

    /// In the order of the walk through the network.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        let down = self.down.iter().flat_map(DownBlock::layers);
        down.chain(self.mid.layers()).chain(self.up.iter().flat_map(UpBlock::layers))
    }

    /// Whether a call says of an item what it says of it among others, to the last bit.
    pub fn keeps_items_apart(&self) -> bool {
        ops::keep_items_apart(self.embedding.device(), self.dtype)
    }

    /// `latents` is `[batch, h, w, in_channels]`; `[batch, h, w, out_channels]` f32 comes back. The batch is as large as
    /// that of what it is conditioned on, or a multiple of it: then as many pictures in a row share an item. `step` counts
    /// the timesteps of `conditioning`.
    ///
    /// # Errors
    /// When the token is set, the conditioning is that of another network, batch or walk, or memory runs out.
    pub fn forward(
        &self,
        latents: &Tensor,
        step: usize,
        conditioning: &Conditioning,
        cancel: &CancelToken,
    ) -> Result<Tensor, Halt> {
        together(latents.device(), || {
            cancel.checkpoint()?;
            let inputs = [vec![latents.clone()], conditioning.at(step)?].concat();
            self.recorder.run(&inputs, |inputs| {
                let (latents, tensors) = inputs.split_first().expect("latents are the first of them");
                self.walk(latents, &conditioning.layers(tensors, latents.dim(0)?)?, cancel)
            })
        })
    }

    fn walk(&self, latents: &Tensor, layers: &[LayerInput], cancel: &CancelToken) -> Result<Tensor, Halt> {
        let mut call = Call { layers: layers.iter(), cancel };
        let mut x = conv2d(&latents.to_dtype(self.dtype)?, &self.conv_in)?;
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, &mut call, &mut skips)?;
        }
        x = self.mid.forward(&x, &mut call)?;
        for block in &self.up {
            x = block.forward(x, &mut call, &mut skips)?;
        }
        cancel.checkpoint()?;
        Ok(conv2d(&group_norm_silu(&x, &self.norm_out)?, &self.conv_out)?.to_dtype(DType::F32)?)
    }
}
