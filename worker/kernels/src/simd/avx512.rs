//! AVX-512: sixteen numbers, 32 registers.

use std::arch::x86_64::*;
use std::hint::black_box;

use half::bf16;

use super::{Path, Set, Simd, Work, WorkOn, amx};
use crate::peak;
use crate::tile::{self, Multiplier, Rows, Sums, Widened};

/// Proof that the CPU has AVX-512F, BW and VL, and AVX512-BF16 where `BF16`.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>(());

/// Whether this CPU has it.
pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

/// Whether it has dot products of bf16 as well.
pub(super) fn has_bf16() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// Runs `work` compiled for it.
///
/// # Safety
/// [`is_here`] says so.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) unsafe fn run<W: Work>(work: W) -> W::Output {
    work.run(Avx512::<false>(()))
}

/// As [`run`], with AVX512-BF16.
///
/// # Safety
/// [`has_bf16`] says so as well.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
pub(super) unsafe fn run_with_bf16<W: Work>(work: W) -> W::Output {
    work.run(Avx512::<true>(()))
}

/// As [`run`], called through a pointer that the compiler does not see through: inlined, a loop that wants all registers is
/// rearranged with what is known of its caller, and spills them.
///
/// # Safety
/// [`is_here`] says so.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
unsafe fn run_apart<const BF16: bool, W: WorkOn<Avx512<BF16>>>(work: W) {
    work.run(Avx512(()))
}

/// As [`run_apart`], with AVX512-BF16.
///
/// # Safety
/// [`has_bf16`] says so as well.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
unsafe fn run_apart_with_bf16<const BF16: bool, W: WorkOn<Avx512<BF16>>>(work: W) {
    work.run(Avx512(()))
}

/// Calls an intrinsic: `self` proves that it is there.
macro_rules! intrinsic {
    ($name:ident $(::<$of:literal>)? ($($argument:expr),*)) => {
        // SAFETY: an `Avx512` exists only where the CPU has AVX-512F, BW and VL.
        unsafe { $name $(::<$of>)? ($($argument),*) }
    };
}

/// The lanes of the first `count` of a vector, from none to all.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as u16
}

/// Numbers of bf16 as f32.
#[inline(always)]
fn widened<const BF16: bool>(_: Avx512<BF16>, bits: __m256i) -> __m512 {
    let bits = intrinsic!(_mm512_cvtepu16_epi32(bits));
    let bits = intrinsic!(_mm512_slli_epi32::<16>(bits));
    intrinsic!(_mm512_castsi512_ps(bits))
}

/// The nearest numbers of bf16, the even one of two.
#[inline(always)]
fn rounded<const BF16: bool>(_: Avx512<BF16>, lanes: __m512) -> __m256i {
    // SAFETY: an `Avx512` exists only where the CPU has its instructions; 16 numbers of bf16 are as many bits as the vector
    // that they become.
    unsafe {
        if BF16 {
            return std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(lanes));
        }
        let bits = _mm512_castps_si512(lanes);
        let is_odd = _mm512_and_epi32(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7fff)));
        // What is no number stays none.
        let no_number = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(lanes, lanes);
        let bits = _mm512_mask_blend_epi32(no_number, rounded, _mm512_set1_epi32(0x7fc0_0000));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits))
    }
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type Lanes = __m512;

    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;

    #[inline(always)]
    fn apart<W: WorkOn<Self>>(self, work: W) {
        // SAFETY: an `Avx512` exists only where the CPU has its instructions.
        unsafe { black_box(run_apart::<BF16, W> as unsafe fn(W))(work) }
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
    unsafe fn load_bf16(self, from: *const bf16) -> __m512 {
        let bits = intrinsic!(_mm256_loadu_si256(from.cast()));
        widened(self, bits)
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, lanes: __m512) {
        let bits = rounded(self, lanes);
        intrinsic!(_mm256_storeu_si256(to.cast(), bits))
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
        intrinsic!(_mm512_maskz_loadu_ps(first(count), from))
    }

    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> __m512 {
        let bits = intrinsic!(_mm256_maskz_loadu_epi16(first(count), from.cast()));
        widened(self, bits)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, lanes: __m512, count: usize) {
        intrinsic!(_mm512_mask_storeu_ps(to, first(count), lanes))
    }

    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut bf16, lanes: __m512, count: usize) {
        let bits = rounded(self, lanes);
        intrinsic!(_mm256_mask_storeu_epi16(to.cast(), first(count), bits))
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const bf16) -> [__m512; 2] {
        // SAFETY: the caller has LANES pairs there, and an `Avx512` exists only where the CPU has AVX-512F.
        unsafe {
            let bits = _mm512_loadu_si512(from.cast());
            let second = _mm512_and_epi32(bits, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [_mm512_slli_epi32::<16>(bits), second].map(|bits| _mm512_castsi512_ps(bits))
        }
    }

    #[inline(always)]
    unsafe fn multiply_bf16(self, path: Path, depth: usize, rows: Rows<bf16>, panel: *const bf16, sums: Sums) {
        // SAFETY: the caller's promise, and a path of a set is made only where the CPU has its instructions.
        unsafe {
            match path.0 {
                Set::Amx => amx::multiply(depth, rows, panel, sums),
                Set::Avx512Bf16 => tile::multiply(self, Dots(()), depth, rows, panel, sums),
                _ => tile::multiply(self, Widened, depth, rows, panel, sums),
            }
        }
    }

    #[inline(always)]
    fn rounds_bf16(self, path: Path) -> f64 {
        match path.0 {
            // SAFETY: a path of this set is made only where the CPU has tiles.
            Set::Amx => unsafe { amx::rounds() },
            Set::Avx512Bf16 => peak::rounds(self, Dots(())),
            _ => peak::rounds(self, Widened),
        }
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
    fn reciprocal(self, a: __m512) -> __m512 {
        // Fourteen digits of it, and twice as many after a step of Newton's: a division takes longer than all of this.
        let near = intrinsic!(_mm512_rcp14_ps(a));
        let missing = intrinsic!(_mm512_fnmadd_ps(a, near, _mm512_set1_ps(1.0)));
        intrinsic!(_mm512_fmadd_ps(near, missing, near))
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

/// Two numbers of bf16 with two of them, in one instruction, where the CPU has AVX512-BF16.
#[derive(Clone, Copy)]
struct Dots(());

impl<const BF16: bool> Multiplier<Avx512<BF16>> for Dots {
    type Number = bf16;
    type Factors = __m512bh;

    const STEP: usize = 2;
    const TILE_ROWS: usize = Avx512::<BF16>::TILE_ROWS;

    #[inline(always)]
    unsafe fn panel(self, _: Avx512<BF16>, from: *const bf16) -> __m512bh {
        // SAFETY: the caller has LANES pairs there; any bits are pairs of bf16.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn row(self, _: Avx512<BF16>, from: *const bf16) -> __m512bh {
        // SAFETY: the caller has a pair there; any bits are pairs of bf16.
        unsafe {
            let pair = from.cast::<i32>().read_unaligned();
            std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair))
        }
    }

    #[inline(always)]
    fn mul_add(self, _: Avx512<BF16>, row: __m512bh, panel: __m512bh, sum: __m512) -> __m512 {
        // SAFETY: it is called for a path whose CPU has AVX512-BF16.
        unsafe { _mm512_dpbf16_ps(sum, row, panel) }
    }

    #[inline(always)]
    fn apart<W: WorkOn<Avx512<BF16>>>(self, _: Avx512<BF16>, work: W) {
        // SAFETY: as above.
        unsafe { black_box(run_apart_with_bf16::<BF16, W> as unsafe fn(W))(work) }
    }
}
