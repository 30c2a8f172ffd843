//! Decoders of previews against diffusers' `AutoencoderTiny`: `tests/goldens/preview_decoder.py` has the other half.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::families::PreviewDecoder;
use sd_worker::diffusion::nn::taesd::TinyConfig;
use sd_worker::diffusion::preview::CleanLatent;
use serde_json::Value;

use super::{golden, golden_json};

/// Furthest that a number of a picture may be from diffusers'.
const BYTES_MAX: u8 = 2;

/// The place of the first number of the latents.
const LATENTS: u64 = 1 << 32;

#[test]
fn decoders_draw_what_diffusers_draws() {
    let cases: Vec<Value> = golden_json("preview_decoder.json");
    assert!(!cases.is_empty());
    for case in cases {
        let (name, config) = (case["file"].as_str().unwrap(), &case["config"]);
        let side = |key: &str| case[key].as_u64().unwrap() as u32;
        let tiny: TinyConfig = serde_json::from_value(config.clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let file = folder.path().join("diffusion_pytorch_model.safetensors");
        candle_core::safetensors::save(&tensors(&tiny), file).unwrap();
        let decoder = PreviewDecoder::at(folder.path(), tiny.latent_channels).unwrap();

        let (width, height) = (side("width"), side("height"));
        let count = u64::from(width * height) * tiny.latent_channels as u64;
        let values = half((LATENTS..LATENTS + count).map(|place| uniform(place) * 3.0), &[count as usize]);
        let values = values.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        let latent = CleanLatent { width, height, values: &values };
        let drawn = latent.decoded(&decoder.network().unwrap(), &CancelToken::default()).unwrap().unwrap();
        let expected = fs::read(golden("preview_decoder").join(name)).unwrap();
        let scale = 1 << (tiny.num_decoder_blocks.len() - 1);
        assert_eq!((drawn.width, drawn.height), (width * scale, height * scale), "{name}");
        assert_eq!(drawn.rgb.len(), expected.len(), "{name}");
        let furthest = drawn.rgb.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{name}: {furthest}/255");
        assert!(furthest <= BYTES_MAX, "{name}: {furthest}/255 apart");
    }
}

/// Every tensor by a formula of the places of its numbers.
fn tensors(config: &TinyConfig) -> HashMap<String, Tensor> {
    let shapes = config.shapes();
    let last = shapes.last().unwrap().0.rsplit_once('.').unwrap().0.to_owned();
    let mut place = 0;
    let mut tensor = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product::<usize>() as u64;
        let places = place..place + count;
        place += count;
        let is_last = name.starts_with(&format!("{last}."));
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let gain = match () {
            () if is_last => 0.0625,
            () if name.contains(".conv.4.") => 0.5,
            () => 1.0,
        };
        let value = |place| match shape.len() {
            1 => uniform(place) / 8.0 + if is_last { 0.5 } else { 0.0 },
            _ => uniform(place) * (gain * (6.0 / fan_in).sqrt()),
        };
        let tensor = half(places.map(value), &shape);
        (name, tensor)
    };
    shapes.into_iter().map(&mut tensor).collect()
}

fn half(values: impl Iterator<Item = f64>, shape: &[usize]) -> Tensor {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap()
}

/// SplitMix64 (Steele, Lea and Flood 2014) of a place, 24 bits of it, in [-1, 1).
fn uniform(place: u64) -> f64 {
    let mut z = (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f64 / f64::from(1 << 23) - 1.0
}
