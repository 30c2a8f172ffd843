//! From what the VAE decodes to the bytes of a picture.

use candle_core::{IndexOp, Tensor};

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
            let values = decoded.i(item)?.flatten_all()?.to_vec1::<f32>()?;
            let rgb = values.into_iter().map(byte).collect::<Option<Vec<u8>>>().ok_or(GenerateError::NotFinite)?;
            Ok(Picture { width: width as u32, height: height as u32, rgb })
        })
        .collect()
}

fn byte(value: f32) -> Option<u8> {
    value.is_finite().then(|| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8)
}

#[cfg(test)]
mod tests;
