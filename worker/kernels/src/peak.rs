//! What a core can do at most, to hold kernels against.

use std::hint::black_box;
use std::time::Instant;

use crate::simd::{Path, Simd, Work};

/// Sums that do not wait for each other: more than any CPU has multipliers times the cycles that one takes.
const SUMS: usize = 14;
const ROUNDS: usize = 1_000_000;
const REPEATS: usize = 20;

/// Floating-point operations of this thread in a second, in registers alone: the best of several tries.
pub fn peak(path: Path) -> f64 {
    let tries = (0..REPEATS).map(|_| {
        let start = Instant::now();
        let operations = path.run(MultiplyAdd);
        operations / start.elapsed().as_secs_f64()
    });
    tries.fold(0.0, f64::max)
}

struct MultiplyAdd;

impl Work for MultiplyAdd {
    /// Operations that were done.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let (factor, summand) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let mut sums = [simd.splat(black_box(0.5)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, factor, summand);
            }
        }
        for sum in sums {
            black_box(simd.to_array(sum));
        }
        (2 * SUMS * ROUNDS * S::LANES) as f64
    }
}
