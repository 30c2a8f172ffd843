//! AVX2 with FMA: eight numbers, 16 registers.

use std::arch::x86_64::*;
use std::hint::black_box;

use half::bf16;

use super::{Path, Simd, Work, WorkOn};
use crate::tile::{self, Rows, Sums, Widened};

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
unsafe fn run_apart<W: WorkOn<Avx2>>(work: W) {
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
    fn apart<W: WorkOn<Self>>(self, work: W) {
        // SAFETY: an `Avx2` exists only where `is_here` found its instructions.
        unsafe { black_box(run_apart::<W> as unsafe fn(W))(work) }
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
    unsafe fn load_bf16(self, from: *const bf16) -> __m256 {
        // SAFETY: the caller has LANES numbers there, and an `Avx2` exists only where the CPU has AVX2.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, lanes: __m256) {
        // SAFETY: the caller has room for LANES numbers there, and an `Avx2` exists only where the CPU has AVX2.
        unsafe {
            let bits = _mm256_castps_si256(lanes);
            let is_odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff)));
            // What is no number stays none.
            let no_number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(lanes, lanes));
            let bits = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0_0000), no_number);
            let halves = _mm256_packus_epi32(_mm256_srli_epi32::<16>(bits), _mm256_setzero_si256());
            let ordered = _mm256_permute4x64_epi64::<0b1000>(halves);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(ordered));
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const bf16) -> [__m256; 2] {
        // SAFETY: the caller has LANES pairs there, and an `Avx2` exists only where the CPU has AVX2.
        unsafe {
            let bits = _mm256_loadu_si256(from.cast());
            let second = _mm256_and_si256(bits, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            [_mm256_slli_epi32::<16>(bits), second].map(|bits| _mm256_castsi256_ps(bits))
        }
    }

    #[inline(always)]
    unsafe fn multiply_bf16(self, _: Path, depth: usize, rows: Rows<bf16>, panel: *const bf16, sums: Sums) {
        // SAFETY: the caller's promise.
        unsafe { tile::multiply(self, Widened, depth, rows, panel, sums) }
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
