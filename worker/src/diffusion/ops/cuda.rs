//! Every operation on an NVIDIA GPU: products are cuBLASLt's, convolutions cuDNN's where it is installed, all else is
//! [`sd_cuda_kernels`]'. What these do not know, and tensors elsewhere, go through [`reference`](mod@reference).
//!
//! | module | what it holds |
//! |---|---|
//! | `kernels` | operations as launches |
//! | `recorder` | what a GPU was told, told again at once |
//! | `arrivals` | numbers on their way to the machine's memory |

mod arrivals;
mod kernels;
mod recorder;

use candle_core::{DType, Result, Tensor};
use sd_cuda_kernels::Number;

pub use self::arrivals::{Arrival, Arrivals};
pub use self::recorder::Recorder;
use super::{Activation, Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, reference};

/// The type of a tensor's numbers, where kernels are to compute with it.
fn number(x: &Tensor) -> Option<Number> {
    let number = match x.dtype() {
        DType::F32 => Number::F32,
        DType::F16 => Number::F16,
        DType::BF16 => Number::Bf16,
        _ => return None,
    };
    x.device().is_cuda().then_some(number)
}

/// [`conv2d_then`](super::conv2d_then).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn conv2d(x: &Tensor, conv: &Conv2d, ending: Ending) -> Result<Tensor> {
    let Some(number) = number(x) else { return reference::conv2d(x, conv, ending) };
    let (_, height, width, _) = x.dims4()?;
    kernels::conv2d(number, x, conv, [height, width], ending)
}

/// [`upsample_conv2d`](super::upsample_conv2d).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn upsample_conv2d(x: &Tensor, conv: &Conv2d, size: [usize; 2], ending: Ending) -> Result<Tensor> {
    match number(x) {
        Some(number) => kernels::conv2d(number, x, conv, size, ending),
        None => reference::upsample_conv2d(x, conv, size, ending),
    }
}

/// [`linear_then`](super::linear_then).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn linear(x: &Tensor, linear: &Linear, ending: Ending) -> Result<Tensor> {
    match number(x) {
        Some(number) => kernels::linear(number, x, linear, ending),
        None => reference::linear(x, linear, ending),
    }
}

/// [`group_norm`](super::group_norm).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn group_norm(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    match number(x) {
        Some(number) => kernels::group_norm(number, x, norm, Activation::Identity),
        None => reference::group_norm(x, norm),
    }
}

/// [`group_norm_silu`](super::group_norm_silu).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn group_norm_silu(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    match number(x) {
        Some(number) => kernels::group_norm(number, x, norm, Activation::Silu),
        None => reference::group_norm_silu(x, norm),
    }
}

/// [`layer_norm`](super::layer_norm).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn layer_norm(x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    match number(x) {
        Some(number) => kernels::layer_norm(number, x, norm),
        None => reference::layer_norm(x, norm),
    }
}

/// [`attention`](super::attention).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    match number(q) {
        Some(number) => kernels::attention(number, q, k, v, heads),
        None => reference::attention(q, k, v, heads),
    }
}
