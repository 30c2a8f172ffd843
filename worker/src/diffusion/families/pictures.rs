//! Input pictures on their way into the latent space.

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

use super::stop::Stop;
use crate::diffusion::cancel::CancelToken;
use crate::diffusion::inpaint::pixel_mask;
use crate::diffusion::nn::vae::{Posterior, VaeEncoder};
use crate::diffusion::pipeline::GenerateError;
use crate::diffusion::pixels::{Mask, Raster, Rgb, tensor_from_picture};
use crate::diffusion::recent::{Recent, Reuse};

/// Most bytes of encoded pictures that a loaded model keeps, so that the same picture is not encoded again under
/// another prompt, mask or seed: 512 pictures of 512 × 512 px.
const ENCODED_BYTES_MAX: usize = 64 << 20;

/// The VAE's encoder, and what it said of the last pictures.
#[derive(Debug)]
pub(super) struct PictureEncoder {
    /// Absent where the weights have the decoder only.
    encoder: Option<VaeEncoder>,
    device: Device,
    /// What is kept is the distribution of the latents, never a sample: that one is each seed's own.
    encoded: Recent<PictureKey, Posterior>,
}

/// What the encoder is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'a> {
    /// A picture.
    Whole(&'a Rgb),
    /// A picture that is grey, the zero of the network, where the mask is white.
    Outside(&'a Rgb, &'a Mask),
    /// Grey alone, of this width and height in px.
    Nothing((u32, u32)),
}

/// What a posterior depends on, in one model.
#[derive(Debug, PartialEq, Eq)]
struct PictureKey {
    size: (u32, u32),
    picture: Option<Sha256Digest>,
    mask: Option<Sha256Digest>,
}

type Sha256Digest = [u8; 32];

impl PictureEncoder {
    /// Pictures go through `encoder`, where there is one.
    pub(super) fn new(encoder: Option<VaeEncoder>, device: Device) -> Self {
        Self { encoder, device, encoded: Recent::new(ENCODED_BYTES_MAX) }
    }

    /// The distribution of the latents of what is `shown`, `[1, h, w, channels]`.
    pub(super) fn encode(&mut self, shown: Shown<'_>, cancel: &CancelToken) -> Result<Posterior, Stop> {
        let Self { encoder, device, encoded } = self;
        let encoder = encoder.as_ref().ok_or(GenerateError::NoEncoder)?;
        let key = shown.key();
        let size = encoder.posterior_bytes(key.size);
        encoded.get_or_make(key, size, |_| Ok(encoder.encode(&shown.pixels(device)?, cancel)?))
    }

    /// How often a picture was at hand since the last time that this was asked.
    pub(super) fn take_reuse(&mut self) -> Reuse {
        self.encoded.take_reuse()
    }
}

impl Shown<'_> {
    fn key(&self) -> PictureKey {
        match self {
            Self::Whole(picture) => PictureKey { size: picture.size(), picture: Some(digest(picture)), mask: None },
            Self::Outside(picture, mask) => {
                PictureKey { size: picture.size(), picture: Some(digest(picture)), mask: Some(digest(mask)) }
            }
            Self::Nothing(size) => PictureKey { size: *size, picture: None, mask: None },
        }
    }

    /// `[1, height, width, 3]` f32, black at −1 and white at 1.
    fn pixels(&self, device: &Device) -> candle_core::Result<Tensor> {
        match *self {
            Self::Whole(picture) => tensor_from_picture(picture, device),
            Self::Outside(picture, mask) => {
                let kept = pixel_mask(mask, device)?.affine(-1.0, 1.0)?;
                tensor_from_picture(picture, device)?.broadcast_mul(&kept)
            }
            Self::Nothing((width, height)) => {
                Tensor::zeros((1, height as usize, width as usize, 3), DType::F32, device)
            }
        }
    }
}

fn digest<const CHANNELS: usize>(pixels: &Raster<CHANNELS>) -> Sha256Digest {
    Sha256::digest(pixels.values()).into()
}
