//! From a preview latent to pixels, by a linear map or by a decoder, each of them twice: as shaders for the GPU and in
//! plain Rust.
//!
//! | file | what it holds |
//! |---|---|
//! | `basis.wgsl` | the shader: one full-screen pass from a latent texture to display RGB |
//! | [`basis`] | its other half in Rust: the texture and the uniform block that it reads |
//! | [`sampling`] | how many canvas pixels a latent cell covers, and the filter between cells |
//! | [`oracle`] | the same picture computed on the CPU: the 2D-canvas fallback and the test of the shader |
//! | [`taesd`] | the decoder of an `AutoencoderTiny`: its weights, its passes on a GPU, its oracle |
//! | [`choice`] | whether a preview goes through the decoder: by measured time |
//! | [`pace`] | how often previews are drawn: as the screen shows them |
//! | [`recovery`] | when a lost GPU is tried again |
//!
//! # Invariants
//! * The linear map draws a frame at [`sampling::canvas_size`] pixels, whoever draws it.
//! * The shaders and their oracles agree within 2/255 in every channel of every pixel.
//! * Nothing here touches a browser or a device; `gpu` and `web` do.

pub mod basis;
pub mod choice;
pub mod oracle;
pub mod pace;
pub mod recovery;
pub mod sampling;
pub mod taesd;

#[cfg(test)]
mod tests;

use sd_protocol::binary::{DecodeError, HEADER_BYTES};
use sd_protocol::{FrameHeader, PreviewBasis};

/// Most channels of a latent that can be drawn; the largest models known have 64 after packing.
pub const CHANNELS_MAX: usize = 64;

/// Why a frame cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes are no binary frame of this protocol.
    #[error("the frame could not be read")]
    Decode(#[from] DecodeError),
    /// The frame and the model's basis do not belong together.
    #[error("the basis has {rows} rows, the latent has {channels} channels and at most {CHANNELS_MAX} can be drawn")]
    Channels {
        /// Channels of a cell, padding included.
        channels: usize,
        /// Rows of the basis.
        rows: usize,
    },
    /// The frame and the model's decoder do not belong together.
    #[error("the decoder reads {wanted} channels, the latent has {channels}")]
    DecoderChannels {
        /// Channels of a cell, padding included.
        channels: usize,
        /// Channels that the decoder reads.
        wanted: usize,
    },
}

/// A preview latent that fits its basis, still in the bytes it arrived in.
///
/// Its payload is `[height, width, channels]`, f16 or u8, channels last, padded to a multiple of four.
#[derive(Clone, Copy, Debug)]
pub struct Latent<'a> {
    header: FrameHeader,
    payload: &'a [u8],
    basis: &'a PreviewBasis,
}

impl<'a> Latent<'a> {
    /// Reads a whole binary frame and checks it against `basis`.
    ///
    /// # Errors
    /// When `frame` is no preview frame, or has fewer channels than the basis has rows.
    pub fn new(frame: &'a [u8], basis: &'a PreviewBasis) -> Result<Self, FrameError> {
        let header = FrameHeader::decode(frame)?;
        let (channels, rows) = (usize::from(header.channels), basis.rows.len());
        if channels > CHANNELS_MAX || rows > channels {
            return Err(FrameError::Channels { channels, rows });
        }
        Ok(Self { header, payload: &frame[HEADER_BYTES..], basis })
    }

    /// What the frame says about itself.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The bytes behind the header, as they go to the GPU.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The map to display RGB.
    pub fn basis(&self) -> &'a PreviewBasis {
        self.basis
    }

    /// Width and height of the canvas that shows it, in px.
    pub fn canvas_size(&self) -> (u32, u32) {
        sampling::canvas_size(self.header.width, self.header.height)
    }
}
