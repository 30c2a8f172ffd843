//! Every kernel against sums in f64 written out here, over random sizes, on every path that this CPU has.

mod packing;

use half::bf16;
use proptest::prelude::*;
use sd_kernels::{
    Activation, Attention, Ending, GroupNorm, Kernels, Number, Path, Shift, Window, WinogradMatrix, winograd_conv2d,
};

/// What is held against sums in f64: how far a number may be away, relative to the largest of the result.
trait Tested: Kernels + std::fmt::Debug + PartialEq {
    /// Of products.
    const DIFFERENCE_MAX: f64;
    /// Of convolutions of a picture at twice its size, whose weights are sums of up to four that are rounded once more.
    const PHASES_DIFFERENCE_MAX: f64;
    /// Of normalisations.
    const NORM_DIFFERENCE_MAX: f64;
    /// Of attention.
    const SOFTMAX_DIFFERENCE_MAX: f64;
}

impl Tested for f32 {
    // Of sums of thousands: each of them is rounded.
    const DIFFERENCE_MAX: f64 = 4e-6;
    const PHASES_DIFFERENCE_MAX: f64 = Self::DIFFERENCE_MAX;
    // What f32 has of a mean of 50 is within 2·10⁻⁶ of it.
    const NORM_DIFFERENCE_MAX: f64 = 1e-5;
    // What a score of 30 is wrong by in f32 is what its weight is wrong by.
    const SOFTMAX_DIFFERENCE_MAX: f64 = 1e-5;
}

impl Tested for bf16 {
    // A number is rounded once, to eight digits: by half of 2⁻⁷ at most; the rest is that of f32.
    const DIFFERENCE_MAX: f64 = 1.01 / 256.0;
    // The errors of weights are as large as that of the result, but point everywhere: half of it is left of them.
    const PHASES_DIFFERENCE_MAX: f64 = 1.5 * Self::DIFFERENCE_MAX;
    const NORM_DIFFERENCE_MAX: f64 = 1.01 / 256.0;
    // Weights are rounded too.
    const SOFTMAX_DIFFERENCE_MAX: f64 = 2.0 / 256.0;
}

/// Of convolutions with fewer multiplications: sums of up to four numbers are multiplied, and up to nine products
/// summed up.
const WINOGRAD_DIFFERENCE_MAX: f64 = 5e-6;

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Silu, Activation::QuickGelu, Activation::GeluErf];

/// Numbers in `[-1, 1)` that look random; `seed` tells one series from another.
fn numbers<N: Number>(count: usize, seed: u32) -> Vec<N> {
    let number = |i: u32| {
        let mixed = (i ^ seed.wrapping_mul(0x5bd1_e995)).wrapping_mul(0x9e37_79b1);
        N::from_f32((mixed ^ (mixed >> 15)) as f32 / (1u32 << 31) as f32 - 1.0)
    };
    (0..count as u32).map(number).collect()
}

/// Holds what `found` says on every path against `expected`.
fn check<N: Tested>(found: impl Fn(Path) -> Vec<N>, expected: &[f64]) {
    check_within(N::DIFFERENCE_MAX, found, expected);
}

fn check_within<N: Tested>(difference_max: f64, found: impl Fn(Path) -> Vec<N>, expected: &[f64]) {
    let largest = expected.iter().fold(1e-3f64, |largest, x| largest.max(x.abs()));
    for &path in Path::available() {
        let found = wide(&found(path));
        assert_eq!(found.len(), expected.len(), "{path:?}");
        for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let difference = (found - expected).abs();
            let near = difference <= difference_max * largest;
            assert!(near, "{path:?}: number {at} is {found}, not {expected}; the largest is {largest}");
        }
    }
}

/// The error function by its series, which converges everywhere and keeps its digits below 4.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2f64.sqrt()))
}

fn active(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Identity | Activation::Geglu => x,
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::GeluErf => gelu(x),
    }
}

fn wide<N: Number>(x: &[N]) -> Vec<f64> {
    x.iter().map(|x| f64::from(x.to_f32())).collect()
}

/// `x · weights + bias`, for weights `[columns, depth]`.
fn plain_product<N: Number>(x: &[N], weights: &[N], bias: &[N], depth: usize) -> Vec<f64> {
    let (x, weights, bias) = (wide(x), wide(weights), wide(bias));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let row = |x| weights.chunks_exact(depth).zip(&bias).map(move |(w, b)| dot(x, w) + b);
    x.chunks_exact(depth).flat_map(row).collect()
}

/// `[batch, height', width', outputs]` for weights `[outputs, channels, kernel, kernel]`.
fn plain_convolution<N: Number>(x: &[N], window: Window, weights: &[N], outputs: usize) -> Vec<f64> {
    let (x, weights) = (wide(x), wide(weights));
    let Window { batch, size, seen, channels, kernel, stride, padding: [before, _] } = window;
    let [height, width] = window.places().expect("it fits");
    let mut out = Vec::new();
    for item in 0..batch {
        for (y, x_at) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for output in 0..outputs {
                let mut sum = 0.0;
                for (channel, tap) in (0..channels).flat_map(|c| (0..kernel * kernel).map(move |t| (c, t))) {
                    let at = [y * stride + tap / kernel, x_at * stride + tap % kernel];
                    let inside = |axis: usize| at[axis].checked_sub(before).filter(|&at| at < seen[axis]);
                    if let (Some(py), Some(px)) = (inside(0), inside(1)) {
                        let (py, px) = (py * size[0] / seen[0], px * size[1] / seen[1]);
                        let place = ((item * size[0] + py) * size[1] + px) * channels + channel;
                        let weight = weights[(output * channels + channel) * kernel * kernel + tap];
                        sum += x[place] * weight;
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

fn plain_attention<N: Number>(q: &[N], k: &[N], v: &[N], shape: Attention) -> Vec<f64> {
    let (q, k, v) = (wide(q), wide(k), wide(v));
    let Attention { batch, queries, keys, heads, channels, causal } = shape;
    let mut out = vec![0.0; q.len()];
    for (item, head) in (0..batch).flat_map(|item| (0..heads).map(move |head| (item, head))) {
        let place = |tokens: usize, token: usize| ((item * tokens + token) * heads + head) * channels;
        for query in 0..queries {
            let q = &q[place(queries, query)..][..channels];
            let seen = if causal { keys.min(query + 1) } else { keys };
            let score = |key: usize| {
                let k = &k[place(keys, key)..][..channels];
                let dot: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
                dot / (channels as f64).sqrt()
            };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            for (key, score) in scores.iter().enumerate() {
                for channel in 0..channels {
                    let value = v[place(keys, key) + channel];
                    out[place(queries, query) + channel] += (score - largest).exp() / total * value;
                }
            }
        }
    }
    out
}

fn check_product<N: Tested>(rows: usize, depth: usize, columns: usize, activation: Activation) {
    let (x, weights) = (numbers::<N>(rows * depth, 1), numbers(columns * depth, 2));
    let (bias, residual) = (numbers(columns, 3), numbers(rows * columns, 4));
    let packed = N::pack(&weights, columns, depth, 1);
    let plain = plain_product(&x, &weights, &bias, depth);
    let expected: Vec<f64> = plain.iter().zip(wide(&residual)).map(|(sum, r)| active(sum + r, activation)).collect();
    let ending = Ending { bias: Some(&bias), residual: Some(&residual), activation, ..Ending::default() };
    check(|path| N::linear(path, &x, &packed, ending), &expected);
}

fn check_gated_product<N: Tested>(rows: usize, depth: usize, columns: usize) {
    let x = numbers::<N>(rows * depth, 1);
    let (weights, bias) = (numbers(2 * columns * depth, 2), numbers(2 * columns, 3));
    let packed = N::pack(&weights, 2 * columns, depth, 1);
    let plain = plain_product(&x, &weights, &bias, depth);
    let gated = |row: &[f64]| (0..columns).map(|i| row[i] * gelu(row[columns + i])).collect::<Vec<_>>();
    let expected: Vec<f64> = plain.chunks_exact(2 * columns).flat_map(gated).collect();
    let ending = Ending { bias: Some(&bias), activation: Activation::Geglu, ..Ending::default() };
    check(|path| N::linear(path, &x, &packed, ending), &expected);
}

fn check_convolution<N: Tested>(window: Window, outputs: usize, shift_for_all: bool) {
    let Window { batch, size, channels, kernel, .. } = window;
    let Some([height, width]) = window.places() else { return };
    let x = numbers::<N>(batch * size[0] * size[1] * channels, 1);
    let weights = numbers(outputs * channels * kernel * kernel, 2);
    let packed = N::pack(&weights, outputs, channels * kernel * kernel, kernel * kernel);
    let (rows, items) = (height * width, if shift_for_all { 1 } else { batch });
    let shift = numbers::<N>(items * outputs, 3);
    let shifted = |(at, sum): (usize, &f64)| {
        let item = if shift_for_all { 0 } else { at / (rows * outputs) };
        sum + f64::from(shift[item * outputs + at % outputs].to_f32())
    };
    let plain = plain_convolution(&x, window, &weights, outputs);
    let expected: Vec<f64> = plain.iter().enumerate().map(shifted).collect();
    let ending = Ending { shift: Some(Shift { numbers: &shift, rows }), ..Ending::default() };
    let is_doubled = window.seen == size.map(|side| 2 * side);
    let difference_max = if is_doubled { N::PHASES_DIFFERENCE_MAX } else { N::DIFFERENCE_MAX };
    check_within(difference_max, |path| N::conv2d(path, &x, window, &packed, ending), &expected);
}

/// What becomes of a picture among others is what becomes of it alone, to the last bit.
fn check_items_apart<N: Tested>(window: Window, outputs: usize) {
    let Window { batch, size, channels, .. } = window;
    let of_item = size[0] * size[1] * channels;
    let x = numbers::<N>(batch * of_item, 1);
    let packed = N::pack(&numbers(outputs * channels * 9, 2), outputs, channels * 9, 9);
    for &path in Path::available() {
        let convolved = |x: &[N], batch| N::conv2d(path, x, Window { batch, ..window }, &packed, Ending::default());
        let alone: Vec<N> = x.chunks_exact(of_item).flat_map(|item| convolved(item, 1)).collect();
        assert!(convolved(&x, batch) == alone, "{path:?} of {window:?}");
    }
}

fn check_attention<N: Tested>(shape: Attention) {
    let Attention { batch, queries, keys, heads, channels, .. } = shape;
    // Scores of several units, so that some keys weigh much more than others.
    let far = |count, seed| numbers::<f32>(count, seed).into_iter().map(|x| N::from_f32(3.0 * x)).collect::<Vec<N>>();
    let q = far(batch * queries * heads * channels, 1);
    let (k, v) = (far(batch * keys * heads * channels, 2), numbers(batch * keys * heads * channels, 3));
    let expected = plain_attention(&q, &k, &v, shape);
    check_within(N::SOFTMAX_DIFFERENCE_MAX, |path| N::attention(path, &q, &k, &v, shape), &expected);
}

fn check_group_norm<N: Tested>(
    batch: usize,
    positions: usize,
    groups: usize,
    of_group: usize,
    silu: bool,
    offset: f32,
) {
    let channels = groups * of_group;
    let numbers_of_x = numbers::<f32>(batch * positions * channels, 1);
    let x: Vec<N> = numbers_of_x.iter().map(|x| N::from_f32(x + offset)).collect();
    let (weight, bias) = (numbers::<N>(channels, 2), numbers::<N>(channels, 3));
    let activation = if silu { Activation::Silu } else { Activation::Identity };
    let (wide_x, wide_weight, wide_bias) = (wide(&x), wide(&weight), wide(&bias));
    let mut expected = vec![0.0; x.len()];
    for (item, group) in (0..batch).flat_map(|item| (0..groups).map(move |group| (item, group))) {
        let places: Vec<usize> = (0..positions)
            .flat_map(|position| (0..of_group).map(move |c| (position, group * of_group + c)))
            .map(|(position, channel)| (item * positions + position) * channels + channel)
            .collect();
        let mean = places.iter().map(|&at| wide_x[at]).sum::<f64>() / places.len() as f64;
        let squares = places.iter().map(|&at| (wide_x[at] - mean).powi(2)).sum::<f64>();
        let scale = 1.0 / (squares / places.len() as f64 + 1e-2).sqrt();
        for at in places {
            let (weight, bias) = (wide_weight[at % channels], wide_bias[at % channels]);
            expected[at] = active((wide_x[at] - mean) * scale * weight + bias, activation);
        }
    }
    let norm = GroupNorm { weight: &weight, bias: &bias, groups, eps: 1e-2 };
    check_within(N::NORM_DIFFERENCE_MAX, |path| N::group_norm(path, &x, batch, norm, activation), &expected);
}

fn check_layer_norm<N: Tested>(rows: usize, channels: usize) {
    let x = numbers::<N>(rows * channels, 1);
    let (weight, bias) = (numbers::<N>(channels, 2), numbers::<N>(channels, 3));
    let (wide_weight, wide_bias) = (wide(&weight), wide(&bias));
    let normalised = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / channels as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
        let of = |(at, x): (usize, &f64)| (x - mean) / (variance + 1e-5).sqrt() * wide_weight[at] + wide_bias[at];
        row.iter().enumerate().map(of).collect::<Vec<_>>()
    };
    let expected: Vec<f64> = wide(&x).chunks_exact(channels).flat_map(normalised).collect();
    check_within(N::NORM_DIFFERENCE_MAX, |path| N::layer_norm(path, &x, &weight, &bias, 1e-5), &expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_sums(rows in 1usize..40, depth in 1usize..600, columns in 1usize..100, activation in 0usize..5) {
        check_product::<f32>(rows, depth, columns, ACTIVATIONS[activation]);
        check_product::<bf16>(rows, depth, columns, ACTIVATIONS[activation]);
    }

    #[test]
    fn products_are_gated(rows in 1usize..40, depth in 1usize..70, panels in 1usize..5) {
        check_gated_product::<f32>(rows, depth, 32 * panels);
        check_gated_product::<bf16>(rows, depth, 32 * panels);
    }

    #[test]
    fn convolutions_are_sums_over_windows(
        batch in 1usize..4, size in [1usize..12, 1usize..12], grown in [0usize..9, 0usize..9], channels in 1usize..40,
        outputs in 1usize..50, kernel in 1usize..4, stride in 1usize..3, padding in [0usize..2, 0usize..2],
        shift_for_all: bool,
    ) {
        let seen = [size[0] + grown[0], size[1] + grown[1]];
        let window = Window { batch, size, seen, channels, kernel, stride, padding };
        check_convolution::<f32>(window, outputs, shift_for_all);
        check_convolution::<bf16>(window, outputs, shift_for_all);
    }

    #[test]
    fn patches_lie_in_padded_pictures(
        batch in 1usize..4, size in [3usize..14, 3usize..14], seen in 0usize..3, few in 1usize..40, steps in 1usize..9,
        outputs in 1usize..50, shift_for_all: bool,
    ) {
        let seen = [size, size.map(|side| 2 * side), [size[0] + 3, 2 * size[1]]][seen];
        // Whole steps of a product of bf16; from six of them on a pixel is a piece of its own.
        for channels in [few, 32 * steps] {
            let window = Window { batch, size, seen, channels, kernel: 3, stride: 1, padding: [1, 1] };
            check_convolution::<f32>(window, outputs, shift_for_all);
            check_convolution::<bf16>(window, outputs, shift_for_all);
            check_items_apart::<f32>(window, outputs);
            check_items_apart::<bf16>(window, outputs);
        }
    }

    #[test]
    fn convolutions_with_fewer_multiplications_are_the_same(
        batch in 1usize..4, size in [1usize..12, 1usize..12], grown in [0usize..9, 0usize..9], doubled: bool,
        channels in 1usize..300, outputs in 1usize..80, padding in [0usize..2, 0usize..2],
    ) {
        let seen = if doubled { size.map(|side| 2 * side) } else { [size[0] + grown[0], size[1] + grown[1]] };
        let window = Window { batch, size, seen, channels, kernel: 3, stride: 1, padding };
        let Some(places) = window.places() else { return Ok(()) };
        let x = numbers::<f32>(batch * size[0] * size[1] * channels, 1);
        let weights = numbers::<f32>(outputs * channels * 9, 2);
        let turned = WinogradMatrix::new(&weights, outputs, channels);
        let residual = numbers::<f32>(batch * places[0] * places[1] * outputs, 3);
        let plain = plain_convolution(&x, window, &weights, outputs);
        let expected: Vec<f64> = plain.iter().zip(wide(&residual)).map(|(sum, r)| sum + r).collect();
        let ending = Ending { residual: Some(&residual), ..Ending::default() };
        check_within(
            WINOGRAD_DIFFERENCE_MAX,
            |path| winograd_conv2d(path, &x, window, &turned, ending),
            &expected,
        );
    }

    #[test]
    fn attention_is_a_weighted_mean(
        batch in 1usize..3, queries in 1usize..150, keys in 1usize..600, heads in 1usize..4, channels in 1usize..70,
        causal: bool,
    ) {
        let shape = Attention { batch, queries, keys, heads, channels, causal };
        check_attention::<f32>(shape);
        check_attention::<bf16>(shape);
    }

    #[test]
    fn groups_are_normalised(
        batch in 1usize..4, positions in 1usize..90, groups in 1usize..9, of_group in 1usize..60, silu: bool,
        offset in -50f32..50.0,
    ) {
        check_group_norm::<f32>(batch, positions, groups, of_group, silu, offset);
        check_group_norm::<bf16>(batch, positions, groups, of_group, silu, offset);
    }

    #[test]
    fn rows_are_normalised(rows in 1usize..40, channels in 1usize..200) {
        check_layer_norm::<f32>(rows, channels);
        check_layer_norm::<bf16>(rows, channels);
    }
}

#[test]
fn activations_are_their_definitions_far_and_near() {
    let x: Vec<f32> = (-4000..4000).map(|i| i as f32 / 80.0).collect();
    for (path, activation) in Path::available().iter().flat_map(|&path| ACTIVATIONS.map(|of| (path, of))) {
        let found = f32::activate(path, &x, activation);
        for (x, found) in wide(&x).into_iter().zip(wide(&found)) {
            let expected = active(x, activation);
            let near = (found - expected).abs() <= 4e-7 * x.abs().max(0.25);
            assert!(near, "{path:?} {activation:?} of {x} is {found}, not {expected}");
        }
        let found = f32::activate(path, &[f32::NAN; 40], activation);
        assert!(found.iter().all(|x| x.is_nan()), "{path:?} {activation:?} hides what is no number");
    }
}

#[test]
fn scores_may_be_far_apart() {
    fn check_scores<N: Tested>() {
        let shape = Attention { batch: 1, queries: 2, keys: 300, heads: 1, channels: 4, causal: false };
        let q = vec![N::from_f32(100.0); 8];
        let key = |key| N::from_f32(if key == 290 { 9.0 } else { key as f32 / 300.0 });
        let k: Vec<N> = (0..300).flat_map(|at| [key(at); 4]).collect();
        let v = numbers(1200, 3);
        let expected = plain_attention(&q, &k, &v, shape);
        check_within(N::SOFTMAX_DIFFERENCE_MAX, |path| N::attention(path, &q, &k, &v, shape), &expected);
    }
    check_scores::<f32>();
    check_scores::<bf16>();
}

#[test]
fn keys_come_in_segments() {
    // One head of so many keys is more than is packed at once.
    fn check_segments<N: Tested>(keys: usize) {
        let shape = Attention { batch: 1, queries: 3, keys, heads: 2, channels: 512, causal: false };
        let size = keys * 2 * 512;
        let (q, k, v) = (numbers::<N>(3 * 2 * 512, 1), numbers(size, 2), numbers(size, 3));
        let expected = plain_attention(&q, &k, &v, shape);
        check_within(N::SOFTMAX_DIFFERENCE_MAX, |path| N::attention(path, &q, &k, &v, shape), &expected);
    }
    check_segments::<f32>(5000);
    check_segments::<bf16>(9000);
}

#[test]
fn a_result_is_the_same_whatever_the_number_of_threads() {
    fn check_threads<N: Tested>() {
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("there are threads");
        let window =
            Window { batch: 2, size: [33, 21], seen: [33, 21], channels: 40, kernel: 3, stride: 1, padding: [1, 1] };
        let packed = N::pack(&numbers(200 * 360, 1), 200, 360, 9);
        let x = numbers(2 * 33 * 21 * 40, 2);
        let (weight, bias) = (numbers(40, 3), numbers(40, 4));
        let norm = GroupNorm { weight: &weight, bias: &bias, groups: 8, eps: 1e-5 };
        let shape = Attention { batch: 2, queries: 693, keys: 693, heads: 5, channels: 8, causal: false };
        for &path in Path::available() {
            let results = |threads| {
                pool(threads).install(|| {
                    [
                        N::conv2d(path, &x, window, &packed, Ending::default()),
                        N::group_norm(path, &x, 2, norm, Activation::Silu),
                        N::layer_norm(path, &x, &weight, &bias, 1e-5),
                        N::attention(path, &x, &x, &x, shape),
                    ]
                })
            };
            let one = results(1);
            for threads in [2, 3, 7] {
                assert!(results(threads) == one, "{path:?} on {threads} threads");
            }
        }
    }
    check_threads::<f32>();
    check_threads::<bf16>();
}
