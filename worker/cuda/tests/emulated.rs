//! Every kernel, run on the CPU, against plain sums in f64.

use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult};
use sd_cuda_kernels::ending::Ending;
use sd_cuda_kernels::norm::{GroupNorm, LayerNorm};
use sd_cuda_kernels::patches::Patches;
use sd_cuda_kernels::{Argument, Launch, Number, attention};
use sd_kernels::{Activation, Attention, Window};

/// Bytes behind a memory that nobody may write.
const GUARD: [u8; 64] = [0xa5; 64];

/// Numbers as a GPU holds them.
struct Memory {
    bytes: Vec<u8>,
    number: Number,
}

impl Memory {
    /// `numbers`, and what is left of them.
    fn new(numbers: &mut [f64], number: Number) -> Self {
        let mut bytes = Vec::new();
        for one in numbers {
            match number {
                Number::F32 => bytes.extend((*one as f32).to_ne_bytes()),
                Number::F16 => bytes.extend(f16::from_f64(*one).to_ne_bytes()),
                Number::Bf16 => bytes.extend(bf16::from_f64(*one).to_ne_bytes()),
            }
            *one = Self::one(number, &bytes[bytes.len() - number.bytes()..]);
        }
        Self { bytes, number }
    }

    /// Numbers that are none until they are written.
    fn unwritten(len: usize, number: Number) -> Self {
        Self::new(&mut vec![f64::NAN; len], number)
    }

    fn one(number: Number, bytes: &[u8]) -> f64 {
        match (number, bytes) {
            (Number::F32, &[a, b, c, d]) => f32::from_ne_bytes([a, b, c, d]).into(),
            (Number::F16, &[a, b]) => f16::from_ne_bytes([a, b]).into(),
            (Number::Bf16, &[a, b]) => bf16::from_ne_bytes([a, b]).into(),
            _ => unreachable!("{number:?} is not {} bytes", bytes.len()),
        }
    }

    fn numbers(&self) -> Vec<f64> {
        self.bytes.chunks_exact(self.number.bytes()).map(|bytes| Self::one(self.number, bytes)).collect()
    }
}

/// Runs launches on memory by its slot; what they made lies in the last.
fn run(launches: &[Launch], mut slots: Vec<Option<Memory>>) -> Vec<f64> {
    for memory in slots.iter_mut().flatten() {
        memory.bytes.extend(GUARD);
        // Vectors of bytes begin anywhere.
        let aligned = memory.bytes.as_ptr().addr().is_multiple_of(16);
        assert!(aligned, "what allocators give begins at 16 bytes");
    }
    for launch in launches {
        let mut values: Vec<[u8; 8]> = launch
            .arguments
            .iter()
            .map(|argument| match *argument {
                Argument::Memory { slot, bytes } => {
                    let memory = slots[slot].as_mut().expect("named memory is there");
                    assert_eq!(memory.bytes.len() - GUARD.len(), bytes, "{launch:?} names the size of {slot}");
                    memory.bytes.as_mut_ptr().expose_provenance().to_ne_bytes()
                }
                Argument::Null => [0; 8],
                Argument::Int(int) => u64::from(int.cast_unsigned()).to_le_bytes(),
                Argument::Float(float) => u64::from(float.to_bits()).to_le_bytes(),
            })
            .collect();
        let mut arguments: Vec<*mut std::ffi::c_void> =
            values.iter_mut().map(|value| value.as_mut_ptr().cast()).collect();
        // SAFETY: the launch is what is tested: its arguments are those of the kernel, and memories are as large as it says.
        unsafe { sd_cuda_emulator::run(&launch.kernel, launch.grid, launch.block, launch.block_bytes, &mut arguments) }
            .expect("launches name kernels that there are");
    }
    for memory in slots.iter_mut().flatten() {
        let guard = memory.bytes.split_off(memory.bytes.len() - GUARD.len());
        assert_eq!(guard, GUARD, "nothing behind a memory is written");
    }
    slots.pop().flatten().expect("what is made has memory").numbers()
}

/// Numbers that look random, about `[-1, 1]`.
fn drawn(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
        })
        .collect()
}

/// How far a result may be from that of plain sums, which are rounded to its type at last.
fn tolerance(number: Number) -> f64 {
    match number {
        Number::F32 => 2e-5,
        Number::F16 => 1e-3,
        Number::Bf16 => 8e-3,
    }
}

fn check(found: &[f64], expected: &[f64], tolerance: f64) -> TestCaseResult {
    prop_assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        // A NaN is near to nothing.
        let is_near = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        prop_assert!(is_near, "{at}: {found}, not {expected}");
    }
    Ok(())
}

/// An approximation of the error function that is good to 1.2e-7 (Numerical Recipes, `erfcc`).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let terms = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let sum = terms.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let rest = t * (-x * x + sum).exp();
    if x >= 0.0 { 1.0 - rest } else { rest - 1.0 }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt()))
}

fn activated(x: f64, activation: Activation) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Identity | Activation::Geglu => x,
        Activation::Relu => x.max(0.0),
        Activation::Silu => x * sigmoid(x),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::GeluErf => gelu(x),
    }
}

/// Numbers from their mean over their deviation.
fn normalised(numbers: &[f64], eps: f64) -> Vec<f64> {
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    let variance = numbers.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
    numbers.iter().map(|one| (one - mean) / (variance + eps).sqrt()).collect()
}

fn any_number() -> impl Strategy<Value = Number> {
    prop::sample::select(&Number::ALL[..])
}

fn any_activation() -> impl Strategy<Value = Activation> {
    prop::sample::select(vec![
        Activation::Identity,
        Activation::Relu,
        Activation::Silu,
        Activation::QuickGelu,
        Activation::GeluErf,
    ])
}

/// Checks group normalisation of numbers about `mean`.
fn group_norm(norm: GroupNorm, number: Number, mean: f64, tolerance: f64) -> TestCaseResult {
    let GroupNorm { batch, positions, channels, groups, eps, activation } = norm;
    let mut x: Vec<f64> = drawn(batch * positions * channels, 1).iter().map(|one| one + mean).collect();
    let (mut weight, mut bias) = (drawn(channels, 2), drawn(channels, 3));
    let mut slots = vec![Some(Memory::new(&mut x, number)), Some(Memory::new(&mut weight, number))];
    slots.push(Some(Memory::new(&mut bias, number)));
    slots.push(Some(Memory::unwritten(norm.moments_len(), Number::F32)));
    slots.push(Some(Memory::unwritten(x.len(), number)));
    let found = run(&norm.launches(number).expect("it is small enough"), slots);
    let of_group = channels / groups;
    let mut expected = vec![0.0; x.len()];
    for (item, group) in (0..batch).flat_map(|item| (0..groups).map(move |group| (item, group))) {
        let places: Vec<usize> = (0..positions)
            .flat_map(|at| (0..of_group).map(move |i| (item * positions + at) * channels + group * of_group + i))
            .collect();
        let numbers: Vec<f64> = places.iter().map(|place| x[*place]).collect();
        for (place, one) in places.into_iter().zip(normalised(&numbers, eps.into())) {
            let channel = place % channels;
            expected[place] = activated(one * weight[channel] + bias[channel], activation);
        }
    }
    check(&found, &expected, tolerance)
}

fn layer_norm(norm: LayerNorm, number: Number) -> TestCaseResult {
    let LayerNorm { rows, channels, eps } = norm;
    let (mut x, mut weight, mut bias) = (drawn(rows * channels, 1), drawn(channels, 2), drawn(channels, 3));
    let mut slots = vec![Some(Memory::new(&mut x, number)), Some(Memory::new(&mut weight, number))];
    slots.push(Some(Memory::new(&mut bias, number)));
    slots.push(Some(Memory::unwritten(x.len(), number)));
    let found = run(&[norm.launch(number).expect("it is small enough")], slots);
    let expected: Vec<f64> = x
        .chunks(channels)
        .flat_map(|row| normalised(row, eps.into()))
        .enumerate()
        .map(|(at, one)| one * weight[at % channels] + bias[at % channels])
        .collect();
    check(&found, &expected, tolerance(number))
}

fn ending(ending: Ending, number: Number) -> TestCaseResult {
    let Ending { rows, columns, has_bias, shift_items, has_residual, activation } = ending;
    let width = ending.width();
    let (mut sums, mut bias) = (drawn(rows * width, 1), drawn(width, 2));
    let (mut shift, mut residual) = (drawn(shift_items * width, 3), drawn(rows * columns, 4));
    let slots = vec![
        Some(Memory::new(&mut sums, number)),
        has_bias.then(|| Memory::new(&mut bias, number)),
        (shift_items > 0).then(|| Memory::new(&mut shift, number)),
        has_residual.then(|| Memory::new(&mut residual, number)),
        Some(Memory::unwritten(rows * columns, number)),
    ];
    let found = run(&[ending.launch(number).expect("it is small enough")], slots);
    let sum = |row: usize, column: usize| {
        let item = row * shift_items / rows;
        let biased = sums[row * width + column] + if has_bias { bias[column] } else { 0.0 };
        biased + if shift_items > 0 { shift[item * width + column] } else { 0.0 }
    };
    let expected: Vec<f64> = (0..rows * columns)
        .map(|at| {
            let (row, column) = (at / columns, at % columns);
            let gate = if activation == Activation::Geglu { gelu(sum(row, columns + column)) } else { 1.0 };
            activated(sum(row, column) * gate + if has_residual { residual[at] } else { 0.0 }, activation)
        })
        .collect();
    check(&found, &expected, tolerance(number))
}

fn patches(patches: Patches, number: Number) -> TestCaseResult {
    let Patches { window, rows } = patches;
    let Window { batch, size: [height, width], seen, channels, kernel, stride, padding: [before, _] } = window;
    let [_, out_width] = window.places().expect("it fits");
    let mut x = drawn(batch * height * width * channels, 1);
    let mut expected = Vec::new();
    let memory = Memory::new(&mut x, number);
    for (item, y) in (0..batch).flat_map(|item| (rows[0]..rows[0] + rows[1]).map(move |y| (item, y))) {
        for (out_x, tap) in (0..out_width).flat_map(|x| (0..kernel * kernel).map(move |tap| (x, tap))) {
            let at = [y * stride + tap / kernel, out_x * stride + tap % kernel].map(|at| at.checked_sub(before));
            let pixel = match at {
                [Some(y), Some(x)] if y < seen[0] && x < seen[1] => {
                    Some((item * height + y * height / seen[0]) * width + x * width / seen[1])
                }
                _ => None,
            };
            expected.extend((0..channels).map(|channel| pixel.map_or(0.0, |pixel| x[pixel * channels + channel])));
        }
    }
    let slots = vec![Some(memory), Some(Memory::unwritten(expected.len(), number))];
    let found = run(&[patches.launch(number).expect("it is small enough")], slots);
    check(&found, &expected, 0.0)
}

/// Checks attention whose scores are up to `steepness` times those of random numbers.
fn check_attention(shape: Attention, number: Number, steepness: f64) -> TestCaseResult {
    for strips in [1, 2] {
        if let Some(launch) = attention::launch_in_strips(shape, number, strips) {
            check_attention_by(launch, shape, number, steepness)?;
        }
    }
    Ok(())
}

fn check_attention_by(launch: Launch, shape: Attention, number: Number, steepness: f64) -> TestCaseResult {
    let Attention { batch, queries, keys, heads, channels, causal } = shape;
    let step = heads * channels;
    let mut q: Vec<f64> = drawn(batch * queries * step, 1).iter().map(|one| one * steepness).collect();
    let (mut k, mut v) = (drawn(batch * keys * step, 2), drawn(batch * keys * step, 3));
    let slots = vec![
        Some(Memory::new(&mut q, number)),
        Some(Memory::new(&mut k, number)),
        Some(Memory::new(&mut v, number)),
        Some(Memory::unwritten(q.len(), number)),
    ];
    let found = run(&[launch], slots);
    let mut expected = vec![0.0; q.len()];
    for (item, query) in (0..batch).flat_map(|item| (0..queries).map(move |query| (item, query))) {
        for head in 0..heads {
            let at = |token: usize, tokens: usize| (item * tokens + token) * step + head * channels;
            let met = if causal { keys.min(query + 1) } else { keys };
            let scores: Vec<f64> = (0..met)
                .map(|key| {
                    let (from, to) = (at(query, queries), at(key, keys));
                    (0..channels).map(|i| q[from + i] * k[to + i]).sum::<f64>() / (channels as f64).sqrt()
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for i in 0..channels {
                let sum: f64 = weights.iter().enumerate().map(|(key, weight)| weight * v[at(key, keys) + i]).sum();
                expected[at(query, queries) + i] = sum / total;
            }
        }
    }
    check(&found, &expected, tolerance(number))
}

proptest! {
    #![proptest_config(Config { cases: 48, failure_persistence: None, ..Config::default() })]

    #[test]
    fn group_norm_is_that_of_plain_sums(
        (batch, positions) in (1..=3_usize, 1..=300_usize), (groups, of_group) in (1..=9_usize, 1..=12_usize),
        activation in any_activation(), number in any_number(),
    ) {
        let channels = groups * of_group;
        let norm = GroupNorm { batch, positions, channels, groups, eps: 1e-5, activation };
        group_norm(norm, number, 0.0, tolerance(number))?;
    }

    #[test]
    fn layer_norm_is_that_of_plain_sums(rows in 1..=9_usize, channels in 1..=300_usize, number in any_number()) {
        layer_norm(LayerNorm { rows, channels, eps: 1e-5 }, number)?;
    }

    #[test]
    fn endings_are_plain_sums(
        (items, of_item, columns) in (1..=3_usize, 1..=5_usize, 1..=70_usize), (has_bias, has_residual) in any::<(bool, bool)>(),
        shift in 0..=2_usize, gates in any::<bool>(), activation in any_activation(), number in any_number(),
    ) {
        let activation = if gates { Activation::Geglu } else { activation };
        let shift_items = [0, 1, items][shift];
        ending(Ending { rows: items * of_item, columns, has_bias, shift_items, has_residual, activation }, number)?;
    }

    #[test]
    fn patches_are_those_of_a_convolution(
        (batch, height, width) in (1..=3_usize, 1..=9_usize, 1..=9_usize), channels in 1..=20_usize,
        (kernel, stride, before, behind) in (1..=3_usize, 1..=2_usize, 0..=1_usize, 0..=1_usize),
        grows in any::<(bool, bool)>(), number in any_number(),
    ) {
        let seen = [height * if grows.0 { 2 } else { 1 }, if grows.1 { 2 * width + 1 } else { width }];
        let (size, padding) = ([height, width], [before, behind]);
        let window = Window { batch, size, seen, channels, kernel, stride, padding };
        let places = window.places();
        prop_assume!(places.is_some());
        let first = places.map_or(0, |[out_height, _]| out_height / 3);
        let rows = [first, places.map_or(0, |[out_height, _]| out_height - first)];
        patches(Patches { window, rows }, number)?;
    }

    #[test]
    fn attention_is_that_of_plain_sums(
        (batch, heads) in (1..=2_usize, 1..=3_usize), (queries, keys) in (1..=150_usize, 1..=150_usize),
        packs in 1..=20_usize, causal in any::<bool>(), number in prop::sample::select(&Number::ALL[1..]),
        steepness in 0.1..20.0_f64,
    ) {
        check_attention(Attention { batch, queries, keys, heads, channels: 8 * packs, causal }, number, steepness)?;
    }
}

#[test]
fn group_norm_goes_in_pieces_and_keeps_digits_beside_a_large_mean() {
    let norm = |positions, channels, groups| GroupNorm {
        batch: 2,
        positions,
        channels,
        groups,
        eps: 1e-6,
        activation: Activation::Silu,
    };
    // More groups than are merged at a time, more channels than threads, and pieces of unequal size.
    for norm in [norm(2500, 32, 8), norm(130, 1280, 64), norm(77, 2568, 2), norm(1100, 33, 33)] {
        for number in Number::ALL {
            group_norm(norm, number, 0.0, tolerance(number)).unwrap();
        }
        // A number about 1000 is known to 6e-5 in f32, and numbers of deviation 0.6 are made of it.
        group_norm(norm, Number::F32, 1000.0, 4e-4).unwrap();
    }
}

#[test]
fn every_width_of_a_head_has_its_kernel() {
    for channels in [8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160] {
        for number in [Number::F16, Number::Bf16] {
            let shape = Attention { batch: 1, queries: 70, keys: 77, heads: 2, channels, causal: false };
            check_attention(shape, number, 1.0).unwrap();
        }
    }
}

#[test]
fn what_is_beyond_the_kernels_is_refused() {
    let shape = Attention { batch: 1, queries: 4, keys: 4, heads: 1, channels: 64, causal: false };
    assert!(attention::launch(shape, Number::F16).is_some());
    let blocks = |shape| attention::launch(shape, Number::F16).map(|launch| launch.grid[0]);
    let large = Attention { queries: 4096, keys: 4096, heads: 8, ..shape };
    assert_eq!([blocks(large), blocks(Attention { channels: 80, ..large })], [Some(32), Some(64)]);
    assert_eq!(attention::launch(shape, Number::F32), None);
    for other in [
        Attention { channels: 512, ..shape },
        Attention { channels: 20, ..shape },
        Attention { keys: 0, ..shape },
        Attention { batch: 1 << 16, ..shape },
    ] {
        assert_eq!(attention::launch(other, Number::F16), None, "{other:?}");
    }
    let wide = LayerNorm { rows: 1 << 40, channels: 8, eps: 1e-5 };
    assert_eq!(wide.launch(Number::F16), None);
}
