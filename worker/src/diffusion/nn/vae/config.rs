//! `vae/config.json`.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use crate::diffusion::nn::blocks::ResnetSettings;
use crate::diffusion::weights::config::{self, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles};

/// The shape of the autoencoder; absent keys have the defaults of diffusers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    down_block_types: Option<Vec<String>>,
    up_block_types: Option<Vec<String>>,
    /// Of the encoder, from the finest resolution to the coarsest; never empty.
    pub(super) block_out_channels: Vec<usize>,
    /// Residual blocks of an encoder's level; the decoder's have one more.
    pub(super) layers_per_block: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    pub(super) norm_num_groups: usize,
    #[serde(flatten)]
    pub(super) scaling: LatentScaling,
    /// Whether f16 overflows in this autoencoder, so that a pipeline in f16 runs it in f32. Diffusers reads it in
    /// the pipelines of SDXL and takes an absent key for true.
    pub force_upcast: bool,
    pub(super) use_quant_conv: bool,
    pub(super) use_post_quant_conv: bool,
    pub(super) mid_block_add_attention: bool,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: None,
            up_block_types: None,
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling: LatentScaling::default(),
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

const SETTLED: &[Settled] = &[
    ("_class_name", &["\"AutoencoderKL\""]),
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("in_channels", &["3"]),
    ("out_channels", &["3"]),
    ("down_block_types", &["\"DownEncoderBlock2D\""]),
    ("up_block_types", &["\"UpDecoderBlock2D\""]),
    ("latents_mean", &["null"]),
    ("latents_std", &["null"]),
];

impl VaeConfig {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// When it is missing, no such JSON, or asks for what is not implemented.
    pub fn read(files: &ModelFiles, path: &str) -> std::result::Result<Self, LoadError> {
        let config: Self = config::read(files, path, SETTLED)?;
        let channels = &config.block_out_channels;
        let refuse =
            |key, found: String, supported: &str| Err(config::unsupported(files, path, key, &found, supported));
        if channels.is_empty() || channels.contains(&0) {
            return refuse("block_out_channels", format!("{channels:?}"), "one number or more, none 0");
        }
        let types = [("down_block_types", &config.down_block_types), ("up_block_types", &config.up_block_types)];
        for (key, types) in types {
            // There is one type of block on each way, so that an absent list leaves nothing open.
            if let Some(types) = types
                && types.len() != channels.len()
            {
                let supported = format!("one for each of the {} `block_out_channels`", channels.len());
                return refuse(key, format!("{types:?}"), &supported);
            }
        }
        if config.scaling.scaling_factor == 0.0 {
            return refuse("scaling_factor", "0".into(), "any other number");
        }
        Ok(config)
    }

    /// Latents of the UNet are those of the VAE times this.
    pub fn scaling_factor(&self) -> f64 {
        self.scaling.scaling_factor
    }

    /// Pixels along one side of a latent cell.
    pub fn scale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    pub(super) fn resnets(&self) -> ResnetSettings {
        ResnetSettings { groups: self.norm_num_groups, eps: NORM_EPS, time_channels: None }
    }
}

/// ε of every normalisation of the autoencoder.
pub(super) const NORM_EPS: f64 = 1e-6;

/// From the latents of the autoencoder to those of the UNet and back.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub(super) struct LatentScaling {
    scaling_factor: f64,
    shift_factor: Option<f64>,
}

impl Default for LatentScaling {
    fn default() -> Self {
        Self { scaling_factor: 0.18215, shift_factor: None }
    }
}

impl LatentScaling {
    /// `(latents − shift_factor) · scaling_factor`
    pub(super) fn unit_from_vae(self, latents: &Tensor) -> Result<Tensor> {
        latents.affine(self.scaling_factor, -self.shift_factor.unwrap_or(0.0) * self.scaling_factor)
    }

    /// `latents / scaling_factor + shift_factor`
    pub(super) fn vae_from_unit(self, latents: &Tensor) -> Result<Tensor> {
        latents.affine(1.0 / self.scaling_factor, self.shift_factor.unwrap_or(0.0))
    }
}
