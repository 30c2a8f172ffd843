//! Decoders and latents that every test computes for itself, and what diffusers made of them: the other half of
//! `tests/goldens/preview_decoder.py`.

use std::path::PathBuf;

use half::f16;
use sd_protocol::binary::PreviewPosition;
use sd_protocol::{PreviewDtype, PreviewFrame};
use serde_json::{Map, Value, json};

use super::{Decoder, Shape};

/// The place of the first number of the latents.
const LATENTS: u64 = 1 << 32;

/// A decoder, a latent and diffusers' picture.
pub(crate) struct Example {
    pub(crate) name: String,
    pub(crate) decoder: Decoder,
    pub(crate) frame: Vec<u8>,
    /// `[height, width, 3]`
    pub(crate) rgb: Vec<u8>,
}

/// All of them.
pub(crate) fn all() -> Vec<Example> {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens");
    let listed = std::fs::read_to_string(goldens.join("preview_decoder.json")).unwrap();
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let read = |case: &Value| {
        let name = case["file"].as_str().unwrap();
        let (width, height) = (case["width"].as_u64().unwrap() as u16, case["height"].as_u64().unwrap() as u16);
        let decoder = Decoder::read(&file(&case["config"].to_string())).unwrap();
        let frame = frame(width, height, decoder.shape().latent_channels);
        let rgb = std::fs::read(goldens.join("preview_decoder").join(name)).unwrap();
        Example { name: name.to_owned(), decoder, frame, rgb }
    };
    listed.iter().map(read).collect()
}

/// The decoder of this `config.json`, as a file.
pub(crate) fn file(config: &str) -> Vec<u8> {
    let shape = Shape::parse(config).unwrap();
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "config": config }))]);
    let mut numbers = Vec::new();
    let mut place = 0;
    for (name, sides, is_last) in tensors(&shape) {
        let count = sides.iter().product::<usize>() as u64;
        let fan_in = sides[1..].iter().product::<usize>() as f64;
        let gain = if is_last {
            0.0625
        } else if name.contains(".conv.4.") {
            0.5
        } else {
            1.0
        };
        let from = numbers.len();
        for value in (place..place + count).map(uniform) {
            let value = match sides.len() {
                1 => value / 8.0 + if is_last { 0.5 } else { 0.0 },
                _ => value * (gain * (6.0 / fan_in).sqrt()),
            };
            numbers.extend(f16::from_f32(value as f32).to_le_bytes());
        }
        place += count;
        let entry = json!({ "dtype": "F16", "shape": sides, "data_offsets": [from, numbers.len()] });
        header.insert(format!("decoder.{name}"), entry);
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(numbers);
    bytes
}

/// A frame with numbers in [-3, 3).
pub(crate) fn frame(width: u16, height: u16, channels: usize) -> Vec<u8> {
    let position = PreviewPosition { step: 1, steps: 4, batch_index: 0, batch_size: 1 };
    let count = u64::from(width) * u64::from(height) * channels as u64;
    let latent: Vec<f32> = (LATENTS..LATENTS + count).map(|place| (uniform(place) * 3.0) as f32).collect();
    PreviewFrame::pack(position, width, height, &latent, PreviewDtype::F16).encode(1)
}

/// Name, sides, and whether it is of the last layer, in the order of diffusers' modules.
fn tensors(shape: &Shape) -> Vec<(String, Vec<usize>, bool)> {
    let mut tensors = Vec::new();
    let mut convolution = |name: String, inputs, outputs, has_bias, is_last| {
        tensors.push((format!("layers.{name}.weight"), vec![outputs, inputs, 3, 3], is_last));
        if has_bias {
            tensors.push((format!("layers.{name}.bias"), vec![outputs], is_last));
        }
    };
    let channels = shape.channels;
    convolution("0".to_owned(), shape.latent_channels, channels, true, false);
    let mut layer = 2;
    for (at, &blocks) in shape.blocks.iter().enumerate() {
        let is_last = at + 1 == shape.blocks.len();
        for _ in 0..blocks {
            for part in [0, 2, 4] {
                convolution(format!("{layer}.conv.{part}"), channels, channels, true, false);
            }
            layer += 1;
        }
        layer += usize::from(!is_last);
        convolution(layer.to_string(), channels, if is_last { 3 } else { channels }, is_last, is_last);
        layer += 1;
    }
    tensors
}

/// SplitMix64 (Steele, Lea and Flood 2014) of a place, 24 bits of it, in [-1, 1).
fn uniform(place: u64) -> f64 {
    let mut z = (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f64 / f64::from(1 << 23) - 1.0
}
