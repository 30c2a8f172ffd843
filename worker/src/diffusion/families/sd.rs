//! Stable Diffusion 1 and 2: CLIP, UNet2DConditionModel, AutoencoderKL (diffusers' `StableDiffusionPipeline`).

use std::time::Instant;

use candle_core::{Device, Tensor};

use super::card::{ModelCard, PreviewBasis};
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::denoise::denoise;
use crate::diffusion::guidance::Guidance;
use crate::diffusion::nn::clip_text::{ClipTextConfig, ClipTextEncoder};
use crate::diffusion::nn::unet::{Unet, UnetConfig};
use crate::diffusion::nn::vae::{VaeConfig, VaeDecoder};
use crate::diffusion::noise::LatentNoise;
use crate::diffusion::pipeline::{
    Finished, GenerateError, GenerationSpec, ModelInfo, Observer, Outcome, Picture, Pipeline,
};
use crate::diffusion::pixels::pictures_from_decoded;
use crate::diffusion::prompt::PromptTokenizer;
use crate::diffusion::schedulers::{SCHEDULERS, ScheduleSpec, SchedulerConfig, SigmaSpacing};
use crate::diffusion::weights::{LoadError, ModelFiles, Weights, config};

/// What the catalogue calls this family.
pub(super) const NAME: &str = "sd";

const TEXT_ENCODER: &str = "text_encoder/config.json";
const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// Latent to RGB in `[-1, 1]` for the SD 1 autoencoder, as published with ComfyUI's latent formats.
const SD1_LATENT_RGB: [[f32; 3]; 4] =
    [[0.3512, 0.2297, 0.3227], [0.3250, 0.4974, 0.2350], [-0.2829, 0.1762, 0.2721], [-0.2120, -0.2616, -0.7177]];

/// The configurations of one model, each understood and fitting the others.
struct Configs {
    text: ClipTextConfig,
    unet: UnetConfig,
    vae: VaeConfig,
    scheduler: SchedulerConfig,
}

impl Configs {
    fn read(files: &ModelFiles) -> Result<Self, LoadError> {
        let configs = Self {
            text: ClipTextConfig::read(files, TEXT_ENCODER)?,
            unet: UnetConfig::read(files, UNET)?,
            vae: VaeConfig::read(files, VAE)?,
            scheduler: corrected(SchedulerConfig::read(files, SCHEDULER)?),
        };
        let Self { text, unet, vae, .. } = &configs;
        let must_be = |path, key, found: usize, wanted: usize, of: &str| {
            if found == wanted {
                return Ok(());
            }
            Err(config::unsupported(files, path, key, &found, &format!("{wanted} here, as {of}")))
        };
        must_be(UNET, "in_channels", unet.in_channels, vae.latent_channels, "the VAE's `latent_channels`")?;
        must_be(UNET, "out_channels", unet.out_channels, vae.latent_channels, "the VAE's `latent_channels`")?;
        must_be(UNET, "cross_attention_dim", unet.cross_attention_dim, text.hidden_size, "the text's `hidden_size`")?;
        Ok(configs)
    }
}

/// The corrections that diffusers' pipeline makes to the configuration of any scheduler that it is built with.
fn corrected(mut scheduler: SchedulerConfig) -> SchedulerConfig {
    scheduler.clip_sample = false;
    scheduler.steps_offset = 1;
    scheduler
}

/// What the configurations say.
///
/// # Errors
/// When one is missing, unreadable, or asks for what is not implemented.
pub(super) fn inspect(files: &ModelFiles) -> Result<ModelInfo, LoadError> {
    let Configs { unet, vae, scheduler, .. } = Configs::read(files)?;
    let card = ModelCard::read(files)?;
    let side = (unet.sample_size.unwrap_or(64) * vae.scale()) as u32;
    let (preview_rows, preview_bias) = preview_basis(files, vae.latent_channels)?;
    let entry = SCHEDULERS.iter().find(|entry| entry.diffusers_class == scheduler.class_name);
    let entry = entry.unwrap_or(&SCHEDULERS[0]);
    let is_karras = scheduler.names_karras() && entry.supports(SigmaSpacing::Karras);
    Ok(ModelInfo {
        family: NAME,
        width: card.width.unwrap_or(side),
        height: card.height.unwrap_or(side),
        steps: card.steps.unwrap_or(25),
        guidance_scale: card.guidance_scale.unwrap_or(7.5),
        scheduler: entry,
        sigmas: if is_karras { SigmaSpacing::Karras } else { SigmaSpacing::Default },
        latent_channels: vae.latent_channels,
        latent_scale: vae.scale() as u32,
        preview_rows,
        preview_bias,
        examples: card.examples,
    })
}

/// The folder's own basis, or the published one of SD 1 brought from `[-1, 1]` to `[0, 1]`.
fn preview_basis(files: &ModelFiles, channels: usize) -> Result<(Vec<[f32; 3]>, [f32; 3]), LoadError> {
    let basis = PreviewBasis::read(files)?.unwrap_or_else(|| PreviewBasis {
        rows: SD1_LATENT_RGB.iter().map(|row| row.map(|factor| factor / 2.0)).collect(),
        bias: [0.5; 3],
    });
    if basis.rows.len() != channels {
        let supported = format!("{channels} rows, one for each latent channel");
        let found = format!("{} rows", basis.rows.len());
        return Err(config::unsupported(files, "preview_basis.json", "rows", &found, &supported));
    }
    Ok((basis.rows, basis.bias))
}

/// A loaded model.
#[derive(Debug)]
pub struct StableDiffusion {
    device: Device,
    tokenizer: PromptTokenizer,
    text: ClipTextEncoder,
    unet: Unet,
    vae: VaeDecoder,
    scheduler: SchedulerConfig,
    latent_channels: usize,
    latent_scale: usize,
}

impl StableDiffusion {
    /// Reads the weights onto `device`.
    ///
    /// # Errors
    /// When a file is missing or does not fit, or the device has no room.
    pub fn load(files: &ModelFiles, device: &Device) -> Result<Self, LoadError> {
        let Configs { text, unet, vae, scheduler } = Configs::read(files)?;
        let tokenizer = PromptTokenizer::load(files, "tokenizer", text.max_position_embeddings, text.vocab_size)?;
        let text_weights = Weights::open(files, "text_encoder", "model")?;
        let unet_weights = Weights::open(files, "unet", "diffusion_pytorch_model")?;
        let vae_weights = Weights::open(files, "vae", "diffusion_pytorch_model")?;
        Ok(Self {
            device: device.clone(),
            tokenizer,
            text: ClipTextEncoder::load(&text, &text_weights, device)?,
            unet: Unet::load(&unet, &unet_weights, device)?,
            vae: VaeDecoder::load(&vae, &vae_weights, device)?,
            scheduler,
            latent_channels: vae.latent_channels,
            latent_scale: vae.scale(),
        })
    }

    /// The text of one prompt, `[1, tokens, channels]`; what did not fit is added to `warnings`.
    fn encode(
        &self,
        which: &str,
        prompt: &str,
        cancel: &CancelToken,
        warnings: &mut Vec<String>,
    ) -> Result<Tensor, Stop> {
        let tokens = self.tokenizer.tokens(prompt)?;
        warnings.extend(tokens.dropped.map(|dropped| self.tokenizer.warning(which, &dropped)));
        let ids = Tensor::new(tokens.ids, &self.device)?.unsqueeze(0)?;
        Ok(self.text.forward(&ids, cancel)?)
    }

    fn draw(&self, spec: &GenerationSpec, cancel: &CancelToken, observer: &mut dyn Observer) -> Result<Finished, Stop> {
        let mut warnings = Vec::new();
        let walk = ScheduleSpec { steps: spec.steps as usize, sigmas: spec.sigmas, eta: spec.eta };
        let mut scheduler = spec.scheduler.build(&self.scheduler, &walk)?;
        let batch = spec.batch_size as usize;

        let encode_started = Instant::now();
        let prompt = self.encode("prompt", &spec.prompt, cancel, &mut warnings)?;
        let negative = Guidance::is_on(spec.guidance_scale)
            .then(|| self.encode("negative prompt", &spec.negative_prompt, cancel, &mut warnings))
            .transpose()?;
        let guidance = Guidance::new(&prompt, negative.as_ref(), spec.guidance_scale, batch)?;
        let encode_time = encode_started.elapsed();
        observer.started(scheduler.steps() as u32);

        let denoise_started = Instant::now();
        let cells = |px: u32| px as usize / self.latent_scale;
        let shape = (cells(spec.height), cells(spec.width), self.latent_channels);
        let mut noise = LatentNoise::new(spec.seed, batch, shape, &self.device);
        let latents = denoise(&self.unet, scheduler.as_mut(), &guidance, &mut noise, cancel, observer)?;
        let denoise_time = denoise_started.elapsed();

        let decode_started = Instant::now();
        let pictures = self.decode(&latents, cancel)?;
        Ok(Finished { pictures, warnings, encode_time, denoise_time, decode_time: decode_started.elapsed() })
    }

    /// The pictures of `latents`, one after the other: the memory of the decoder is that of one picture.
    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Vec<Picture>, Stop> {
        let mut pictures = Vec::with_capacity(latents.dim(0)?);
        for item in 0..latents.dim(0)? {
            let decoded = self.vae.decode(&latents.narrow(0, item, 1)?, cancel)?;
            pictures.extend(pictures_from_decoded(&decoded)?);
        }
        Ok(pictures)
    }
}

impl Pipeline for StableDiffusion {
    fn generate(
        &mut self,
        spec: &GenerationSpec,
        cancel: &CancelToken,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, GenerateError> {
        match self.draw(spec, cancel, observer) {
            Ok(finished) => Ok(Outcome::Finished(finished)),
            Err(Stop::Canceled) => Ok(Outcome::Canceled),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

/// Why a generation ends early. Canceled is an outcome, and only the boundary above may say so.
enum Stop {
    Canceled,
    Failed(GenerateError),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Canceled => Self::Canceled,
            Halt::Tensor(error) => Self::Failed(error.into()),
        }
    }
}

impl<E: Into<GenerateError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
