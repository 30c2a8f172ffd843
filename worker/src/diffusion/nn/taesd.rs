//! The decoder of an `AutoencoderTiny` (TAESD), which makes of a latent nearly the picture that the VAE would.
//!
//! The networks are O. Boer Bohan's TAESD (<https://github.com/madebyollin/taesd>) as diffusers has them:
//! `DecoderTiny` and `AutoencoderTinyBlock`, with 3×3 convolutions and ReLU alone.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor};
use serde::Deserialize;

use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{Activation, Conv2d, Ending, Padding, conv2d_then, together, upsample_conv2d};

/// Most bytes of one activation of the last level, which has the size of the picture; larger ones are made in bands.
const BAND_BYTES_MAX: usize = 64 << 20;

/// The decoder's half of `config.json`; absent keys have the defaults of diffusers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TinyConfig {
    /// Channels of a latent.
    pub latent_channels: usize,
    /// From the resolution of latents to that of pictures.
    pub decoder_block_out_channels: Vec<usize>,
    /// Residual blocks at each resolution.
    pub num_decoder_blocks: Vec<usize>,
}

impl Default for TinyConfig {
    fn default() -> Self {
        Self { latent_channels: 4, decoder_block_out_channels: vec![64; 4], num_decoder_blocks: vec![3, 3, 3, 1] }
    }
}

/// A member of the decoder's `nn.Sequential`.
#[derive(Clone, Copy, Debug)]
enum Member {
    Conv { inputs: usize, outputs: usize, has_bias: bool },
    Relu,
    Block { channels: usize },
    Upsample,
}

/// Members of a block's own `nn.Sequential` that are convolutions; a ReLU stands between two of them.
const BLOCK_CONVS: [usize; 3] = [0, 2, 4];

impl TinyConfig {
    /// All of them, from the latent to the picture: tensors are called after their places in this list.
    fn members(&self) -> Vec<Member> {
        let levels = self.decoder_block_out_channels.len();
        let first = self.decoder_block_out_channels[0];
        let mut members =
            vec![Member::Conv { inputs: self.latent_channels, outputs: first, has_bias: true }, Member::Relu];
        let each_level = self.decoder_block_out_channels.iter().zip(&self.num_decoder_blocks).enumerate();
        for (level, (&channels, &blocks)) in each_level {
            members.extend(std::iter::repeat_n(Member::Block { channels }, blocks));
            if level + 1 < levels {
                members.push(Member::Upsample);
                members.push(Member::Conv { inputs: channels, outputs: channels, has_bias: false });
            } else {
                members.push(Member::Conv { inputs: channels, outputs: 3, has_bias: true });
            }
        }
        members
    }

    /// Names and sides of all tensors, in the order of the layers.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        let mut conv = |name: String, inputs: usize, outputs: usize, has_bias: bool| {
            shapes.push((format!("decoder.layers.{name}.weight"), vec![outputs, inputs, 3, 3]));
            if has_bias {
                shapes.push((format!("decoder.layers.{name}.bias"), vec![outputs]));
            }
        };
        for (place, member) in self.members().into_iter().enumerate() {
            match member {
                Member::Conv { inputs, outputs, has_bias } => conv(place.to_string(), inputs, outputs, has_bias),
                Member::Block { channels } => {
                    for part in BLOCK_CONVS {
                        conv(format!("{place}.conv.{part}"), channels, channels, true);
                    }
                }
                Member::Relu | Member::Upsample => {}
            }
        }
        shapes
    }
}

/// The decoder.
#[derive(Debug)]
pub struct TinyDecoder {
    /// Up to the last upsampling.
    head: Vec<Layer>,
    /// From there on: the level that has the size of the picture.
    tail: Vec<Layer>,
}

#[derive(Debug)]
enum Layer {
    Conv {
        conv: Conv2d,
        /// Whether it sees a picture of twice the size.
        grown: bool,
        /// Whether a ReLU follows.
        relu: bool,
    },
    /// `relu(c(relu(b(relu(a(x))))) + x)`
    Block([Conv2d; 3]),
}

impl TinyDecoder {
    /// The decoder of these tensors, which have the names and sides of [`TinyConfig::shapes`]. It computes in f32 on
    /// the device where they are.
    ///
    /// # Errors
    /// When a tensor is not there or has other sides.
    pub fn new(config: &TinyConfig, tensors: &HashMap<String, Tensor>) -> Result<Self> {
        let tensor = |name: String| match tensors.get(&name) {
            Some(tensor) => tensor.to_dtype(DType::F32),
            None => Err(candle_core::Error::CannotFindTensor { path: name }),
        };
        let conv = |name: String, has_bias: bool| {
            let bias = has_bias.then(|| tensor(format!("decoder.layers.{name}.bias"))).transpose()?;
            Conv2d::new(&tensor(format!("decoder.layers.{name}.weight"))?, bias, 1, Padding::same(3))
        };
        let mut head = Vec::new();
        // Members without tensors say something of the convolution before or behind them.
        let mut grown = false;
        for (place, member) in config.members().into_iter().enumerate() {
            match member {
                Member::Conv { has_bias, .. } => {
                    head.push(Layer::Conv { conv: conv(place.to_string(), has_bias)?, grown, relu: false });
                    grown = false;
                }
                Member::Block { .. } => {
                    let [a, b, c] = BLOCK_CONVS.map(|part| conv(format!("{place}.conv.{part}"), true));
                    head.push(Layer::Block([a?, b?, c?]));
                }
                Member::Relu => {
                    if let Some(Layer::Conv { relu, .. }) = head.last_mut() {
                        *relu = true;
                    }
                }
                Member::Upsample => grown = true,
            }
        }
        let last_level = head.iter().rposition(|layer| matches!(layer, Layer::Conv { grown: true, .. }));
        let tail = head.split_off(last_level.unwrap_or(0));
        Ok(Self { head, tail })
    }

    /// Latents `[batch, h, w, latent_channels]` of unit variance, as the UNet has them, into pictures
    /// `[batch, h·scale, w·scale, 3]` f32, about `[-1, 1]`.
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> std::result::Result<Tensor, Halt> {
        together(latents.device(), || self.decode_in_bands(latents, cancel, BAND_BYTES_MAX))
    }

    fn decode_in_bands(
        &self,
        latents: &Tensor,
        cancel: &CancelToken,
        band_bytes: usize,
    ) -> std::result::Result<Tensor, Halt> {
        // The first line of `DecoderTiny.forward`.
        let clamped = ((latents / 3.0)?.tanh()? * 3.0)?;
        let x = run(&self.head, clamped, cancel)?;
        let scale = if matches!(self.tail.first(), Some(Layer::Conv { grown: true, .. })) { 2 } else { 1 };
        // What lies beyond the edge of a band reaches one pixel further with every convolution.
        let reach = self.tail.iter().map(Layer::convolutions).sum::<usize>().div_ceil(scale);
        let (batch, rows, columns, channels) = x.dims4()?;
        let row_bytes = batch * columns * scale * scale * channels * DType::F32.size_in_bytes();
        let band = (band_bytes / row_bytes).max(2 * reach).min(rows);
        let mut bands = Vec::with_capacity(rows.div_ceil(band));
        for first in (0..rows).step_by(band) {
            let end = (first + band).min(rows);
            let from = first.saturating_sub(reach);
            let seen = x.narrow(1, from, (end + reach).min(rows) - from)?.contiguous()?;
            let drawn = run(&self.tail, seen, cancel)?;
            bands.push(drawn.narrow(1, (first - from) * scale, (end - first) * scale)?);
        }
        let rgb = Tensor::cat(&bands, 1)?;
        Ok(rgb.affine(2.0, -1.0)?)
    }
}

impl Layer {
    fn convolutions(&self) -> usize {
        match self {
            Self::Conv { .. } => 1,
            Self::Block(convs) => convs.len(),
        }
    }
}

fn run(layers: &[Layer], mut x: Tensor, cancel: &CancelToken) -> std::result::Result<Tensor, Halt> {
    for layer in layers {
        cancel.checkpoint()?;
        let relu = Ending::activated(Activation::Relu);
        x = match layer {
            Layer::Conv { conv, grown, relu: followed } => {
                let ending = if *followed { relu } else { Ending::default() };
                let (_, height, width, _) = x.dims4()?;
                let scale = if *grown { 2 } else { 1 };
                upsample_conv2d(&x, conv, [scale * height, scale * width], ending)?
            }
            Layer::Block([a, b, c]) => {
                let y = conv2d_then(&x, a, relu)?;
                let y = conv2d_then(&y, b, relu)?;
                conv2d_then(&y, c, Ending { residual: Some(&x), ..relu })?
            }
        };
    }
    Ok(x)
}

#[cfg(test)]
mod tests;
