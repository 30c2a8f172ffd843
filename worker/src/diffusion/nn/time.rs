//! The embedding of numbers — a timestep, a size, a guidance scale — into sinusoids, and of those into layers.

use candle_core::{Device, Result, Tensor};

use crate::diffusion::ops::{Activation, Ending, Linear, linear, linear_then};
use crate::diffusion::weights::{LoadError, Scope};

/// Diffusers' `Timesteps`: sines and cosines at falling frequencies (Ho et al. 2020).
///
/// In f32 whatever the network's dtype, in diffusers' order of operations: at timestep 999 the rounding of a
/// frequency moves an angle by 10⁻⁴, and the weights were trained with that rounding.
#[derive(Debug)]
pub struct Sinusoids {
    /// `[1, ⌊channels / 2⌋]` f32
    frequencies: Tensor,
    channels: usize,
    flip_sin_to_cos: bool,
}

impl Sinusoids {
    /// `channels` sinusoids, the cosines first with `flip_sin_to_cos`. `frequency_shift` is diffusers'
    /// `downscale_freq_shift`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(channels: usize, flip_sin_to_cos: bool, frequency_shift: f32, device: &Device) -> Result<Self> {
        let half = channels / 2;
        let log_period = -(10_000f64.ln()) as f32;
        let frequency = |i: usize| (log_period * i as f32 / (half as f32 - frequency_shift)).exp();
        let frequencies = Tensor::from_iter((0..half).map(frequency), device)?.reshape((1, half))?;
        Ok(Self { frequencies, channels, flip_sin_to_cos })
    }

    /// `values`, any shape `[…]` f32, into `[count, channels]` f32.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn forward(&self, values: &Tensor) -> Result<Tensor> {
        let angles = values.flatten_all()?.unsqueeze(1)?.broadcast_mul(&self.frequencies)?;
        let (sines, cosines) = (angles.sin()?, angles.cos()?);
        let both = if self.flip_sin_to_cos { [cosines, sines] } else { [sines, cosines] };
        Tensor::cat(&both, 1)?.pad_with_zeros(1, 0, self.channels % 2)
    }
}

/// Diffusers' `TimestepEmbedding`: two layers, with a condition added before the first where there is one.
#[derive(Debug)]
pub struct TimeEmbedding {
    condition: Option<Linear>,
    linear_1: Linear,
    linear_2: Linear,
}

impl TimeEmbedding {
    /// Loads the two layers, from `inputs` to `outputs` channels, and the projection of `condition` channels.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        condition: Option<usize>,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            condition: condition.map(|channels| scope.sub("cond_proj").linear_no_bias(channels, inputs)).transpose()?,
            linear_1: scope.sub("linear_1").linear(inputs, outputs)?,
            linear_2: scope.sub("linear_2").linear(outputs, outputs)?,
        })
    }

    /// `x`, `[…, inputs]`, under `condition`, `[items, condition]`, both in the dtype of the weights, into
    /// `[…, outputs]`. `[steps, 1, inputs]` and a condition become `[steps, items, outputs]`.
    ///
    /// # Errors
    /// When there is a condition and no projection for it, or memory runs out.
    pub fn forward(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<Tensor> {
        let x = match (condition, &self.condition) {
            (None, _) => x.clone(),
            (Some(condition), Some(projection)) => x.broadcast_add(&linear(condition, projection)?)?,
            (Some(_), None) => candle_core::bail!("this network has no projection of a guidance scale"),
        };
        linear(&linear_then(&x, &self.linear_1, Ending::activated(Activation::Silu))?, &self.linear_2)
    }
}

/// The embedding of a guidance scale for networks that were distilled with it, as LCM (Luo et al. 2023; diffusers'
/// `get_guidance_scale_embedding`): `[1, channels]` f32. Diffusers' pipelines call it with `scale`, the guidance
/// scale less one.
///
/// Angles go up to 1000 · `scale`, so that the last bit of a frequency shows as 10⁻⁴ at a scale of 10: the order of
/// operations is diffusers', in f32.
///
/// # Errors
/// When memory runs out.
pub fn guidance_scale_embedding(scale: f64, channels: usize, device: &Device) -> Result<Tensor> {
    let half = channels / 2;
    let scale = (scale as f32) * 1000.0;
    let log_step = 10_000f32.ln() / (half as f32 - 1.0);
    let angles = Tensor::from_iter((0..half).map(|i| (i as f32 * -log_step).exp() * scale), device)?;
    Tensor::cat(&[angles.sin()?, angles.cos()?], 0)?.pad_with_zeros(0, 0, channels % 2)?.reshape((1, channels))
}
