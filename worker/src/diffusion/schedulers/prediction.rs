//! From what the network says to the clean latent.
//!
//! Two coordinates are in use. Variance preserving: `sample = α·x0 + σ·noise` with `α² + σ² = 1` (DDIM, DPM++).
//! Variance exploding: `sample = x0 + σ·noise` (Euler and its kin), which is the former divided by α.

use candle_core::{Result, Tensor};

use super::config::Prediction;

impl Prediction {
    /// The clean latent in variance preserving coordinates.
    pub(super) fn denoised_preserving(
        self,
        output: &Tensor,
        sample: &Tensor,
        alpha: f64,
        sigma: f64,
    ) -> Result<Tensor> {
        match self {
            Self::Epsilon => (sample - (output * sigma)?)? / alpha,
            Self::VPrediction => (sample * alpha)? - (output * sigma)?,
            Self::Sample => Ok(output.clone()),
        }
    }

    /// The clean latent in variance exploding coordinates.
    pub(super) fn denoised_exploding(self, output: &Tensor, sample: &Tensor, sigma: f64) -> Result<Tensor> {
        match self {
            Self::Epsilon => sample - (output * sigma)?,
            Self::VPrediction => {
                let variance = sigma * sigma + 1.0;
                (output * (-sigma / variance.sqrt()))? + (sample / variance)?
            }
            Self::Sample => Ok(output.clone()),
        }
    }

    /// The noise in variance preserving coordinates.
    pub(super) fn noise_preserving(self, output: &Tensor, sample: &Tensor, alpha: f64, sigma: f64) -> Result<Tensor> {
        match self {
            Self::Epsilon => Ok(output.clone()),
            Self::VPrediction => (output * alpha)? + (sample * sigma)?,
            Self::Sample => (sample - (output * alpha)?)? / sigma,
        }
    }
}
