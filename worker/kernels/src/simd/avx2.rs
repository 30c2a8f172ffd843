//! AVX2 with FMA: eight numbers, 16 registers.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::{Simd, Work};

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Whether this CPU has them.
pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Runs `work` compiled for them.
///
/// # Safety
/// [`is_here`] says so.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<W: Work>(work: W) -> W::Output {
    work.run(Avx2(()))
}

/// As [`run`], called through a pointer that the compiler does not see through: inlined, a loop that wants all registers is
/// rearranged with what is known of its caller, and spills them.
///
/// # Safety
/// [`is_here`] says so.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_apart<W: Work>(work: W) -> W::Output {
    work.run(Avx2(()))
}

/// Calls an intrinsic: `self` proves that it is there.
macro_rules! intrinsic {
    ($name:ident($($argument:expr),*)) => {
        // SAFETY: an `Avx2` exists only where the CPU has AVX2 and FMA.
        unsafe { $name($($argument),*) }
    };
}

impl Simd for Avx2 {
    type Lanes = __m256;

    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    fn apart<W: Work>(self, work: W) -> W::Output {
        // SAFETY: an `Avx2` exists only where `is_here` found its instructions.
        unsafe { black_box(run_apart::<W> as unsafe fn(W) -> W::Output)(work) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        intrinsic!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        intrinsic!(_mm256_loadu_ps(from))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, lanes: __m256) {
        intrinsic!(_mm256_storeu_ps(to, lanes))
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: every CPU with 64 bits prefetches, and from any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        intrinsic!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: an `Avx2` exists only where the CPU has AVX2.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        let exponent = intrinsic!(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
        // SAFETY: an `Avx2` exists only where the CPU has AVX2.
        let power = unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)) };
        intrinsic!(_mm256_mul_ps(a, power))
    }
}
