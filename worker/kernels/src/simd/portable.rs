//! Any CPU: eight numbers in an array, which the compiler puts into the vectors that the target has.

use half::bf16;

use super::{Path, Simd, WorkOn};
use crate::tile::{self, Rows, Sums, Widened};

/// What every CPU can.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Whether the compiler may count on an instruction that multiplies and adds; a call of a library would be slow.
const HAS_MUL_ADD: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

#[inline(always)]
fn zip(a: [f32; 8], b: [f32; 8], join: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    std::array::from_fn(|i| join(a[i], b[i]))
}

impl Simd for Portable {
    type Lanes = [f32; 8];

    const LANES: usize = 8;
    const TILE_ROWS: usize = if cfg!(target_arch = "aarch64") { 5 } else { 2 };

    #[inline(never)]
    fn apart<W: WorkOn<Self>>(self, work: W) {
        work.run(self);
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 8] {
        // SAFETY: the caller has LANES numbers there.
        unsafe { from.cast::<[f32; 8]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, lanes: [f32; 8]) {
        // SAFETY: the caller has room for LANES numbers there.
        unsafe { to.cast::<[f32; 8]>().write(lanes) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> [f32; 8] {
        // SAFETY: the caller has LANES numbers there.
        let numbers = unsafe { from.cast::<[bf16; 8]>().read() };
        numbers.map(|number| f32::from_bits(u32::from(number.to_bits()) << 16))
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, lanes: [f32; 8]) {
        // SAFETY: the caller has room for LANES numbers there.
        unsafe { to.cast::<[bf16; 8]>().write(lanes.map(bf16::from_f32)) }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const bf16) -> [[f32; 8]; 2] {
        // SAFETY: the caller has LANES pairs there.
        let pairs = unsafe { from.cast::<[[bf16; 2]; 8]>().read() };
        [0, 1].map(|at| pairs.map(|pair| f32::from_bits(u32::from(pair[at].to_bits()) << 16)))
    }

    #[inline(always)]
    unsafe fn multiply_bf16(self, _: Path, depth: usize, rows: Rows<bf16>, panel: *const bf16, sums: Sums) {
        // SAFETY: the caller's promise.
        unsafe { tile::multiply(self, Widened, depth, rows, panel, sums) }
    }

    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if HAS_MUL_ADD { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }

    #[inline(always)]
    fn min(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn round(self, a: [f32; 8]) -> [f32; 8] {
        // Adding 1.5 · 2²³ leaves no bit behind the point; it holds below 2²², which is all that is asked for.
        const SHIFT: f32 = 12_582_912.0;
        a.map(|a| (a + SHIFT) - SHIFT)
    }

    #[inline(always)]
    fn scale(self, a: [f32; 8], n: [f32; 8]) -> [f32; 8] {
        zip(a, n, |a, n| a * f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
}
