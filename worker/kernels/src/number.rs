//! What activations and weights are made of.

use half::bf16;

use crate::simd::{Path, Simd};
use crate::tile::{self, Rows, Singles, Sums};

/// A type of activations and weights: [`f32`], or [`bf16`] whose sums, statistics and functions are f32 all the same.
///
/// Any bits are a number of it.
pub trait Number: Copy + Default + Send + Sync + 'static + sealed::Sealed {
    /// Rows of a packed matrix whose numbers of one column stand side by side, because they are multiplied at once.
    const PAIR: usize;
    /// Rows of a packed block are filled up with zeros to a multiple of this.
    const DEPTH_STEP: usize;
    /// Rows that a product takes at a time: memory of rows and of sums is filled up to a multiple of this.
    const TILE_ROWS: usize;
    /// Rows that tasks are cut at multiples of, so that whole tiles of the widest kind fill them.
    const ROWS_AT_ONCE: usize;
    /// Most rows of a task: with its sums and a block of what it multiplies it fits into the second cache.
    const TASK_ROWS: usize;
    /// Most rows of a packed block: a panel of it (up to 32 KiB) and the rows that it meets fit into the first cache.
    const BLOCK_ROWS: usize;

    /// Degree of the polynomial for exponentials: an error below 10⁻⁸ for 7, and below 5·10⁻⁵ for 4.
    const EXP_DEGREE: usize;

    /// The nearest number.
    fn from_f32(x: f32) -> Self;
    /// The same number.
    fn to_f32(self) -> f32;

    /// Reads `Simd::LANES` numbers.
    ///
    /// # Safety
    /// They lie at `from`.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Lanes;

    /// Writes `Simd::LANES` numbers, each the nearest.
    ///
    /// # Safety
    /// There is room for them at `to`.
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, lanes: S::Lanes);

    /// Reads `count` numbers, at most `Simd::LANES`, and zeros behind them.
    ///
    /// # Safety
    /// They lie at `from`.
    unsafe fn load_first<S: Simd>(simd: S, from: *const Self, count: usize) -> S::Lanes;

    /// Writes the first `count` numbers, at most `Simd::LANES`, each the nearest.
    ///
    /// # Safety
    /// There is room for them at `to`.
    unsafe fn store_first<S: Simd>(simd: S, to: *mut Self, lanes: S::Lanes, count: usize);

    /// `rows · panel` into `sums`: see `tile::multiply`.
    ///
    /// # Safety
    /// As there.
    unsafe fn multiply<S: Simd>(simd: S, path: Path, depth: usize, rows: Rows<Self>, panel: *const Self, sums: Sums);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

impl Number for f32 {
    const PAIR: usize = 1;
    const DEPTH_STEP: usize = 1;
    const TILE_ROWS: usize = 1;
    const ROWS_AT_ONCE: usize = 1;
    const TASK_ROWS: usize = 140;
    const BLOCK_ROWS: usize = 256;
    const EXP_DEGREE: usize = 7;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Lanes {
        // SAFETY: the caller's promise.
        unsafe { simd.load(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, lanes: S::Lanes) {
        // SAFETY: the caller's promise.
        unsafe { simd.store(to, lanes) }
    }

    #[inline(always)]
    unsafe fn load_first<S: Simd>(simd: S, from: *const Self, count: usize) -> S::Lanes {
        // SAFETY: the caller's promise.
        unsafe { simd.load_first(from, count) }
    }

    #[inline(always)]
    unsafe fn store_first<S: Simd>(simd: S, to: *mut Self, lanes: S::Lanes, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_first(to, lanes, count) }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd>(simd: S, _: Path, depth: usize, rows: Rows<Self>, panel: *const Self, sums: Sums) {
        // SAFETY: the caller's promise.
        unsafe { tile::multiply(simd, Singles, depth, rows, panel, sums) }
    }
}

impl Number for bf16 {
    const PAIR: usize = 2;
    const DEPTH_STEP: usize = 32;
    const TILE_ROWS: usize = 16;
    const ROWS_AT_ONCE: usize = 32;
    const TASK_ROWS: usize = 256;
    const BLOCK_ROWS: usize = 320;
    const EXP_DEGREE: usize = 4;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        bf16::from_f32(x)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Lanes {
        // SAFETY: the caller's promise.
        unsafe { simd.load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, lanes: S::Lanes) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_bf16(to, lanes) }
    }

    #[inline(always)]
    unsafe fn load_first<S: Simd>(simd: S, from: *const Self, count: usize) -> S::Lanes {
        // SAFETY: the caller's promise.
        unsafe { simd.load_first_bf16(from, count) }
    }

    #[inline(always)]
    unsafe fn store_first<S: Simd>(simd: S, to: *mut Self, lanes: S::Lanes, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_first_bf16(to, lanes, count) }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd>(simd: S, path: Path, depth: usize, rows: Rows<Self>, panel: *const Self, sums: Sums) {
        // SAFETY: the caller's promise.
        unsafe { simd.multiply_bf16(path, depth, rows, panel, sums) }
    }
}

/// Where the number at `row` and `column` of a panel stands in it.
#[inline(always)]
pub(crate) fn place_in_panel<N: Number>(row: usize, column: usize) -> usize {
    (row / N::PAIR * crate::pack::PANEL + column) * N::PAIR + row % N::PAIR
}
