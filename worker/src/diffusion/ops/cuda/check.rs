//! Operations beside the reference, on the GPU that is to compute them.

use candle_core::{DType, Device, Result, Tensor};
use sd_cuda_kernels::Number;

use super::kernels;
use crate::diffusion::ops::{Activation, Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, Padding, reference};

/// How far a result may be from the reference, in parts of the largest number: rounding, once in the reference after each
/// of several steps.
fn tolerance(number: Number) -> f32 {
    match number {
        Number::F32 => 1e-4,
        Number::F16 => 5e-3,
        Number::Bf16 => 4e-2,
    }
}

/// Computes a little of everything.
///
/// # Errors
/// When something is not what the reference makes of the same numbers, and what the driver says.
pub(super) fn run(device: &Device) -> Result<()> {
    for (number, dtype) in [(Number::F32, DType::F32), (Number::F16, DType::F16), (Number::Bf16, DType::BF16)] {
        let case = Case { number, dtype, device };
        case.convolutions()?;
        case.products()?;
        case.normalisations()?;
        case.attention()?;
    }
    Ok(())
}

struct Case<'a> {
    number: Number,
    dtype: DType,
    device: &'a Device,
}

impl Case<'_> {
    /// Numbers that look random, about `[-1, 1]`.
    fn drawn(&self, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().product::<usize>();
        let drawn = |at: usize| (at.wrapping_mul(2_654_435_761) >> 8 & 0xffff) as f32 / 32_768.0 - 1.0;
        Tensor::from_iter((0..len).map(drawn), self.device)?.reshape(shape)?.to_dtype(self.dtype)
    }

    fn compare(&self, what: &str, found: &Tensor, expected: &Tensor) -> Result<()> {
        let numbers = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (found, expected) = (numbers(found)?, numbers(expected)?);
        let largest = expected.iter().fold(1.0_f32, |largest, one| largest.max(one.abs()));
        let near = |(found, expected): (&f32, &f32)| (found - expected).abs() <= tolerance(self.number) * largest;
        // A NaN is near to nothing.
        if found.len() != expected.len() || !found.iter().zip(&expected).all(near) {
            candle_core::bail!("{what} in {:?} is not what it should be", self.dtype)
        }
        Ok(())
    }

    fn convolutions(&self) -> Result<()> {
        let (batch, side, inputs, outputs) = (2, 9, 24, 40);
        let x = self.drawn(&[batch, side, side, inputs])?;
        let (bias, shift) = (self.drawn(&[outputs])?, self.drawn(&[batch, outputs])?);
        for (kernel, stride, seen) in [(3, 1, side), (3, 2, side), (3, 1, 2 * side), (1, 1, side)] {
            let weight = (self.drawn(&[outputs, inputs, kernel, kernel])? * 0.1)?;
            let conv = Conv2d::new(&weight, Some(bias.clone()), stride, Padding::same(kernel))?;
            let ending = Ending { shift: Some(&shift), activation: Activation::Silu, ..Ending::default() };
            let found = kernels::conv2d(self.number, &x, &conv, [seen; 2], ending)?;
            self.compare("a convolution", &found, &reference::upsample_conv2d(&x, &conv, [seen; 2], ending)?)?;
        }
        Ok(())
    }

    fn products(&self) -> Result<()> {
        let (tokens, inputs, outputs) = (19, 48, 64);
        let x = self.drawn(&[2, tokens, inputs])?;
        let linear = Linear::new(&(self.drawn(&[outputs, inputs])? * 0.2)?, Some(self.drawn(&[outputs])?))?;
        let activations =
            [Activation::Identity, Activation::Relu, Activation::QuickGelu, Activation::GeluErf, Activation::Geglu];
        for activation in activations {
            let columns = if activation == Activation::Geglu { outputs / 2 } else { outputs };
            let residual = self.drawn(&[2, tokens, columns])?;
            let ending = Ending { residual: Some(&residual), activation, ..Ending::default() };
            let found = kernels::linear(self.number, &x, &linear, ending)?;
            self.compare("a product", &found, &reference::linear(&x, &linear, ending)?)?;
        }
        Ok(())
    }

    fn normalisations(&self) -> Result<()> {
        for (positions, channels) in [(400, 320), (33, 36)] {
            let x = self.drawn(&[2, positions, channels])?;
            let (weight, bias) = (self.drawn(&[channels])?, self.drawn(&[channels])?);
            let norm = GroupNorm::new(weight.clone(), bias.clone(), 4, 1e-5)?;
            let found = kernels::group_norm(self.number, &x, &norm, Activation::Silu)?;
            self.compare("a group normalisation", &found, &reference::group_norm_silu(&x, &norm)?)?;
            let norm = LayerNorm::new(weight, bias, 1e-5);
            let found = kernels::layer_norm(self.number, &x, &norm)?;
            self.compare("a layer normalisation", &found, &reference::layer_norm(&x, &norm)?)?;
        }
        Ok(())
    }

    fn attention(&self) -> Result<()> {
        let (queries, count) = (100, 2);
        for channels in [40, 64, 80, 128, 160] {
            for (keys, causal) in [(77, false), (queries, true)] {
                let of = |tokens: usize| self.drawn(&[2, tokens, count * channels]);
                let (q, k, v) = ((of(queries)? * 2.0)?, of(keys)?, of(keys)?);
                let heads = Heads { count, causal, upcast: true };
                let found = kernels::attention(self.number, &q, &k, &v, heads)?;
                self.compare("attention", &found, &reference::attention(&q, &k, &v, heads)?)?;
            }
        }
        Ok(())
    }
}
