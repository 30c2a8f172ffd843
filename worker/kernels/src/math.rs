//! Functions of every number of a vector.

use std::f32::consts::LN_2;

use crate::number::Number;
use crate::simd::Simd;

/// log₂ e in two parts, the second of which is what f32 rounds away of it.
const LOG2_E: [f32; 2] =
    [std::f32::consts::LOG2_E, (std::f64::consts::LOG2_E - std::f32::consts::LOG2_E as f64) as f32];
/// Exponents beyond these are those of the smallest and the largest normal number.
const EXPONENT_RANGE: [f32; 2] = [-126.0, 127.0];

/// Most terms of [`exp2_of_parts`].
const TERMS: usize = 8;

/// `ln(2)^degree / degree!`
const fn coefficient(degree: usize) -> f32 {
    let (mut value, mut i) = (1.0f64, 1);
    while i <= degree {
        value *= std::f64::consts::LN_2 / i as f64;
        i += 1;
    }
    value as f32
}

const COEFFICIENTS: [f32; TERMS] = {
    let (mut all, mut degree) = ([0.0; TERMS], 0);
    while degree < TERMS {
        all[degree] = coefficient(degree);
        degree += 1;
    }
    all
};

/// `2^(n + r)` for an integer `n` and `r` in `[-½, ½]`: Taylor's polynomial of [`Number::EXP_DEGREE`].
#[inline(always)]
fn exp2_of_parts<N: Number, S: Simd>(simd: S, n: S::Lanes, r: S::Lanes) -> S::Lanes {
    let mut sum = simd.splat(COEFFICIENTS[N::EXP_DEGREE]);
    for degree in (0..N::EXP_DEGREE).rev() {
        sum = simd.mul_add(sum, r, simd.splat(COEFFICIENTS[degree]));
    }
    simd.scale(sum, n)
}

/// `2^x` for `x` up to 127, as exact as numbers of `N` are; numbers that f32 has none for become the smallest that it has.
#[inline(always)]
pub(crate) fn exp2<N: Number, S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
    let x = simd.max(simd.splat(EXPONENT_RANGE[0]), x);
    let n = simd.round(x);
    exp2_of_parts::<N, S>(simd, n, simd.sub(x, n))
}

/// `e^x`, exact as [`exp2`] is; numbers that f32 has none for become the smallest or the largest that it has.
#[inline(always)]
pub(crate) fn exp<N: Number, S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
    let [low, high] = EXPONENT_RANGE;
    let x = simd.max(simd.splat(low * LN_2), simd.min(simd.splat(high * LN_2), x));
    let n = simd.round(simd.mul(x, simd.splat(LOG2_E[0])));
    let r = simd.mul_add(x, simd.splat(LOG2_E[0]), simd.sub(simd.splat(0.0), n));
    exp2_of_parts::<N, S>(simd, n, simd.mul_add(x, simd.splat(LOG2_E[1]), r))
}

/// `x · sigmoid(factor · x)`: SiLU for a factor of 1, CLIP's quick GELU for 1.702.
#[inline(always)]
pub(crate) fn sigmoid_gated<N: Number, S: Simd>(simd: S, x: S::Lanes, factor: f32) -> S::Lanes {
    let one = simd.splat(1.0);
    let behind = exp::<N, S>(simd, simd.mul(x, simd.splat(-factor)));
    simd.mul(x, simd.reciprocal(simd.add(one, behind)))
}

/// `x · Φ(x)`, with the error function of Abramowitz and Stegun, 7.1.26, which is within 1.5·10⁻⁷.
#[inline(always)]
pub(crate) fn gelu_erf<N: Number, S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
    const P: f32 = 0.327_591_1;
    const A: [f64; 5] = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let zero = simd.splat(0.0);
    let z = simd.mul(simd.max(x, simd.sub(zero, x)), simd.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.reciprocal(simd.mul_add(z, simd.splat(P), simd.splat(1.0)));
    let mut sum = zero;
    for a in A {
        sum = simd.mul(t, simd.add(sum, simd.splat(a as f32)));
    }
    // 2 Φ(-|x|), which is small where x is large: `x · Φ(x)` loses no digits left of zero.
    let tail = simd.mul(sum, exp::<N, S>(simd, simd.sub(zero, simd.mul(z, z))));
    let half_of_tail = simd.mul(simd.splat(0.5), tail);
    // x Φ(x) is x − x Φ(−x) right of zero, and x Φ(−|x|) left of it.
    let (right, left) = (simd.max(zero, x), simd.min(zero, x));
    simd.mul_add(simd.sub(left, right), half_of_tail, right)
}
