//! The decoder of an `AutoencoderTiny` (TAESD) that a model brings for previews: as a file for clients that run it, and
//! as the network for those that want pictures.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::diffusion::nn::taesd::{TinyConfig, TinyDecoder};
use crate::diffusion::weights::config::{self, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles, Scope, Weights};

/// Most bytes of a decoder; TAESD's has 2.4 MB.
const BYTES_MAX: usize = 32 << 20;

const FOLDER: &str = "preview_decoder";

/// A safetensors file as a client gets it: the tensors `decoder.layers.…` of diffusers in f16, and under `config` of
/// its metadata the `config.json` as a text. It takes latents of unit variance, as the UNet has them.
#[derive(Clone, PartialEq, Eq)]
pub struct PreviewDecoder {
    config: TinyConfig,
    file: Arc<[u8]>,
    sha256: String,
}

const SETTLED: &[Settled] = &[
    ("_class_name", &["\"AutoencoderTiny\""]),
    ("act_fn", &["\"relu\""]),
    ("out_channels", &["3"]),
    ("upsample_fn", &["\"nearest\""]),
    ("upsampling_scaling_factor", &["2"]),
    ("scaling_factor", &["1", "1.0"]),
    ("shift_factor", &["0", "0.0"]),
];

impl PreviewDecoder {
    /// The decoder in `preview_decoder/` of a model, where there is one.
    ///
    /// # Errors
    /// When there is one that cannot be read or is not for latents of `latent_channels`.
    pub fn of_model(files: &ModelFiles, latent_channels: usize) -> Result<Option<Self>, LoadError> {
        let is_there = files.contains(&format!("{FOLDER}/config.json"));
        is_there.then(|| Self::read(files, FOLDER, latent_channels)).transpose()
    }

    /// The decoder at `path`, a folder as `AutoencoderTiny.save_pretrained` leaves it.
    ///
    /// # Errors
    /// When there is none, or as [`of_model`](Self::of_model).
    pub fn at(path: &Path, latent_channels: usize) -> Result<Self, LoadError> {
        let (parent, folder) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        Self::read(&ModelFiles::folder(parent), &folder.to_string_lossy(), latent_channels)
    }

    fn read(files: &ModelFiles, folder: &str, latent_channels: usize) -> Result<Self, LoadError> {
        let path = format!("{folder}/config.json");
        let tiny: TinyConfig = config::read(files, &path, SETTLED)?;
        let refuse =
            |key, found: String, supported: &str| Err(config::unsupported(files, &path, key, &found, supported));
        if tiny.latent_channels != latent_channels {
            let supported = format!("{latent_channels}, as the model's own latents have");
            return refuse("latent_channels", tiny.latent_channels.to_string(), &supported);
        }
        let (channels, blocks) = (&tiny.decoder_block_out_channels, &tiny.num_decoder_blocks);
        if channels.is_empty() || channels.iter().any(|&count| count == 0 || count != channels[0]) {
            // A convolution between two levels keeps the channels, so that diffusers cannot run others either.
            return refuse("decoder_block_out_channels", format!("{channels:?}"), "one number for all levels");
        }
        if blocks.len() != channels.len() {
            let supported = format!("one for each of the {} levels", channels.len());
            return refuse("num_decoder_blocks", format!("{blocks:?}"), &supported);
        }
        let shapes = tiny.shapes();
        let bytes = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>() * 2).sum::<usize>();
        if bytes > BYTES_MAX {
            let supported = format!("a decoder of {BYTES_MAX} bytes in f16 at most");
            return refuse("decoder_block_out_channels", format!("{channels:?} ({bytes} bytes)"), &supported);
        }
        let weights = Weights::open(files, folder, "diffusion_pytorch_model")?;
        let scope = Scope::root(&weights, &Device::Cpu, DType::F16);
        let tensors: HashMap<String, Tensor> = shapes
            .into_iter()
            .map(|(name, shape)| Ok((name.clone(), scope.tensor(&name, &shape)?)))
            .collect::<Result<_, LoadError>>()?;
        let config: Map<String, Value> = files.json(&path)?;
        let metadata = HashMap::from([("config".into(), Value::Object(config).to_string())]);
        let file = safetensors::serialize(tensors, Some(metadata))
            .map_err(|error| scope.failed(candle_core::Error::wrap(error)))?;
        let sha256 = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { config: tiny, file: file.into(), sha256 })
    }

    /// The network on the CPU, made of the file.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn network(&self) -> candle_core::Result<TinyDecoder> {
        TinyDecoder::new(&self.config, &candle_core::safetensors::load_buffer(&self.file, &Device::Cpu)?)
    }

    /// The file.
    pub fn safetensors(&self) -> Arc<[u8]> {
        Arc::clone(&self.file)
    }

    /// Its hash, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl std::fmt::Debug for PreviewDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PreviewDecoder({} bytes)", self.file.len())
    }
}
