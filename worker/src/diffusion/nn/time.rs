//! The embedding of a timestep: sinusoids, then two layers.

use candle_core::{Device, Result, Tensor};

use crate::diffusion::ops::{Linear, linear, silu};
use crate::diffusion::weights::{LoadError, Scope};

/// Diffusers' `Timesteps` and `TimestepEmbedding`.
#[derive(Debug)]
pub struct TimeEmbedding {
    channels: usize,
    flip_sin_to_cos: bool,
    frequency_shift: f32,
    linear_1: Linear,
    linear_2: Linear,
}

impl TimeEmbedding {
    /// Loads the two layers: `channels` sinusoids into `4 · channels`.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(
        scope: &Scope,
        channels: usize,
        flip_sin_to_cos: bool,
        frequency_shift: f32,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            channels,
            flip_sin_to_cos,
            frequency_shift,
            linear_1: scope.sub("linear_1").linear(channels, 4 * channels)?,
            linear_2: scope.sub("linear_2").linear(4 * channels, 4 * channels)?,
        })
    }

    /// The embedding of `timestep`, `[1, 4 · channels]`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn forward(&self, timestep: f64, device: &Device) -> Result<Tensor> {
        let sinusoids = sinusoids(timestep, self.channels, self.flip_sin_to_cos, self.frequency_shift);
        let x = Tensor::from_vec(sinusoids, (1, self.channels), device)?;
        linear(&silu(&linear(&x, &self.linear_1)?)?, &self.linear_2)
    }
}

/// Sines and cosines of `timestep` at falling frequencies (Ho et al. 2020; diffusers' `get_timestep_embedding`).
///
/// In f32, in diffusers' order of operations: at timestep 999 the rounding of a frequency moves an angle by 10⁻⁴,
/// and the weights were trained with that rounding.
fn sinusoids(timestep: f64, channels: usize, flip_sin_to_cos: bool, frequency_shift: f32) -> Vec<f32> {
    let half = channels / 2;
    let log_period = -(10_000f64.ln()) as f32;
    let angle = |i: usize| timestep as f32 * (log_period * i as f32 / (half as f32 - frequency_shift)).exp();
    let sines = (0..half).map(|i| angle(i).sin());
    let cosines = (0..half).map(|i| angle(i).cos());
    let mut values: Vec<f32> =
        if flip_sin_to_cos { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
    values.resize(channels, 0.0);
    values
}
