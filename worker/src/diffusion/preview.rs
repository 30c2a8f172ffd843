//! From clean latents to pictures while a job is drawn: rough by the linear map of its model, or by a TAESD-type decoder.

use candle_core::{Device, Tensor};

use super::cancel::{CancelToken, Halt};
use super::nn::taesd::TinyDecoder;
use super::pipeline::{GenerateError, Picture};
use super::pixels::pictures_from_decoded;

/// One clean latent: `[height, width, channels]` f32 of unit variance, as [`StepView`](super::StepView) has them.
#[derive(Clone, Copy, Debug)]
pub struct CleanLatent<'a> {
    /// Latent cells in a row.
    pub width: u32,
    /// Rows of latent cells.
    pub height: u32,
    /// The numbers.
    pub values: &'a [f32],
}

impl CleanLatent<'_> {
    fn channels(&self) -> usize {
        self.values.len() / (self.width * self.height) as usize
    }

    /// One pixel for each cell: `rgb = bias + Σ latent[c] · rows[c]`, clamped to `[0, 1]`. A cell with a number that is
    /// none is black.
    ///
    /// # Panics
    /// When there are no cells.
    pub fn linear(&self, rows: &[[f32; 3]], bias: [f32; 3]) -> Picture {
        let pixel = |cell: &[f32]| {
            let mut rgb = bias;
            for (value, row) in cell.iter().zip(rows) {
                for (sum, weight) in rgb.iter_mut().zip(row) {
                    *sum += value * weight;
                }
            }
            rgb.map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8)
        };
        let rgb = self.values.chunks_exact(self.channels()).flat_map(pixel).collect();
        Picture { width: self.width, height: self.height, rgb }
    }

    /// The picture that `decoder` makes of it on the CPU; nothing when the token is set.
    ///
    /// # Errors
    /// When memory runs out, or the picture has numbers that are none.
    ///
    /// # Panics
    /// When there are no cells.
    pub fn decoded(&self, decoder: &TinyDecoder, cancel: &CancelToken) -> Result<Option<Picture>, GenerateError> {
        let shape = (1, self.height as usize, self.width as usize, self.channels());
        let latent = Tensor::from_slice(self.values, shape, &Device::Cpu)?;
        match decoder.decode(&latent, cancel) {
            Ok(decoded) => Ok(pictures_from_decoded(&decoded)?.pop()),
            Err(Halt::Canceled) => Ok(None),
            Err(Halt::Tensor(error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
