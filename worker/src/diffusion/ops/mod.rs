//! The operations that the networks are written over, channels last.
//!
//! | module | what it holds |
//! |---|---|
//! | [`layers`] | weights, laid out once at load: `Conv2d`, `Linear`, `GroupNorm`, `LayerNorm` |
//! | [`mod@reference`] | the operations on candle tensor operations, on any device: the oracle of every faster path |
//! | [`check`] | every operation on a device beside the reference, for `sd-worker check` |
//! | `shapes` | which shapes fit together, for the paths below |
//! | [`mod@cpu`] | the operations on [`sd_kernels`], for f32 and bf16 on the CPU |
//! | `cuda` | the operations on `sd_cuda_kernels`, in builds with the feature `cuda` |
//! | `immediate` | what stands in elsewhere for recordings and for numbers that are on their way |
//!
//! Networks call the functions of this file and never name a path below: which one is taken is said by where the weights
//! were laid out for, or by where the activations are. A device's own kernels stand behind the same signatures and are
//! held against [`mod@reference`] by tests.
//!
//! # Invariants
//! * Activations are `[batch, height, width, channels]` or `[batch, tokens, channels]`, contiguous, all of one dtype.
//! * Statistics of normalisations, and softmax, are in f32 whatever the dtype.
//! * No operation reads weights in another layout than the one its layer keeps.
//! * Scratch memory is bounded by [`SCRATCH_BYTES_MAX`], whatever the picture's size; cuDNN's has a bound of its own.

pub mod check;
pub mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub mod immediate;
pub mod layers;
pub mod reference;
mod shapes;

use candle_core::{DType, Device, Result, Tensor};
use sd_kernels::Path;
pub use sd_kernels::{Activation, Stored};

pub use layers::{Conv2d, GroupNorm, LayerNorm, Linear, Packed, Padding};

/// What computes where the kernels of the CPU do not; it looks for itself what it is given.
#[cfg(feature = "cuda")]
use self::cuda as elsewhere;
use self::layers::Weight;
#[cfg(not(feature = "cuda"))]
use self::reference as elsewhere;

#[cfg(feature = "cuda")]
pub use self::cuda::{Arrival, Arrivals, Recorder};
#[cfg(not(feature = "cuda"))]
pub use self::immediate::{Arrival, Arrivals, Recorder};

/// What follows a product or a convolution, in this order. Done with it, a number is written to memory once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending<'a> {
    /// Added to all positions of an item: `[batch, out]`, or `[1, out]` for all items.
    pub shift: Option<&'a Tensor>,
    /// Added number by number, of the result's shape.
    pub residual: Option<&'a Tensor>,
    /// Applied at last; [`Activation::Geglu`] before the residual is added.
    pub activation: Activation,
}

impl<'a> Ending<'a> {
    /// Nothing but a sum with `x`.
    pub fn plus(x: &'a Tensor) -> Self {
        Self { residual: Some(x), ..Self::default() }
    }

    /// Nothing but a function of every number.
    pub fn activated(activation: Activation) -> Self {
        Self { activation, ..Self::default() }
    }
}

/// How [`attention`] divides and scores its channels.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Heads, a divisor of the channels.
    pub count: usize,
    /// Whether query *i* sees keys `0..=i` only.
    pub causal: bool,
    /// Whether queries meet keys in f32, whatever their dtype: in f16 the scores of some networks overflow.
    pub upcast: bool,
}

/// Most bytes that one operation holds besides its input and output: patches of a convolution, attention scores.
pub const SCRATCH_BYTES_MAX: usize = 32 << 20;

/// Whether every operation makes of an item of a batch what it makes of it alone, to the last bit. The kernels of the CPU
/// do, as the order of their sums depends on nothing else; matrix products of candle and of GPUs are chosen by size.
pub fn keep_items_apart(device: &Device, dtype: DType) -> bool {
    device.is_cpu() && matches!(dtype, DType::F32 | DType::BF16)
}

/// Calls `f`, which calls one operation after the other on `device`, and keeps the threads of a CPU at hand for them.
pub fn together<T: Send>(device: &Device, f: impl FnOnce() -> T + Send) -> T {
    if device.is_cpu() { sd_kernels::together(f) } else { f() }
}

/// Convolves `x`, `[batch, height, width, in]`, into `[batch, height', width', out]`.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn conv2d(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    conv2d_then(x, conv, Ending::default())
}

/// [`conv2d`] with what follows it.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn conv2d_then(x: &Tensor, conv: &Conv2d, ending: Ending) -> Result<Tensor> {
    match &conv.weight {
        Weight::Packed(weight) => cpu::conv2d(Path::detected(), x, conv, weight, ending),
        Weight::Columns(_) => elsewhere::conv2d(x, conv, ending),
    }
}

/// [`conv2d`] of `x` grown to `height` and `width` by nearest neighbours: cell *i* reads `⌊i · h / height⌋`.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn upsample_conv2d(x: &Tensor, conv: &Conv2d, size: [usize; 2], ending: Ending) -> Result<Tensor> {
    match &conv.weight {
        Weight::Packed(weight) => cpu::upsample_conv2d(Path::detected(), x, conv, weight, size, ending),
        Weight::Columns(_) => elsewhere::upsample_conv2d(x, conv, size, ending),
    }
}

/// `x · weight + bias` over the last dimension: `[…, in]` into `[…, out]`.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn linear(x: &Tensor, linear: &Linear) -> Result<Tensor> {
    linear_then(x, linear, Ending::default())
}

/// [`linear`] with what follows it.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn linear_then(x: &Tensor, linear: &Linear, ending: Ending) -> Result<Tensor> {
    match &linear.weight {
        Weight::Packed(weight) => cpu::linear(Path::detected(), x, linear, weight, ending),
        Weight::Columns(_) => elsewhere::linear(x, linear, ending),
    }
}

/// Group normalisation of `[batch, …, channels]` (Wu and He 2018); statistics in f32.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn group_norm(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    if cpu::computes(x) {
        cpu::group_norm(Path::detected(), x, norm, Activation::Identity)
    } else {
        elsewhere::group_norm(x, norm)
    }
}

/// [`group_norm`], then [`silu`].
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn group_norm_silu(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    if cpu::computes(x) {
        cpu::group_norm(Path::detected(), x, norm, Activation::Silu)
    } else {
        elsewhere::group_norm_silu(x, norm)
    }
}

/// Layer normalisation over the last dimension (Ba et al. 2016); statistics in f32.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn layer_norm(x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    if cpu::computes(x) { cpu::layer_norm(Path::detected(), x, norm) } else { elsewhere::layer_norm(x, norm) }
}

/// Multi-head attention (Vaswani et al. 2017, equation 1): `q` is `[batch, queries, heads · d]`, `k` and `v` are
/// `[batch, keys, heads · d]`, the result is `[batch, queries, heads · d]`.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    if cpu::computes(q) {
        cpu::attention(Path::detected(), q, k, v, heads)
    } else {
        elsewhere::attention(q, k, v, heads)
    }
}

/// `x · sigmoid(x)`
///
/// # Errors
/// When memory runs out.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if cpu::computes(x) { cpu::activate(Path::detected(), x, Activation::Silu) } else { reference::silu(x) }
}

#[cfg(test)]
mod tests;
