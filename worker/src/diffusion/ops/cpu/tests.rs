//! Every operation against the reference over random shapes, on every path that this CPU has and in both types.

use proptest::prelude::*;

use super::super::layers::Weight;
use super::super::upsample_conv2d as dispatched;
use super::*;
use crate::diffusion::ops::Padding;

/// Of a number, relative to the largest of the expected result.
const DIFFERENCE_MAX: f32 = 2e-5;
/// As above in bf16, where every step rounds by 2⁻⁹ at most: five of them where a gate is a step of its own.
const BF16_DIFFERENCE_MAX: f32 = 2.5 / 256.0;

const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Silu, Activation::QuickGelu, Activation::GeluErf];

/// Numbers of `dtype` in `[-1, 1)` that look random; `seed` tells one series from another.
fn series(shape: &[usize], dtype: DType, seed: u32) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count as u32).map(|i| {
        let mixed = (i ^ seed.wrapping_mul(0x5bd1_e995)).wrapping_mul(0x9e37_79b1);
        (mixed ^ (mixed >> 15)) as f32 / (1u32 << 31) as f32 - 1.0
    });
    Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(shape).unwrap().to_dtype(dtype).unwrap()
}

/// The same numbers as f32, which is what the reference computes with.
fn wide(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).unwrap()
}

/// Holds what every path finds against `expected`.
fn check(dtype: DType, found: impl Fn(Path) -> Result<Tensor>, expected: &Tensor) {
    let flat = |tensor: &Tensor| wide(tensor).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let largest = flat(expected).into_iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    let difference_max = if dtype == DType::F32 { DIFFERENCE_MAX } else { BF16_DIFFERENCE_MAX };
    for &path in Path::available() {
        let found = found(path).unwrap();
        assert_eq!((found.dims(), found.dtype()), (expected.dims(), dtype), "{path:?}");
        let furthest = flat(&found).iter().zip(flat(expected)).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
        assert!(furthest <= difference_max * largest, "{path:?} {dtype:?}: {furthest:e} of {largest}");
    }
}

fn packed(weight: &Weight) -> &Packed {
    match weight {
        Weight::Packed(packed) => packed,
        Weight::Columns(_) => panic!("f32 and bf16 on the CPU are packed"),
    }
}

/// A layer of some type, and the same one of f32.
fn both<L>(dtype: DType, layer: impl Fn(&dyn Fn(&[usize], u32) -> Tensor) -> Result<L>) -> [L; 2] {
    [
        layer(&|shape, seed| series(shape, dtype, seed)).unwrap(),
        layer(&|shape, seed| wide(&series(shape, dtype, seed))).unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn convolutions_are_the_references(
        batch in 1usize..4, size in [1usize..10, 1usize..10], grown in [0usize..9, 0usize..9], channels in 1usize..50,
        outputs in 1usize..50, kernel in 1usize..4, stride in 1usize..3, padding in [0usize..2, 0usize..2],
        activation in 0usize..5, shift_for_all: bool, has_residual: bool,
    ) {
        let seen = [size[0] + grown[0], size[1] + grown[1]];
        prop_assume!(seen.iter().all(|side| padding[0] + side + padding[1] >= kernel));
        let padding = Padding { before: padding[0], behind: padding[1] };
        let activation = ACTIVATIONS[activation];
        for dtype in DTYPES {
            let x = series(&[batch, size[0], size[1], channels], dtype, 1);
            let [conv, wide_conv] = both(dtype, |series| {
                let bias = series(&[outputs], 3);
                Conv2d::new(&series(&[outputs, channels, kernel, kernel], 2), Some(bias), stride, padding)
            });
            let shift = series(&[if shift_for_all { 1 } else { batch }, outputs], dtype, 4);
            let plain = reference::upsample_conv2d(&wide(&x), &wide_conv, seen, Ending::default()).unwrap();
            let residual = series(plain.dims(), dtype, 5);
            let (wide_shift, wide_residual) = (wide(&shift), wide(&residual));
            let ending = Ending { shift: Some(&shift), residual: has_residual.then_some(&residual), activation };
            let wide_ending =
                Ending { shift: Some(&wide_shift), residual: has_residual.then_some(&wide_residual), activation };
            let expected = reference::upsample_conv2d(&wide(&x), &wide_conv, seen, wide_ending).unwrap();
            check(dtype, |path| upsample_conv2d(path, &x, &conv, packed(&conv.weight), seen, ending), &expected);
        }
    }

    #[test]
    fn products_are_the_references(
        batch in 1usize..4, tokens in 1usize..30, inputs in 1usize..400, outputs in 1usize..100, activation in 0usize..5,
        has_bias: bool,
    ) {
        for dtype in DTYPES {
            let x = series(&[batch, tokens, inputs], dtype, 1);
            let [layer, wide_layer] = both(dtype, |series| {
                Linear::new(&series(&[outputs, inputs], 2), has_bias.then(|| series(&[outputs], 3)))
            });
            let residual = series(&[batch, tokens, outputs], dtype, 4);
            let wide_residual = wide(&residual);
            let ending = |residual| Ending { shift: None, residual: Some(residual), activation: ACTIVATIONS[activation] };
            let expected = reference::linear(&wide(&x), &wide_layer, ending(&wide_residual)).unwrap();
            check(dtype, |path| linear(path, &x, &layer, packed(&layer.weight), ending(&residual)), &expected);
        }
    }

    #[test]
    fn gates_are_the_references_whether_or_not_they_are_whole_panels(
        tokens in 1usize..30, inputs in 1usize..40, half in prop_oneof![1usize..70, Just(32), Just(64)],
    ) {
        for dtype in DTYPES {
            let x = series(&[2, tokens, inputs], dtype, 1);
            let [layer, wide_layer] =
                both(dtype, |series| Linear::new(&series(&[2 * half, inputs], 2), Some(series(&[2 * half], 3))));
            let residual = series(&[2, tokens, half], dtype, 4);
            let wide_residual = wide(&residual);
            let ending = |residual| Ending { residual: Some(residual), ..Ending::activated(Activation::Geglu) };
            let expected = reference::linear(&wide(&x), &wide_layer, ending(&wide_residual)).unwrap();
            check(dtype, |path| linear(path, &x, &layer, packed(&layer.weight), ending(&residual)), &expected);
        }
    }

    #[test]
    fn attention_is_the_references(
        batch in 1usize..4, queries in 1usize..130, keys in 1usize..300, count in 1usize..5, channels in 1usize..50,
        causal: bool,
    ) {
        let heads = Heads { count, causal, upcast: false };
        for dtype in DTYPES {
            let q = (series(&[batch, queries, count * channels], dtype, 1) * 3.0).unwrap();
            let k = series(&[batch, keys, count * channels], dtype, 2);
            let v = series(&[batch, keys, count * channels], dtype, 3);
            let expected = reference::attention(&wide(&q), &wide(&k), &wide(&v), heads).unwrap();
            check(dtype, |path| attention(path, &q, &k, &v, heads), &expected);
        }
    }

    #[test]
    fn normalisations_are_the_references(
        batch in 1usize..4, size in [1usize..12, 1usize..12], groups in 1usize..9, of_group in 1usize..40,
    ) {
        let channels = groups * of_group;
        for dtype in DTYPES {
            let x = series(&[batch, size[0], size[1], channels], dtype, 1);
            let [norm, wide_norm] = both(dtype, |series| {
                GroupNorm::new(series(&[channels], 2), series(&[channels], 3), groups, 1e-3)
            });
            let expected = reference::group_norm(&wide(&x), &wide_norm).unwrap();
            check(dtype, |path| group_norm(path, &x, &norm, Activation::Identity), &expected);
            let expected = reference::group_norm_silu(&wide(&x), &wide_norm).unwrap();
            check(dtype, |path| group_norm(path, &x, &norm, Activation::Silu), &expected);
            let [norm, wide_norm] =
                both(dtype, |series| Ok(LayerNorm::new(series(&[channels], 2), series(&[channels], 3), 1e-3)));
            let expected = reference::layer_norm(&wide(&x), &wide_norm).unwrap();
            check(dtype, |path| layer_norm(path, &x, &norm), &expected);
        }
    }
}

#[test]
fn activations_are_read_where_they_lie() {
    let whole = series(&[3, 8, 4, 6], DType::F32, 1);
    let item = whole.narrow(0, 1, 1).unwrap();
    let turned = whole.transpose(1, 2).unwrap();
    let conv = Conv2d::new(&series(&[5, 6, 3, 3], DType::F32, 2), None, 1, Padding::same(3)).unwrap();
    for x in [item, turned] {
        let (_, height, width, _) = x.dims4().unwrap();
        let expected = reference::conv2d(&x, &conv, Ending::default()).unwrap();
        check(DType::F32, |path| conv2d(path, &x, &conv, packed(&conv.weight), Ending::default()), &expected);
        let found = dispatched(&x, &conv, [height, width], Ending::default()).unwrap();
        check(DType::F32, |_| Ok(found.clone()), &expected);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let path = Path::detected();
    let conv = Conv2d::new(&series(&[2, 3, 5, 5], DType::F32, 1), None, 1, Padding { before: 0, behind: 0 }).unwrap();
    let convolved = |x: &Tensor, ending: Ending| conv2d(path, x, &conv, packed(&conv.weight), ending);
    let x = series(&[2, 9, 9, 3], DType::F32, 2);
    assert!(convolved(&x, Ending::default()).is_ok());
    assert!(convolved(&series(&[1, 4, 9, 3], DType::F32, 2), Ending::default()).is_err());
    assert!(convolved(&series(&[1, 9, 9, 4], DType::F32, 2), Ending::default()).is_err());
    assert!(convolved(&x.to_dtype(DType::F16).unwrap(), Ending::default()).is_err());
    assert!(convolved(&x, Ending::plus(&x)).is_err());
    assert!(convolved(&x, Ending { shift: Some(&series(&[3, 2], DType::F32, 3)), ..Ending::default() }).is_err());
    let heads = |count| Heads { count, causal: false, upcast: false };
    let (q, k) = (series(&[1, 4, 6], DType::F32, 4), series(&[1, 5, 6], DType::F32, 5));
    assert!(attention(path, &q, &k, &k, heads(3)).is_ok());
    assert!(attention(path, &q, &k, &k, heads(4)).is_err());
    assert!(attention(path, &q, &k, &q, heads(3)).is_err());
}
