//! What a decoder's `config.json` says, as far as decoding goes.

use serde_json::Value;

use super::DecoderError;
use crate::decimal;
use crate::preview::CHANNELS_MAX as LATENT_CHANNELS_MAX;

/// Most levels of a decoder: pictures of up to 32 pixels along a latent cell.
pub const LEVELS_MAX: usize = 6;

/// Most channels between layers; TAESD has 64.
pub const CHANNELS_MAX: usize = 256;

/// Most residual blocks of a level; TAESD has 3.
pub const BLOCKS_MAX: usize = 16;

/// The shape of diffusers' `DecoderTiny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of every other layer. Convolutions between levels keep their number, so all levels have the same.
    pub channels: usize,
    /// Residual blocks of each level, from the resolution of latents to that of pictures; a level has twice the
    /// resolution of the one before.
    pub blocks: Vec<usize>,
}

impl Shape {
    /// Pixels along one side of a latent cell.
    pub fn scale(&self) -> u32 {
        1 << (self.blocks.len() - 1)
    }

    /// Reads `config.json` of an `AutoencoderTiny`; keys that are absent have diffusers' defaults.
    ///
    /// # Errors
    /// When it is none, or asks for what is not computed here.
    pub fn parse(config: &str) -> Result<Self, DecoderError> {
        let config: Value = serde_json::from_str(config).map_err(|_| DecoderError::NoConfig)?;
        if !config.is_object() {
            return Err(DecoderError::NoConfig);
        }
        let refuse = |key, supported| Err(DecoderError::Config { key, supported });
        for &(key, supported) in SETTLED {
            if config.get(key).is_some_and(|found| !is_same(found, supported)) {
                return refuse(key, supported);
            }
        }
        let numbers = |key, default: &[usize]| numbers(&config, key, default);
        let latent_channels = numbers("latent_channels", &[4])?;
        let channels = numbers("decoder_block_out_channels", &[64; 4])?;
        let blocks = numbers("num_decoder_blocks", &[3, 3, 3, 1])?;
        let first = |numbers: &[usize]| numbers.first().copied().unwrap_or_default();
        let shape = Self { latent_channels: first(&latent_channels), channels: first(&channels), blocks };
        if !(1..=LATENT_CHANNELS_MAX).contains(&shape.latent_channels) {
            return refuse("latent_channels", "1 to 64");
        }
        let is_divisible = shape.channels.is_multiple_of(4) && (4..=CHANNELS_MAX).contains(&shape.channels);
        if !is_divisible || channels.len() > LEVELS_MAX || channels.iter().any(|&count| count != shape.channels) {
            return refuse("decoder_block_out_channels", "one multiple of 4 up to 256, for 1 to 6 levels");
        }
        if shape.blocks.len() != channels.len() || shape.blocks.iter().any(|&count| count > BLOCKS_MAX) {
            return refuse("num_decoder_blocks", "up to 16 for each level");
        }
        Ok(shape)
    }
}

/// Keys with a single value that is computed here. `latent_magnitude` is no concern of decoding: the clamp of
/// `DecoderTiny.forward` is at 3 whatever it says.
const SETTLED: &[(&str, &str)] = &[
    ("act_fn", "relu"),
    ("out_channels", "3"),
    ("upsample_fn", "nearest"),
    ("upsampling_scaling_factor", "2"),
    ("scaling_factor", "1"),
    ("shift_factor", "0"),
];

/// Whether `found` is that text or that number; 1.0 is 1.
fn is_same(found: &Value, supported: &str) -> bool {
    match found.as_f64() {
        Some(number) => decimal::read(supported) == Some(number),
        None => found.as_str() == Some(supported),
    }
}

/// A list of numbers, or one number.
fn numbers(config: &Value, key: &'static str, default: &[usize]) -> Result<Vec<usize>, DecoderError> {
    let Some(value) = config.get(key) else { return Ok(default.to_vec()) };
    let list = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    let numbers: Option<_> = list.iter().map(number).collect();
    numbers.ok_or(DecoderError::Config { key, supported: "whole numbers" })
}
