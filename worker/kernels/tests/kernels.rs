//! Every kernel against sums in f64 written out here, over random sizes, on every path that this CPU has.

use proptest::prelude::*;
use sd_kernels::{
    Activation, Attention, Ending, GroupNorm, PackedMatrix, Path, Shift, Window, activate, attention, conv2d,
    group_norm, layer_norm, linear,
};

/// Of a number, relative to the largest of the result.
const DIFFERENCE_MAX: f64 = 2e-6;

/// As above, behind exponentials: what a score of 30 is wrong by in f32 is what its weight is wrong by.
const SOFTMAX_DIFFERENCE_MAX: f64 = 1e-5;

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Silu, Activation::QuickGelu, Activation::GeluErf];

/// Numbers in `[-1, 1)` that look random; `seed` tells one series from another.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let number = |i: u32| {
        let mixed = (i ^ seed.wrapping_mul(0x5bd1_e995)).wrapping_mul(0x9e37_79b1);
        (mixed ^ (mixed >> 15)) as f32 / (1u32 << 31) as f32 - 1.0
    };
    (0..count as u32).map(number).collect()
}

/// Holds what `found` says on every path against `expected`.
fn check(found: impl Fn(Path) -> Vec<f32>, expected: &[f64]) {
    check_within(DIFFERENCE_MAX, found, expected);
}

fn check_within(difference_max: f64, found: impl Fn(Path) -> Vec<f32>, expected: &[f64]) {
    let largest = expected.iter().fold(1e-3f64, |largest, x| largest.max(x.abs()));
    for path in Path::available() {
        let found = found(path);
        assert_eq!(found.len(), expected.len(), "{path:?}");
        for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let difference = (f64::from(found) - expected).abs();
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

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// `x · weights + bias`, for weights `[columns, depth]`.
fn plain_product(x: &[f32], weights: &[f32], bias: &[f32], depth: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let row = |x| weights.chunks_exact(depth).zip(bias).map(move |(w, b)| dot(x, w) + f64::from(*b));
    x.chunks_exact(depth).flat_map(row).collect()
}

/// `[batch, height', width', outputs]` for weights `[outputs, channels, kernel, kernel]`.
fn plain_convolution(x: &[f32], window: Window, weights: &[f32], outputs: usize) -> Vec<f64> {
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
                        sum += f64::from(x[place]) * f64::from(weight);
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

fn plain_attention(q: &[f32], k: &[f32], v: &[f32], shape: Attention) -> Vec<f64> {
    let Attention { batch, queries, keys, heads, channels, causal } = shape;
    let mut out = vec![0.0; q.len()];
    for (item, head) in (0..batch).flat_map(|item| (0..heads).map(move |head| (item, head))) {
        let place = |tokens: usize, token: usize| ((item * tokens + token) * heads + head) * channels;
        for query in 0..queries {
            let q = &q[place(queries, query)..][..channels];
            let seen = if causal { keys.min(query + 1) } else { keys };
            let score = |key: usize| {
                let k = &k[place(keys, key)..][..channels];
                let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                dot / (channels as f64).sqrt()
            };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            for (key, score) in scores.iter().enumerate() {
                for channel in 0..channels {
                    let value = f64::from(v[place(keys, key) + channel]);
                    out[place(queries, query) + channel] += (score - largest).exp() / total * value;
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_sums(rows in 1usize..40, depth in 1usize..600, columns in 1usize..100, activation in 0usize..5) {
        let (x, weights) = (numbers(rows * depth, 1), numbers(columns * depth, 2));
        let (bias, residual) = (numbers(columns, 3), numbers(rows * columns, 4));
        let activation = ACTIVATIONS[activation];
        let packed = PackedMatrix::new(&weights, columns, depth, |k| k);
        let plain = plain_product(&x, &weights, &bias, depth);
        let expected: Vec<f64> =
            plain.iter().zip(&residual).map(|(sum, r)| active(sum + f64::from(*r), activation)).collect();
        let ending = Ending { bias: Some(&bias), residual: Some(&residual), activation, ..Ending::default() };
        check(|path| linear(path, &x, &packed, ending), &expected);
    }

    #[test]
    fn products_are_gated(rows in 1usize..40, depth in 1usize..70, panels in 1usize..5) {
        let columns = 32 * panels;
        let (x, weights, bias) = (numbers(rows * depth, 1), numbers(2 * columns * depth, 2), numbers(2 * columns, 3));
        let packed = PackedMatrix::new(&weights, 2 * columns, depth, |k| k);
        let plain = plain_product(&x, &weights, &bias, depth);
        let gated = |row: &[f64]| (0..columns).map(|i| row[i] * gelu(row[columns + i])).collect::<Vec<_>>();
        let expected: Vec<f64> = plain.chunks_exact(2 * columns).flat_map(gated).collect();
        let ending = Ending { bias: Some(&bias), activation: Activation::Geglu, ..Ending::default() };
        check(|path| linear(path, &x, &packed, ending), &expected);
    }

    #[test]
    fn convolutions_are_sums_over_windows(
        batch in 1usize..4, size in [1usize..12, 1usize..12], grown in [0usize..9, 0usize..9], channels in 1usize..40,
        outputs in 1usize..50, kernel in 1usize..4, stride in 1usize..3, padding in [0usize..2, 0usize..2],
        shift_for_all: bool,
    ) {
        let seen = [size[0] + grown[0], size[1] + grown[1]];
        let window = Window { batch, size, seen, channels, kernel, stride, padding };
        let Some([height, width]) = window.places() else { return Ok(()) };
        let x = numbers(batch * size[0] * size[1] * channels, 1);
        let weights = numbers(outputs * channels * kernel * kernel, 2);
        let packed = PackedMatrix::new(&weights, outputs, channels * kernel * kernel, |k| {
            k % channels * kernel * kernel + k / channels
        });
        let (rows, items) = (height * width, if shift_for_all { 1 } else { batch });
        let shift = numbers(items * outputs, 3);
        let shifted = |(at, sum): (usize, &f64)| {
            let item = if shift_for_all { 0 } else { at / (rows * outputs) };
            sum + f64::from(shift[item * outputs + at % outputs])
        };
        let plain = plain_convolution(&x, window, &weights, outputs);
        let expected: Vec<f64> = plain.iter().enumerate().map(shifted).collect();
        let ending = Ending { shift: Some(Shift { numbers: &shift, rows }), ..Ending::default() };
        check(|path| conv2d(path, &x, window, &packed, ending), &expected);
    }

    #[test]
    fn attention_is_a_weighted_mean(
        batch in 1usize..3, queries in 1usize..150, keys in 1usize..600, heads in 1usize..4, channels in 1usize..70,
        causal: bool,
    ) {
        let shape = Attention { batch, queries, keys, heads, channels, causal };
        // Scores of several units, so that some keys weigh much more than others.
        let far = |count, seed| numbers(count, seed).into_iter().map(|x| 3.0 * x).collect::<Vec<f32>>();
        let q = far(batch * queries * heads * channels, 1);
        let (k, v) = (far(batch * keys * heads * channels, 2), numbers(batch * keys * heads * channels, 3));
        let expected = plain_attention(&q, &k, &v, shape);
        check_within(SOFTMAX_DIFFERENCE_MAX, |path| attention(path, &q, &k, &v, shape), &expected);
    }

    #[test]
    fn groups_are_normalised(
        batch in 1usize..4, positions in 1usize..90, groups in 1usize..9, of_group in 1usize..60, silu: bool,
        offset in -50f32..50.0,
    ) {
        let channels = groups * of_group;
        let x: Vec<f32> = numbers(batch * positions * channels, 1).iter().map(|x| x + offset).collect();
        let (weight, bias) = (numbers(channels, 2), numbers(channels, 3));
        let activation = if silu { Activation::Silu } else { Activation::Identity };
        let mut expected = vec![0.0; x.len()];
        for (item, group) in (0..batch).flat_map(|item| (0..groups).map(move |group| (item, group))) {
            let places: Vec<usize> = (0..positions)
                .flat_map(|position| (0..of_group).map(move |c| (position, group * of_group + c)))
                .map(|(position, channel)| (item * positions + position) * channels + channel)
                .collect();
            let mean = places.iter().map(|&at| f64::from(x[at])).sum::<f64>() / places.len() as f64;
            let squares = places.iter().map(|&at| (f64::from(x[at]) - mean).powi(2)).sum::<f64>();
            let scale = 1.0 / (squares / places.len() as f64 + 1e-2).sqrt();
            for at in places {
                let (weight, bias) = (f64::from(weight[at % channels]), f64::from(bias[at % channels]));
                expected[at] = active((f64::from(x[at]) - mean) * scale * weight + bias, activation);
            }
        }
        // What f32 has of a mean of 50 is within 2·10⁻⁶ of it.
        let norm = GroupNorm { weight: &weight, bias: &bias, groups, eps: 1e-2 };
        check_within(1e-5, |path| group_norm(path, &x, batch, norm, activation), &expected);
    }

    #[test]
    fn rows_are_normalised(rows in 1usize..40, channels in 1usize..200) {
        let x = numbers(rows * channels, 1);
        let (weight, bias) = (numbers(channels, 2), numbers(channels, 3));
        let normalised = |row: &[f64]| {
            let mean = row.iter().sum::<f64>() / channels as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
            let of = |(at, x): (usize, &f64)| {
                (x - mean) / (variance + 1e-5).sqrt() * f64::from(weight[at]) + f64::from(bias[at])
            };
            row.iter().enumerate().map(of).collect::<Vec<_>>()
        };
        let expected: Vec<f64> = wide(&x).chunks_exact(channels).flat_map(normalised).collect();
        check_within(1e-5, |path| layer_norm(path, &x, &weight, &bias, 1e-5), &expected);
    }
}

#[test]
fn activations_are_their_definitions_far_and_near() {
    let x: Vec<f32> = (-4000..4000).map(|i| i as f32 / 80.0).collect();
    for (path, activation) in Path::available().into_iter().flat_map(|path| ACTIVATIONS.map(|of| (path, of))) {
        let found = activate(path, &x, activation);
        for (x, found) in wide(&x).into_iter().zip(wide(&found)) {
            let expected = active(x, activation);
            let near = (found - expected).abs() <= 4e-7 * x.abs().max(0.25);
            assert!(near, "{path:?} {activation:?} of {x} is {found}, not {expected}");
        }
        let found = activate(path, &[f32::NAN; 40], activation);
        assert!(found.iter().all(|x| x.is_nan()), "{path:?} {activation:?} hides what is no number");
    }
}

#[test]
fn scores_may_be_far_apart() {
    let shape = Attention { batch: 1, queries: 2, keys: 300, heads: 1, channels: 4, causal: false };
    let q = vec![100.0; 8];
    let k: Vec<f32> = (0..300).flat_map(|key| [if key == 290 { 9.0 } else { key as f32 / 300.0 }; 4]).collect();
    let v = numbers(1200, 3);
    let expected = plain_attention(&q, &k, &v, shape);
    check_within(SOFTMAX_DIFFERENCE_MAX, |path| attention(path, &q, &k, &v, shape), &expected);
}

#[test]
fn keys_come_in_segments() {
    // One head of so many keys is more than is packed at once.
    let shape = Attention { batch: 1, queries: 3, keys: 5000, heads: 2, channels: 512, causal: false };
    let size = 5000 * 2 * 512;
    let (q, k, v) = (numbers(3 * 2 * 512, 1), numbers(size, 2), numbers(size, 3));
    let expected = plain_attention(&q, &k, &v, shape);
    check_within(SOFTMAX_DIFFERENCE_MAX, |path| attention(path, &q, &k, &v, shape), &expected);
}

#[test]
fn a_result_is_the_same_whatever_the_number_of_threads() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("there are threads");
    let window =
        Window { batch: 2, size: [33, 21], seen: [33, 21], channels: 40, kernel: 3, stride: 1, padding: [1, 1] };
    let packed = PackedMatrix::new(&numbers(200 * 360, 1), 200, 360, |k| k % 40 * 9 + k / 40);
    let x = numbers(2 * 33 * 21 * 40, 2);
    let (weight, bias) = (numbers(40, 3), numbers(40, 4));
    let norm = GroupNorm { weight: &weight, bias: &bias, groups: 8, eps: 1e-5 };
    let shape = Attention { batch: 2, queries: 693, keys: 693, heads: 5, channels: 8, causal: false };
    for path in Path::available() {
        let results = |threads| {
            pool(threads).install(|| {
                [
                    conv2d(path, &x, window, &packed, Ending::default()),
                    group_norm(path, &x, 2, norm, Activation::Silu),
                    layer_norm(path, &x, &weight, &bias, 1e-5),
                    attention(path, &x, &x, &x, shape),
                ]
            })
        };
        let one = results(1);
        for threads in [2, 3, 7] {
            assert!(results(threads) == one, "{path:?} on {threads} threads");
        }
    }
}

#[test]
fn packing_is_undone_and_added_to() {
    for (columns, depth) in [(1, 1), (33, 300), (64, 9), (5, 1000)] {
        let weights = numbers(columns * depth, 1);
        let packed = PackedMatrix::new(&weights, columns, depth, |k| depth - 1 - k);
        let rows = packed.to_rows();
        let expected: Vec<f32> = (0..depth)
            .flat_map(|k| (0..columns).map(move |n| (k, n)))
            .map(|(k, n)| weights[n * depth + depth - 1 - k])
            .collect();
        assert_eq!(rows, expected);
        let delta = numbers(columns * depth, 2);
        let sum: Vec<f32> = rows.iter().zip(&delta).map(|(a, b)| a + b).collect();
        assert_eq!(packed.plus(&delta).to_rows(), sum);
    }
}
