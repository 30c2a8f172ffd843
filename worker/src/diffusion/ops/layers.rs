//! Weights in the layout that the operations read, made once when a model is loaded.

use candle_core::{Result, Tensor};

/// A 2D convolution.
#[derive(Debug)]
pub struct Conv2d {
    /// `[kernel · kernel · in, out]`, rows ordered (y, x, channel), as patches of a channels-last picture are.
    pub(super) weight: Tensor,
    /// `[out]`
    pub(super) bias: Option<Tensor>,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Conv2d {
    /// Lays out `weight`, `[out, in, kernel, kernel]` as torch stores it.
    ///
    /// # Errors
    /// When the shape is another one.
    pub fn new(weight: &Tensor, bias: Option<Tensor>, stride: usize, padding: usize) -> Result<Self> {
        let (out, channels, kernel, kernel_x) = weight.dims4()?;
        if kernel != kernel_x {
            candle_core::bail!("a square kernel is expected, not {kernel}×{kernel_x}")
        }
        let weight = weight.permute((2, 3, 1, 0))?.reshape((kernel * kernel * channels, out))?.contiguous()?;
        Ok(Self { weight, bias, kernel, stride, padding })
    }
}

/// A matrix product over the last dimension.
#[derive(Debug)]
pub struct Linear {
    /// `[in, out]`
    pub(super) weight: Tensor,
    /// `[out]`
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    /// Lays out `weight`, `[out, in]` as torch stores it.
    ///
    /// # Errors
    /// When the shape is another one.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { weight: weight.t()?.contiguous()?, bias })
    }
}

/// Normalisation over groups of channels and all positions.
#[derive(Debug)]
pub struct GroupNorm {
    /// `[channels]`
    pub(super) weight: Tensor,
    /// `[channels]`
    pub(super) bias: Tensor,
    pub(super) groups: usize,
    pub(super) eps: f64,
}

impl GroupNorm {
    /// `groups` divides the channels of `weight` and `bias`, both `[channels]`.
    ///
    /// # Errors
    /// When it does not.
    pub fn new(weight: Tensor, bias: Tensor, groups: usize, eps: f64) -> Result<Self> {
        let channels = weight.dims1()?;
        if groups == 0 || !channels.is_multiple_of(groups) {
            candle_core::bail!("{channels} channels do not fall into {groups} groups")
        }
        Ok(Self { weight, bias, groups, eps })
    }
}

/// Normalisation over the last dimension.
#[derive(Debug)]
pub struct LayerNorm {
    /// `[channels]`
    pub(super) weight: Tensor,
    /// `[channels]`
    pub(super) bias: Tensor,
    pub(super) eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias` are `[channels]`.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }
}
