//! What a core can do at most, to hold kernels against.

use std::hint::black_box;
use std::time::Instant;

use crate::simd::{Path, Simd, Work, WorkOn};
use crate::tile::{Multiplier, Singles};

/// Sums that do not wait for each other: more than any CPU has multipliers times the cycles that one takes.
const SUMS: usize = 14;
/// Rounds of a try.
pub(crate) const ROUNDS: usize = 1_000_000;
const REPEATS: usize = 20;

/// Floating-point operations of this thread in a second, in registers alone, in f32: the best of several tries.
pub fn peak(path: Path) -> f64 {
    best_of(|| path.run(MultiplyAdd))
}

/// As [`peak`], in products of bf16.
pub fn peak_bf16(path: Path) -> f64 {
    best_of(|| path.run(MultiplyAddBf16(path)))
}

/// Operations in a second, of what says how many it does.
fn best_of(operations: impl Fn() -> f64) -> f64 {
    let tries = (0..REPEATS).map(|_| {
        let start = Instant::now();
        operations() / start.elapsed().as_secs_f64()
    });
    tries.fold(0.0, f64::max)
}

struct MultiplyAdd;

impl Work for MultiplyAdd {
    /// Operations that were done.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        rounds(simd, Singles)
    }
}

struct MultiplyAddBf16(Path);

impl Work for MultiplyAddBf16 {
    /// Operations that were done.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        simd.rounds_bf16(self.0)
    }
}

/// Multiplies [`ROUNDS`] times in registers, and says how many operations that is.
#[inline(always)]
pub(crate) fn rounds<S: Simd, M: Multiplier<S>>(simd: S, by: M) -> f64 {
    by.apart(simd, Rounds(by));
    (2 * M::STEP * SUMS * ROUNDS * S::LANES) as f64
}

struct Rounds<M>(M);

impl<S: Simd, M: Multiplier<S>> WorkOn<S> for Rounds<M> {
    #[inline(always)]
    fn run(self, simd: S) {
        // Zeros are as quick as any number; nothing is known of them.
        let zeros = black_box([0u64; 64]);
        // SAFETY: there are more zeros than a vector and a step take, and they are numbers of every type.
        let (row, panel) =
            unsafe { (self.0.row(simd, zeros.as_ptr().cast()), self.0.panel(simd, zeros.as_ptr().cast())) };
        let mut sums = [simd.splat(black_box(0.5)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = self.0.mul_add(simd, row, panel, *sum);
            }
        }
        for sum in sums {
            black_box(simd.to_array(sum));
        }
    }
}
