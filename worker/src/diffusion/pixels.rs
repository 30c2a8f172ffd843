//! From what the VAE decodes to the bytes of a picture, and pictures as rectangles of bytes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`raster`] | pixels in rows: cut, paste, extend; brightness |
//! | [`resample`] | other sizes, as Pillow's Lanczos |
//! | [`blur`] | Pillow's Gaussian blur of masks |

pub mod blur;
pub mod raster;
pub mod resample;

use candle_core::{DType, Device, IndexOp, Tensor};

pub use self::raster::{Mask, Raster, Rect, Rgb, Sides};
pub use self::resample::Resize;
use super::pipeline::{GenerateError, Picture};

/// The pictures of `decoded`, `[batch, height, width, 3]` with black at −1 and white at 1 (diffusers'
/// `VaeImageProcessor.postprocess`: clamped, and rounded half to even).
///
/// # Errors
/// [`GenerateError::NotFinite`] when a number is NaN or infinite.
pub fn pictures_from_decoded(decoded: &Tensor) -> Result<Vec<Picture>, GenerateError> {
    let (batch, height, width, _) = decoded.dims4()?;
    (0..batch)
        .map(|item| {
            let values = decoded.i(item)?.flatten_all()?;
            let rgb = if values.device().is_cpu() {
                let bytes = values.to_vec1::<f32>()?.into_iter().map(byte).collect::<Option<Vec<u8>>>();
                bytes.ok_or(GenerateError::NotFinite)?
            } else {
                bytes_on_device(&values)?
            };
            Ok(Picture { width: width as u32, height: height as u32, rgb })
        })
        .collect()
}

/// [`byte`] of every value, where the values are: a quarter of them has to be copied.
fn bytes_on_device(values: &Tensor) -> Result<Vec<u8>, GenerateError> {
    // Beyond this, f32 has whole numbers only, and a sum is rounded half to even.
    const WHOLE: f64 = 12_582_912.0;
    // Numbers times nothing are nothing, and what is none stays so.
    let nothing = (values * 0.0)?.sum_all()?.to_scalar::<f32>()?;
    if nothing.is_nan() {
        return Err(GenerateError::NotFinite);
    }
    let scaled = (values.affine(0.5, 0.5)?.clamp(0_f32, 1_f32)? * 255.0)?;
    Ok(((scaled + WHOLE)? - WHOLE)?.to_dtype(DType::U8)?.to_vec1()?)
}

/// What the VAE encodes: `[1, height, width, 3]` f32 with black at −1 and white at 1 (diffusers'
/// `VaeImageProcessor.preprocess`).
///
/// # Errors
/// When memory runs out.
pub fn tensor_from_picture(picture: &Rgb, device: &Device) -> candle_core::Result<Tensor> {
    let values: Vec<f32> = picture.values().iter().map(|&value| 2.0 * (f32::from(value) / 255.0) - 1.0).collect();
    Tensor::from_vec(values, (1, picture.height() as usize, picture.width() as usize, 3), device)
}

fn byte(value: f32) -> Option<u8> {
    value.is_finite().then(|| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8)
}

#[cfg(test)]
mod tests;
