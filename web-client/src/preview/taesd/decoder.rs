//! A decoder, read and checked.

use super::DecoderError;
use super::config::Shape;
use super::file::File;

/// A 3×3 convolution with a border of zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Channels that it reads.
    pub inputs: usize,
    /// Channels that it writes.
    pub outputs: usize,
    /// `[outputs, inputs, 3, 3]`
    pub weight: Vec<f32>,
    /// `[outputs]`; zeros where the file has none.
    pub bias: Vec<f32>,
}

/// Layers of one resolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Of each residual block `relu(c(relu(b(relu(a(x))))) + x)` the convolutions a, b and c.
    pub blocks: Vec<[Convolution; 3]>,
    /// What follows them: of the last level the convolution to RGB, of the others one that is read at twice the
    /// resolution, every pixel standing for four.
    pub end: Convolution,
}

/// The decoder of an `AutoencoderTiny`: diffusers' `DecoderTiny`.
///
/// From `[height, width, latent_channels]` latents as the UNet has them, of unit variance, to
/// `[height · scale, width · scale, 3]` RGB.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoder {
    shape: Shape,
    /// The first convolution, before a ReLU.
    pub stem: Convolution,
    /// From the resolution of latents to that of pictures.
    pub levels: Vec<Level>,
}

impl Decoder {
    /// Reads a safetensors file with the tensors `decoder.layers.…`, f32, f16 or bf16, and under `config` of its
    /// metadata the `config.json` as a text.
    ///
    /// # Errors
    /// When it is none, lacks a tensor, or is of a kind that is not computed here.
    pub fn read(bytes: &[u8]) -> Result<Self, DecoderError> {
        let file = File::open(bytes)?;
        let shape = Shape::parse(file.metadata("config").ok_or(DecoderError::NoConfig)?)?;
        let convolution = |layer: &str, inputs, outputs, has_bias: bool| {
            let bias = format!("decoder.layers.{layer}.bias");
            Ok(Convolution {
                inputs,
                outputs,
                weight: file.tensor(&format!("decoder.layers.{layer}.weight"), &[outputs, inputs, 3, 3])?,
                bias: if has_bias { file.tensor(&bias, &[outputs])? } else { vec![0.0; outputs] },
            })
        };
        let channels = shape.channels;
        let stem = convolution("0", shape.latent_channels, channels, true)?;
        // Layer 1 is the first ReLU.
        let mut layer = 2;
        let mut levels = Vec::new();
        for (at, &blocks) in shape.blocks.iter().enumerate() {
            let is_last = at + 1 == shape.blocks.len();
            let block = |layer: usize| {
                let part = |part| convolution(&format!("{layer}.conv.{part}"), channels, channels, true);
                Ok([part(0)?, part(2)?, part(4)?])
            };
            let read = (layer..layer + blocks).map(block).collect::<Result<_, _>>()?;
            // Upsampling is a layer without tensors.
            layer += blocks + usize::from(!is_last);
            let end = convolution(&layer.to_string(), channels, if is_last { 3 } else { channels }, is_last)?;
            layer += 1;
            levels.push(Level { blocks: read, end });
        }
        Ok(Self { shape, stem, levels })
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }
}
