//! The decoder of an `AutoencoderTiny` (TAESD), which makes of a latent nearly the picture that the VAE would.
//!
//! | file | what it holds |
//! |---|---|
//! | [`config`] | [`Shape`]: what `config.json` says, and what of it is computed here |
//! | `file` | the tensors of a safetensors file |
//! | [`decoder`] | [`Decoder`]: its layers with their weights |
//! | [`oracle`] | the picture in plain Rust, layer after layer as diffusers has them |
//! | [`plan`] | the passes of a GPU that make the same picture, and the memory that they share |
//! | [`packing`] | how weights lie in the buffers that the passes read |
//! | `taesd.wgsl` | the passes themselves; [`shader`] gives their text |
//!
//! The networks are O. Boer Bohan's TAESD (<https://github.com/madebyollin/taesd>) as diffusers has them:
//! `DecoderTiny` and `AutoencoderTinyBlock`, with 3×3 convolutions and ReLU alone.
//!
//! # Invariants
//! * What cannot be computed is refused when a file is read, with a name; afterwards nothing can fail but memory.
//! * The passes and the oracle agree within 2/255 in every channel of every pixel, in f32 and in f16.

pub mod config;
pub mod decoder;
mod file;
pub mod oracle;
pub mod packing;
pub mod plan;

#[cfg(test)]
pub(crate) mod examples;
#[cfg(test)]
mod tests;

pub use config::Shape;
pub use decoder::{Convolution, Decoder, Level};
pub use file::FILE_BYTES_MAX;

/// Why bytes are no decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecoderError {
    /// More bytes than are read.
    #[error("a preview decoder has at most {FILE_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
    /// The header or what it says of a tensor.
    #[error("a preview decoder is a safetensors file")]
    NoFile,
    /// The metadata.
    #[error("the metadata of a preview decoder has its config.json under \"config\"")]
    NoConfig,
    /// A value of `config.json`.
    #[error("{key} of the preview decoder is not supported; it may be {supported}")]
    Config {
        /// Its key.
        key: &'static str,
        /// What it may be.
        supported: &'static str,
    },
    /// A tensor that is not there.
    #[error("the preview decoder has no tensor {0}")]
    Missing(String),
    /// A tensor of another shape.
    #[error("{name} of the preview decoder has the sides {found:?}, not {expected:?}")]
    Sides {
        /// The tensor.
        name: String,
        /// In the file.
        found: Vec<u64>,
        /// From `config.json`.
        expected: Vec<usize>,
    },
    /// A tensor of other numbers.
    #[error("{name} of the preview decoder holds {found:?}; F32, F16 and BF16 are read")]
    Dtype {
        /// The tensor.
        name: String,
        /// In the file.
        found: String,
    },
}

/// The numbers that a GPU keeps between passes; sums are f32 with either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Everywhere.
    F32,
    /// Where the adapter has WebGPU's `shader-f16`: half the memory and its traffic.
    F16,
}

impl Precision {
    /// Bytes of one number.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// The shader's text.
pub fn shader(precision: Precision) -> String {
    let real = match precision {
        Precision::F32 => "alias real = f32;\n",
        Precision::F16 => "enable f16;\nalias real = f16;\n",
    };
    format!("{real}{}", include_str!("taesd.wgsl"))
}
