//! Vectors of `f32`: one trait, one implementation for each instruction set, and the choice among them at run time.
//!
//! A kernel is a [`Work`], written once over [`Simd`]. [`Path::run`] compiles it for every instruction set and runs the
//! one that the path stands for. A [`Path`] exists only where the CPU has its instructions, so running it is safe.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use half::bf16;

use crate::number::Number;
use crate::peak;
use crate::tile::{Rows, Sums, Widened};

/// Instructions that kernels run on; the CPU has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Path(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// AVX-512, and tiles for products of bf16.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// AVX-512, and dot products of bf16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// All that this CPU has, the fastest first.
static AVAILABLE: LazyLock<Vec<Path>> = LazyLock::new(|| {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = avx512::is_here();
        let bf16 = avx512::has_bf16();
        let sets_of_512 = [(bf16 && amx::is_here(), Set::Amx), (bf16, Set::Avx512Bf16), (true, Set::Avx512)];
        sets.extend(sets_of_512.into_iter().filter(|(is_here, _)| avx512 && *is_here).map(|(_, set)| set));
        sets.extend(avx2::is_here().then_some(Set::Avx2));
    }
    sets.push(Set::Portable);
    sets.into_iter().map(Path).collect()
});

impl Path {
    /// The fastest that this CPU has.
    pub fn detected() -> Self {
        AVAILABLE[0]
    }

    /// All that this CPU has, the fastest first.
    pub fn available() -> &'static [Self] {
        &AVAILABLE
    }

    /// How people call it.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx => "AVX-512 and AMX",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16 => "AVX-512 and BF16",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2 and FMA",
            Set::Portable => "portable",
        }
    }

    /// Runs `work`, compiled for these instructions.
    #[inline]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a path of a set is made only where the CPU has its instructions.
            Set::Amx => unsafe { amx::with_tiles(|| avx512::run_with_bf16(work)) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx512Bf16 => unsafe { avx512::run_with_bf16(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx512 => unsafe { avx512::run(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx2 => unsafe { avx2::run(work) },
            Set::Portable => work.run(portable::Portable),
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kernel over any vectors. Implementations are `#[inline(always)]`, and so is all that they call with vectors:
/// only what is inlined into [`Path::run`] is compiled for its instructions.
pub(crate) trait Work {
    /// What it computes.
    type Output;

    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// As [`Work`], for vectors of one instruction set alone.
pub trait WorkOn<S> {
    fn run(self, simd: S);
}

/// Vectors of one instruction set. A value of the type proves that the CPU has it.
pub trait Simd: Copy {
    /// [`Self::LANES`] numbers.
    type Lanes: Copy;

    /// Numbers of a vector.
    const LANES: usize;
    /// Rows of a tile of products of f32 (see [`crate::tile`]) two vectors wide: as many as the registers hold.
    const TILE_ROWS: usize;

    /// Runs `work` in a function of its own: what wants all registers shares them with nothing around it.
    fn apart<W: WorkOn<Self>>(self, work: W);

    fn splat(self, value: f32) -> Self::Lanes;
    /// Reads [`Self::LANES`] numbers.
    ///
    /// # Safety
    /// They lie at `from`.
    unsafe fn load(self, from: *const f32) -> Self::Lanes;
    /// Writes [`Self::LANES`] numbers.
    ///
    /// # Safety
    /// There is room for them at `to`.
    unsafe fn store(self, to: *mut f32, lanes: Self::Lanes);

    /// Reads [`Self::LANES`] numbers of bf16.
    ///
    /// # Safety
    /// They lie at `from`.
    unsafe fn load_bf16(self, from: *const bf16) -> Self::Lanes;
    /// Writes [`Self::LANES`] numbers as bf16, each the nearest, the even one of two.
    ///
    /// # Safety
    /// There is room for them at `to`.
    unsafe fn store_bf16(self, to: *mut bf16, lanes: Self::Lanes);
    /// Reads [`Self::LANES`] pairs of bf16: the first number of each, and the second.
    ///
    /// # Safety
    /// They lie at `from`.
    unsafe fn load_pairs(self, from: *const bf16) -> [Self::Lanes; 2];
    /// [`crate::tile::multiply`] by the fastest instructions of `path` for products of bf16; rows are done in whole tiles.
    ///
    /// # Safety
    /// As there, for rows and sums up to a multiple of [`Number::TILE_ROWS`], and `path` has these vectors.
    unsafe fn multiply_bf16(self, path: Path, depth: usize, rows: Rows<bf16>, panel: *const bf16, sums: Sums);

    /// [`peak::rounds`](crate::peak::rounds) by the fastest instructions of `path` for products of bf16.
    #[inline(always)]
    fn rounds_bf16(self, _: Path) -> f64 {
        peak::rounds(self, Widened)
    }

    /// Brings the line of the cache at `at` nearer, where the CPU can; any address will do.
    fn prefetch(self, at: *const f32);

    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn div(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `1 / a`, rounded to a unit in the last place or the next.
    #[inline(always)]
    fn reciprocal(self, a: Self::Lanes) -> Self::Lanes {
        self.div(self.splat(1.0), a)
    }
    /// `a · b + c`, rounded once where the CPU can.
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// The smaller; `b` where either is no number.
    fn min(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The larger; `b` where either is no number.
    fn max(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The nearest integers.
    fn round(self, a: Self::Lanes) -> Self::Lanes;
    /// `a · 2ⁿ` for integers `n` in `[-126, 127]`.
    fn scale(self, a: Self::Lanes, n: Self::Lanes) -> Self::Lanes;

    /// Reads `count` numbers, at most [`Self::LANES`], and zeros behind them.
    ///
    /// # Safety
    /// They lie at `from`.
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::Lanes {
        // SAFETY: the caller's promise.
        unsafe { first_of(self, from, count) }
    }

    /// As [`Self::load_first`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> Self::Lanes {
        // SAFETY: the caller's promise.
        unsafe { first_of(self, from, count) }
    }

    /// Writes the first `count` numbers, at most [`Self::LANES`].
    ///
    /// # Safety
    /// There is room for them at `to`.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, lanes: Self::Lanes, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { first_to(self, to, lanes, count) }
    }

    /// As [`Self::store_first`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut bf16, lanes: Self::Lanes, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { first_to(self, to, lanes, count) }
    }

    /// The numbers of `from`, at most [`Self::LANES`] of them, and zeros in place of those that lack.
    #[inline(always)]
    fn load_part<N: Number>(self, from: &[N]) -> Self::Lanes {
        // SAFETY: so many are there.
        unsafe { N::load_first(self, from.as_ptr(), from.len().min(Self::LANES)) }
    }

    /// Writes the first numbers of `lanes` to `to`, at most [`Self::LANES`] of them.
    #[inline(always)]
    fn store_part<N: Number>(self, to: &mut [MaybeUninit<N>], lanes: Self::Lanes) {
        // SAFETY: there is room for so many.
        unsafe { N::store_first(self, to.as_mut_ptr().cast(), lanes, to.len().min(Self::LANES)) }
    }

    /// The numbers, and zeros behind them.
    #[inline(always)]
    fn to_array(self, lanes: Self::Lanes) -> [f32; LANES_MAX] {
        let mut whole = [0.0; LANES_MAX];
        // SAFETY: LANES is at most LANES_MAX.
        unsafe { self.store(whole.as_mut_ptr(), lanes) }
        whole
    }

    /// The sum of all numbers, by halves.
    #[inline(always)]
    fn sum(self, lanes: Self::Lanes) -> f32 {
        halved(self.to_array(lanes), Self::LANES, |a, b| a + b)
    }

    /// The largest number.
    #[inline(always)]
    fn largest(self, lanes: Self::Lanes) -> f32 {
        halved(self.to_array(lanes), Self::LANES, f32::max)
    }
}

/// The most that any instruction set has.
pub(crate) const LANES_MAX: usize = 16;

/// # Safety
/// `count` numbers lie at `from`.
#[inline(always)]
unsafe fn first_of<S: Simd, N: Number>(simd: S, from: *const N, count: usize) -> S::Lanes {
    let mut whole = [N::default(); LANES_MAX];
    // SAFETY: the caller's promise, and LANES is at most LANES_MAX.
    unsafe {
        whole[..count].copy_from_slice(std::slice::from_raw_parts(from, count));
        N::load(simd, whole.as_ptr())
    }
}

/// # Safety
/// There is room for `count` numbers at `to`.
#[inline(always)]
unsafe fn first_to<S: Simd, N: Number>(simd: S, to: *mut N, lanes: S::Lanes, count: usize) {
    let mut whole = [N::default(); LANES_MAX];
    // SAFETY: the caller's promise, and LANES is at most LANES_MAX.
    unsafe {
        N::store(simd, whole.as_mut_ptr(), lanes);
        to.copy_from_nonoverlapping(whole[..count].as_ptr(), count);
    }
}

#[inline(always)]
fn halved(mut numbers: [f32; LANES_MAX], lanes: usize, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = lanes / 2;
    while half > 0 {
        for i in 0..half {
            numbers[i] = join(numbers[i], numbers[i + half]);
        }
        half /= 2;
    }
    numbers[0]
}

/// Calls `f` for each vector of `x`; the last one is filled up with zeros.
#[inline(always)]
pub(crate) fn each<S: Simd, N: Number>(simd: S, x: &[N], mut f: impl FnMut(S::Lanes)) {
    let mut chunks = x.chunks_exact(S::LANES);
    for chunk in &mut chunks {
        // SAFETY: a chunk has LANES numbers.
        f(unsafe { N::load(simd, chunk.as_ptr()) });
    }
    if !chunks.remainder().is_empty() {
        f(simd.load_part(chunks.remainder()));
    }
}

/// Replaces each vector of `x` by what `f` makes of it and of where it begins.
#[inline(always)]
pub(crate) fn change<S: Simd>(simd: S, x: &mut [f32], mut f: impl FnMut(usize, S::Lanes) -> S::Lanes) {
    let whole = x.len() / S::LANES * S::LANES;
    let (body, rest) = x.split_at_mut(whole);
    for (at, chunk) in body.chunks_exact_mut(S::LANES).enumerate() {
        // SAFETY: a chunk has LANES numbers.
        unsafe { simd.store(chunk.as_mut_ptr(), f(at * S::LANES, simd.load(chunk.as_ptr()))) }
    }
    if !rest.is_empty() {
        let lanes = f(whole, simd.load_part::<f32>(rest));
        rest.copy_from_slice(&simd.to_array(lanes)[..rest.len()]);
    }
}

/// Writes to each vector of `x` what `f` makes of where it begins.
#[inline(always)]
pub(crate) fn fill<S: Simd, N: Number>(simd: S, x: &mut [MaybeUninit<N>], mut f: impl FnMut(usize) -> S::Lanes) {
    let whole = x.len() / S::LANES * S::LANES;
    let (body, rest) = x.split_at_mut(whole);
    for (at, chunk) in body.chunks_exact_mut(S::LANES).enumerate() {
        // SAFETY: a chunk has room for LANES numbers.
        unsafe { N::store(simd, chunk.as_mut_ptr().cast(), f(at * S::LANES)) }
    }
    if !rest.is_empty() {
        simd.store_part(rest, f(whole));
    }
}

/// The vector of `x` that begins at `at`, filled up with zeros.
#[inline(always)]
pub(crate) fn at<S: Simd, N: Number>(simd: S, x: &[N], at: usize) -> S::Lanes {
    let from = &x[at..];
    if from.len() >= S::LANES {
        // SAFETY: LANES numbers are there.
        unsafe { N::load(simd, from.as_ptr()) }
    } else {
        simd.load_part(from)
    }
}
