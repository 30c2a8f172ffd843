//! The reference operations against candle's own slow ones, and against sums in f64 written out here.

use candle_core::{D, DType, Device, Result, Tensor};

use super::reference::{
    attention, geglu, gelu_erf, group_norm, group_norm_silu, layer_norm, quick_gelu, silu, upsample_nearest,
};
use super::*;

/// Relative to the largest number of the expected result.
const DIFFERENCE_MAX: f32 = 1e-5;

const NO_PADDING: Padding = Padding { before: 0, behind: 0 };

/// Numbers in `[-1, 1)` that look random, the same on every run.
fn numbers(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count as u32).map(|i| {
        let mixed = (i ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b1);
        (mixed ^ (mixed >> 15)) as f32 / (1u32 << 31) as f32 - 1.0
    });
    Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(shape).unwrap()
}

fn check(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims());
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (flat(found), flat(expected));
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let difference = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0f32, f32::max);
    assert!(difference <= DIFFERENCE_MAX * largest, "{difference:e} of {largest}");
}

fn conv2d(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    reference::conv2d(x, conv, Ending::default())
}

#[test]
fn conv2d_is_candles_in_every_shape() {
    let check_case = |[batch, height, width]: [usize; 3], [inputs, outputs]: [usize; 2], kernel, stride, zeros| {
        let x = numbers(&[batch, height, width, inputs]);
        let weight = numbers(&[outputs, inputs, kernel, kernel]);
        let bias = numbers(&[outputs]);
        let padding = Padding { before: zeros, behind: zeros };
        let found = conv2d(&x, &Conv2d::new(&weight, Some(bias.clone()), stride, padding).unwrap()).unwrap();
        let channels_first = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let expected = channels_first.conv2d(&weight, zeros, stride, 1, 1).unwrap();
        check(&found, &expected.permute((0, 2, 3, 1)).unwrap().broadcast_add(&bias).unwrap());
    };
    check_case([2, 7, 5], [3, 4], 3, 1, 1);
    check_case([2, 7, 5], [3, 4], 1, 1, 0);
    check_case([1, 8, 6], [4, 2], 3, 2, 1);
    check_case([2, 9, 7], [4, 2], 3, 2, 1);
    check_case([1, 9, 7], [4, 2], 3, 2, 0);
    check_case([1, 5, 5], [2, 2], 5, 1, 2);
}

#[test]
fn conv2d_pads_behind_alone() {
    for (height, width) in [(8, 6), (7, 5)] {
        let x = numbers(&[2, height, width, 3]);
        let weight = numbers(&[4, 3, 3, 3]);
        let found = conv2d(&x, &Conv2d::new(&weight, None, 2, Padding { before: 0, behind: 1 }).unwrap()).unwrap();
        let grown = x.pad_with_zeros(1, 0, 1).unwrap().pad_with_zeros(2, 0, 1).unwrap();
        check(&found, &conv2d(&grown, &Conv2d::new(&weight, None, 2, NO_PADDING).unwrap()).unwrap());
    }
}

#[test]
fn conv2d_is_the_same_in_strips() {
    // One output row takes 9 · 64 · 256 · 4 bytes of patches, so that 64 rows need more than the scratch.
    let (height, width, inputs) = (64, 256, 64);
    assert!(height * width * 9 * inputs * DType::F32.size_in_bytes() > SCRATCH_BYTES_MAX);
    let x = numbers(&[1, height, width, inputs]);
    let conv = Conv2d::new(&numbers(&[2, inputs, 3, 3]), None, 1, Padding::same(3)).unwrap();
    let whole = conv2d(&x, &conv).unwrap();
    assert_eq!(whole.dims(), [1, height, width, 2]);
    // A band of rows alone, with a row of context on both sides, gives the same rows.
    for start in [0, 20, 54] {
        let above = start.min(1);
        let band = x.narrow(1, start - above, 10 + above).unwrap().contiguous().unwrap();
        let rows = conv2d(&band, &conv).unwrap().narrow(1, above, 9).unwrap();
        check(&whole.narrow(1, start, 9).unwrap(), &rows);
    }
}

#[test]
fn conv2d_refuses_what_does_not_fit() {
    let conv = Conv2d::new(&numbers(&[2, 3, 5, 5]), None, 1, NO_PADDING).unwrap();
    assert!(conv2d(&numbers(&[1, 4, 9, 3]), &conv).is_err());
    assert!(conv2d(&numbers(&[1, 9, 9, 4]), &conv).is_err());
    assert!(Conv2d::new(&numbers(&[2, 3, 3, 1]), None, 1, NO_PADDING).is_err());
}

#[test]
fn group_norm_is_that_of_sums_in_f64() {
    let (batch, height, width, channels, groups) = (2, 5, 3, 6, 3);
    // Far from zero, where a one-pass variance would lose its digits.
    let x = (numbers(&[batch, height, width, channels]) + 50.0).unwrap();
    let (weight, bias) = (numbers(&[channels]), (numbers(&[channels]) * 2.0).unwrap());
    let norm = GroupNorm::new(weight.clone(), bias.clone(), groups, 1e-5).unwrap();

    let grouped = x.to_dtype(DType::F64).unwrap().reshape((batch, height * width, groups, channels / groups)).unwrap();
    let centered = grouped.broadcast_sub(&grouped.mean_keepdim((1, 3)).unwrap()).unwrap();
    let variance = centered.sqr().unwrap().mean_keepdim((1, 3)).unwrap();
    let expected = centered.broadcast_div(&(variance + 1e-5).unwrap().sqrt().unwrap()).unwrap();
    let expected = expected.to_dtype(DType::F32).unwrap().reshape(x.dims()).unwrap();
    let expected = expected.broadcast_mul(&weight).unwrap().broadcast_add(&bias).unwrap();
    check(&group_norm(&x, &norm).unwrap(), &expected);
    check(&group_norm_silu(&x, &norm).unwrap(), &expected.silu().unwrap());
    assert!(GroupNorm::new(weight, bias, 4, 1e-5).is_err());
}

#[test]
fn layer_norm_is_candles() {
    let x = (numbers(&[2, 5, 12]) * 3.0).unwrap();
    let (weight, bias) = (numbers(&[12]), numbers(&[12]));
    let expected = candle_nn::ops::layer_norm(&x, &weight, &bias, 1e-5).unwrap();
    check(&layer_norm(&x, &LayerNorm::new(weight, bias, 1e-5)).unwrap(), &expected);
}

/// Attention of one head, written out without strips.
fn one_head(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let (queries, channels) = q.dims2()?;
    let mut scores = (q.matmul(&k.t()?)? / (channels as f64).sqrt())?;
    if causal {
        let below = Tensor::tril2(queries, DType::F32, q.device())?;
        scores = ((scores * &below)? + ((below - 1.0)? * 1e9)?)?;
    }
    candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(v)
}

#[test]
fn attention_is_that_of_its_heads() {
    let (batch, heads, channels) = (2, 3, 4);
    for (queries, keys, causal) in [(5, 5, true), (5, 7, false), (1, 3, false)] {
        let [q, k, v] = [queries, keys, keys].map(|tokens| numbers(&[batch, tokens, heads * channels]));
        let found =
            attention(&q, &((k.clone() * 3.0).unwrap()), &v, Heads { count: heads, causal, upcast: false }).unwrap();
        for item in 0..batch {
            for head in 0..heads {
                let part = |x: &Tensor| {
                    x.get(item).unwrap().narrow(1, head * channels, channels).unwrap().contiguous().unwrap()
                };
                let expected = one_head(&part(&q), &(part(&k) * 3.0).unwrap(), &part(&v), causal).unwrap();
                check(&part(&found), &expected);
            }
        }
    }
}

#[test]
fn attention_is_the_same_in_strips() {
    let tokens = 3000;
    assert!(tokens * tokens * DType::F32.size_in_bytes() > SCRATCH_BYTES_MAX);
    let [q, k, v] = [1, 2, 3].map(|factor| (numbers(&[1, tokens, 4]) * f64::from(factor)).unwrap());
    for causal in [false, true] {
        let expected = one_head(&q.get(0).unwrap(), &k.get(0).unwrap(), &v.get(0).unwrap(), causal).unwrap();
        check(&attention(&q, &k, &v, Heads { count: 1, causal, upcast: false }).unwrap().get(0).unwrap(), &expected);
    }
}

#[test]
fn upcast_scores_do_not_overflow_in_f16() {
    // Scores of 280² · 4 / √4 = 156,800 lie past the largest f16, 65,504.
    let half = |x: Tensor| x.to_dtype(DType::F16).unwrap();
    let [q, k] = [2, 3].map(|tokens| half(Tensor::full(280f32, (1, tokens, 4), &Device::Cpu).unwrap()));
    let v = half(numbers(&[1, 3, 4]));
    let heads = Heads { count: 1, causal: false, upcast: true };
    let found = attention(&q, &k, &v, heads).unwrap();
    assert_eq!(found.dtype(), DType::F16);
    let mean = v.to_dtype(DType::F32).unwrap().mean_keepdim(1).unwrap().broadcast_as((1, 2, 4)).unwrap();
    let distance = (found.to_dtype(DType::F32).unwrap() - mean).unwrap().abs().unwrap().max_all().unwrap();
    assert!(distance.to_scalar::<f32>().unwrap() < 1e-3, "{distance}");
}

#[test]
fn activations_are_those_of_their_definitions() {
    let x = (numbers(&[64]) * 6.0).unwrap();
    let by_element = |f: fn(f64) -> f64| {
        let values = x.to_vec1::<f32>().unwrap().into_iter().map(|x| f(f64::from(x)) as f32);
        Tensor::from_iter(values, &Device::Cpu).unwrap()
    };
    check(&silu(&x).unwrap(), &by_element(|x| x / (1.0 + (-x).exp())));
    check(&quick_gelu(&x).unwrap(), &by_element(|x| x / (1.0 + (-1.702 * x).exp())));
    // Φ(1) = 0.8413447 tells the exact GELU from the tanh approximation, 0.8411920.
    let one = Tensor::new(&[1f32], &Device::Cpu).unwrap();
    let exact = gelu_erf(&one).unwrap().to_vec1::<f32>().unwrap()[0];
    assert!((exact - 0.841_344_7).abs() < 1e-6, "{exact}");
    let gated = geglu(&Tensor::new(&[[2f32, -3.0, 1.0, 1.0]], &Device::Cpu).unwrap()).unwrap();
    check(&gated, &Tensor::new(&[[2.0 * exact, -3.0 * exact]], &Device::Cpu).unwrap());
}

#[test]
fn upsampling_repeats_cells() {
    let x = numbers(&[1, 2, 3, 2]);
    let row = |tensor: &Tensor, y: usize, x: usize| tensor.get(0).unwrap().get(y).unwrap().get(x).unwrap();
    for (height, width) in [(4, 6), (3, 5), (5, 4)] {
        let grown = upsample_nearest(&x, height, width).unwrap();
        assert_eq!(grown.dims(), [1, height, width, 2]);
        for (i, j) in (0..height).flat_map(|i| (0..width).map(move |j| (i, j))) {
            check(&row(&grown, i, j), &row(&x, i * 2 / height, j * 3 / width));
        }
    }
}
