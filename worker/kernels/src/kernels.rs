//! Every kernel of each type of numbers, compiled here: generic functions would be compiled by whoever calls them, with
//! the optimisation of that crate.

use half::bf16;

use crate::number::Number;
use crate::pack::PackedMatrix;
use crate::product::{Activation, Ending};
use crate::simd::Path;
use crate::stored::Stored;
use crate::{Attention, GroupNorm, Window, attention, linear, norm};

/// The kernels of a type of numbers.
pub trait Kernels: Number {
    /// Packs `weights`, `[columns, depth]`, in whose rows the `taps` of an input stand side by side, so that the inputs of
    /// a tap do.
    ///
    /// # Panics
    /// When `weights` have another size, or the depth is no whole number of inputs.
    fn pack(weights: &[Self], columns: usize, depth: usize, taps: usize) -> PackedMatrix<Self>;

    /// As [`Self::pack`], of weights as a file holds them: what is not packed of them is never more than some columns.
    ///
    /// # Panics
    /// As there.
    fn pack_stored(weights: Stored, columns: usize, depth: usize, taps: usize) -> PackedMatrix<Self>;

    /// `weights` with `delta`, `[depth, columns]`, added to them.
    ///
    /// # Panics
    /// When `delta` has another size.
    fn plus(weights: &PackedMatrix<Self>, delta: &[f32]) -> PackedMatrix<Self>;

    /// `x · weights`, then `ending`: `[rows, depth]` into `[rows, columns]`.
    ///
    /// # Panics
    /// When `x` has no whole number of rows or a part of the ending another size.
    fn linear(path: Path, x: &[Self], weights: &PackedMatrix<Self>, ending: Ending<Self>) -> Vec<Self>;

    /// Convolves `x` under `window`, then `ending`: into `[batch, height', width', columns]`. The weights have the
    /// patches' order: (y, x, channel).
    ///
    /// # Panics
    /// When the window does not fit into the padded picture, or a size is another one.
    fn conv2d(path: Path, x: &[Self], window: Window, weights: &PackedMatrix<Self>, ending: Ending<Self>) -> Vec<Self>;

    /// `softmax(q · kᵀ / √channels) · v` for every head: `q` is `[batch, queries, heads · channels]`, `k` and `v` are
    /// `[batch, keys, heads · channels]`, the result has the shape of `q`.
    ///
    /// # Panics
    /// When a size is another one, or there are no keys.
    fn attention(path: Path, q: &[Self], k: &[Self], v: &[Self], shape: Attention) -> Vec<Self>;

    /// Normalises `x`, `[batch, positions, channels]`, over groups of channels and all positions, then applies
    /// `activation`.
    ///
    /// # Panics
    /// When `x` has another size.
    fn group_norm(path: Path, x: &[Self], batch: usize, norm: GroupNorm<Self>, activation: Activation) -> Vec<Self>;

    /// Normalises each row of `x`, `[rows, channels]` (Ba et al. 2016).
    ///
    /// # Panics
    /// When `x` has no whole number of rows.
    fn layer_norm(path: Path, x: &[Self], weight: &[Self], bias: &[Self], eps: f64) -> Vec<Self>;

    /// `activation` of every number.
    ///
    /// # Panics
    /// For [`Activation::Geglu`], which is of two numbers.
    fn activate(path: Path, x: &[Self], activation: Activation) -> Vec<Self>;
}

macro_rules! kernels {
    ($($number:ty)*) => {$(
        impl Kernels for $number {
            fn pack(weights: &[Self], columns: usize, depth: usize, taps: usize) -> PackedMatrix<Self> {
                PackedMatrix::new(weights, columns, depth, taps)
            }

            fn pack_stored(weights: Stored, columns: usize, depth: usize, taps: usize) -> PackedMatrix<Self> {
                PackedMatrix::of_stored(weights, columns, depth, taps)
            }

            fn plus(weights: &PackedMatrix<Self>, delta: &[f32]) -> PackedMatrix<Self> {
                weights.plus(delta)
            }

            fn linear(path: Path, x: &[Self], weights: &PackedMatrix<Self>, ending: Ending<Self>) -> Vec<Self> {
                linear::linear(path, x, weights, ending)
            }

            fn conv2d(
                path: Path,
                x: &[Self],
                window: Window,
                weights: &PackedMatrix<Self>,
                ending: Ending<Self>,
            ) -> Vec<Self> {
                linear::conv2d(path, x, window, weights, ending)
            }

            fn attention(path: Path, q: &[Self], k: &[Self], v: &[Self], shape: Attention) -> Vec<Self> {
                attention::attention(path, q, k, v, shape)
            }

            fn group_norm(
                path: Path,
                x: &[Self],
                batch: usize,
                norm: GroupNorm<Self>,
                activation: Activation,
            ) -> Vec<Self> {
                norm::group_norm(path, x, batch, norm, activation)
            }

            fn layer_norm(path: Path, x: &[Self], weight: &[Self], bias: &[Self], eps: f64) -> Vec<Self> {
                norm::layer_norm(path, x, weight, bias, eps)
            }

            fn activate(path: Path, x: &[Self], activation: Activation) -> Vec<Self> {
                norm::activate(path, x, activation)
            }
        }
    )*};
}

kernels!(f32 bf16);
