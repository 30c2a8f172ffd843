//! What weights do to the encoder's output.

use candle_core::{DType, Result, Tensor};

/// Multiplies each token of `hidden`, `[1, tokens, channels]`, with its weight and restores the mean of them all, as
/// the A1111 web UI's emphasis "Original" does; `weights` has one number for each token.
///
/// Where all weights are 1, `hidden` comes back untouched, bit for bit.
///
/// # Errors
/// When there is not one weight for each token, or memory runs out.
pub fn apply_weights(hidden: &Tensor, weights: &[f32]) -> Result<Tensor> {
    if weights.iter().all(|&weight| weight == 1.0) {
        return Ok(hidden.clone());
    }
    let column = Tensor::new(weights, hidden.device())?.to_dtype(hidden.dtype())?.reshape((1, (), 1))?;
    let weighted = hidden.broadcast_mul(&column)?;
    let ratio = mean(hidden)? / mean(&weighted)?;
    // Weights can leave a mean of zero, which nothing restores.
    if ratio.is_finite() { weighted * ratio } else { Ok(weighted) }
}

/// The mean of all numbers, summed where f64 is at hand.
fn mean(x: &Tensor) -> Result<f64> {
    let numbers = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(numbers.iter().copied().map(f64::from).sum::<f64>() / numbers.len() as f64)
}
