//! AVX-512: sixteen numbers, 32 registers.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::{Simd, Work};

/// Proof that the CPU has AVX-512F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Whether this CPU has it.
pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Runs `work` compiled for it.
///
/// # Safety
/// [`is_here`] says so.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) unsafe fn run<W: Work>(work: W) -> W::Output {
    work.run(Avx512(()))
}

/// As [`run`], called through a pointer that the compiler does not see through: inlined, a loop that wants all registers is
/// rearranged with what is known of its caller, and spills them.
///
/// # Safety
/// [`is_here`] says so.
#[inline(never)]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn run_apart<W: Work>(work: W) -> W::Output {
    work.run(Avx512(()))
}

/// Calls an intrinsic: `self` proves that it is there.
macro_rules! intrinsic {
    ($name:ident($($argument:expr),*)) => {
        // SAFETY: an `Avx512` exists only where the CPU has AVX-512F.
        unsafe { $name($($argument),*) }
    };
}

impl Simd for Avx512 {
    type Lanes = __m512;

    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;

    #[inline(always)]
    fn apart<W: Work>(self, work: W) -> W::Output {
        // SAFETY: an `Avx512` exists only where `is_here` found its instructions.
        unsafe { black_box(run_apart::<W> as unsafe fn(W) -> W::Output)(work) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        intrinsic!(_mm512_loadu_ps(from))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, lanes: __m512) {
        intrinsic!(_mm512_storeu_ps(to, lanes))
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: every CPU with 64 bits prefetches, and from any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsic!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: an `Avx512` exists only where the CPU has AVX-512F.
        unsafe { _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(a) }
    }

    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        intrinsic!(_mm512_scalef_ps(a, n))
    }

    #[inline(always)]
    fn sum(self, lanes: __m512) -> f32 {
        intrinsic!(_mm512_reduce_add_ps(lanes))
    }

    #[inline(always)]
    fn largest(self, lanes: __m512) -> f32 {
        intrinsic!(_mm512_reduce_max_ps(lanes))
    }
}
