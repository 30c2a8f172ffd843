//! The operations that the networks are written over, channels last.
//!
//! | module | what it holds |
//! |---|---|
//! | [`layers`] | weights, laid out once at load: `Conv2d`, `Linear`, `GroupNorm`, `LayerNorm` |
//! | [`mod@reference`] | the operations on candle tensor operations, on any device: the oracle of every faster path |
//!
//! Networks call the functions re-exported here and never name a path below. A device's own kernels stand behind
//! the same signatures and are held against [`mod@reference`] by tests.
//!
//! # Invariants
//! * Activations are `[batch, height, width, channels]` or `[batch, tokens, channels]`, contiguous, all of one dtype.
//! * Statistics of normalisations, and softmax, are in f32 whatever the dtype.
//! * No operation reads weights in another layout than the one its layer keeps.
//! * Scratch memory is bounded by [`SCRATCH_BYTES_MAX`], whatever the picture's size.

pub mod layers;
pub mod reference;

pub use layers::{Conv2d, GroupNorm, LayerNorm, Linear, Padding};
pub use reference::{
    attention, conv2d, geglu, gelu_erf, group_norm, group_norm_silu, layer_norm, linear, quick_gelu, relu, silu,
    upsample_nearest,
};

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

#[cfg(test)]
mod tests;
