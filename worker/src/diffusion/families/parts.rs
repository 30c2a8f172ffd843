//! The parts of a model folder: what their configurations say, and how they are loaded.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device};
use serde::Deserialize;

use super::card::{ModelCard, PreviewBasis};
use super::conditioning::Conditioner;
use super::latent_diffusion::LatentDiffusion;
use super::latent_rgb;
use super::networks::{Adaptable, folder_and_file};
use super::pictures::PictureEncoder;
use super::text::{HiddenState, TextPart, TextStack};
use crate::diffusion::embeddings::{Embedding, EmbeddingSet, TextEncoder};
use crate::diffusion::nn::clip_text::{ClipTextConfig, ClipTextEncoder};
use crate::diffusion::nn::unet::{Unet, UnetConfig};
use crate::diffusion::nn::vae::{VaeConfig, VaeDecoder, VaeEncoder};
use crate::diffusion::ops::Arrivals;
use crate::diffusion::pipeline::{MicroKind, ModelInfo, ModelSchedule};
use crate::diffusion::placement::Placement;
use crate::diffusion::prompt::PromptTokenizer;
use crate::diffusion::schedulers::{AlignedModel, SchedulerConfig, SigmaSpacing};
use crate::diffusion::weights::{LoadError, ModelFiles, Scope, Weights, config};

const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const INDEX: &str = "model_index.json";

/// How the folders of a family are put together.
pub(super) struct Layout {
    pub(super) family: &'static str,
    /// Tokenizers and encoders, in the order of their channels in the UNet's context.
    pub(super) text: &'static [TextFolders],
    /// Guidance for a request that names none, where the model was not distilled.
    pub(super) guidance_scale: f64,
    /// Side of the latents where the UNet's configuration does not say it.
    pub(super) sample_size: usize,
    /// Whose schedule "Align Your Steps" takes.
    pub(super) aligned: AlignedModel,
    /// Whether diffusers' pipeline corrects the configuration of the scheduler that it is built with.
    pub(super) corrects_scheduler: bool,
}

/// A text encoder with its tokenizer.
pub(super) struct TextFolders {
    pub(super) encoder: TextEncoder,
    pub(super) tokenizer: &'static str,
    pub(super) reads: HiddenState,
}

/// What the pipelines of diffusers keep in `model_index.json` beside the classes of their parts.
#[derive(Deserialize)]
#[serde(default)]
struct PipelineConfig {
    force_zeros_for_empty_prompt: bool,
    requires_aesthetics_score: bool,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self { force_zeros_for_empty_prompt: true, requires_aesthetics_score: false }
    }
}

/// The configurations of one model, each understood and fitting the others.
pub(super) struct Parts {
    layout: &'static Layout,
    text: Vec<ClipTextConfig>,
    unet: UnetConfig,
    vae: VaeConfig,
    scheduler: SchedulerConfig,
    pipeline: PipelineConfig,
}

impl Parts {
    /// Reads the configurations; no weights.
    ///
    /// # Errors
    /// When one is missing, unreadable, asks for what is not implemented, or does not fit the others.
    pub(super) fn read(files: &ModelFiles, layout: &'static Layout) -> Result<Self, LoadError> {
        let text = layout
            .text
            .iter()
            .map(|part| ClipTextConfig::read(files, &format!("{}/config.json", part.encoder.folder())));
        let mut scheduler = SchedulerConfig::read(files, SCHEDULER)?;
        if layout.corrects_scheduler {
            scheduler.clip_sample = Some(false);
            scheduler.steps_offset = 1;
        }
        let parts = Self {
            layout,
            text: text.collect::<Result<_, _>>()?,
            unet: UnetConfig::read(files, UNET)?,
            vae: VaeConfig::read(files, VAE)?,
            scheduler,
            pipeline: files.json(INDEX)?,
        };
        parts.check(files)?;
        Ok(parts)
    }

    fn check(&self, files: &ModelFiles) -> Result<(), LoadError> {
        let Self { unet, vae, .. } = self;
        let refuse =
            |path, key, found: usize, wanted: String| Err(config::unsupported(files, path, key, &found, &wanted));
        let latent = vae.latent_channels;
        if unet.in_channels != latent && unet.in_channels != 2 * latent + 1 {
            let wanted =
                format!("{latent} here, or {} for inpainting, as the VAE has {latent} channels", 2 * latent + 1);
            return refuse(UNET, "in_channels", unet.in_channels, wanted);
        }
        if unet.out_channels != latent {
            return refuse(UNET, "out_channels", unet.out_channels, format!("{latent} here, as the VAE has"));
        }
        let width: usize = self.text.iter().map(|text| text.hidden_size).sum();
        if unet.cross_attention_dim != width {
            let wanted = format!("{width} here, as the text encoders' `hidden_size` is together");
            return refuse(UNET, "cross_attention_dim", unet.cross_attention_dim, wanted);
        }
        let Some(addition) = &unet.addition else { return Ok(()) };
        let pooled = self.pooled_channels();
        if addition.time_ids(pooled) != Some(self.micro().ids()) {
            let wanted = pooled + self.micro().ids() * addition.time_embed_dim;
            let wanted =
                format!("{wanted} here: {pooled} of the text, and {} numbers about the picture", self.micro().ids());
            return refuse(UNET, "projection_class_embeddings_input_dim", addition.input_dim, wanted);
        }
        Ok(())
    }

    fn pooled_channels(&self) -> usize {
        self.text.last().map_or(0, |text| text.projection_dim)
    }

    fn micro(&self) -> MicroKind {
        match &self.unet.addition {
            None => MicroKind::None,
            Some(_) if self.pipeline.requires_aesthetics_score => MicroKind::Aesthetic,
            Some(_) => MicroKind::Sizes,
        }
    }

    /// Whether the model was distilled to draw in a few steps, as the Turbo and consistency models were.
    fn is_distilled(&self) -> bool {
        self.unet.time_cond_proj_dim.is_some() || self.scheduler.is_for_few_steps()
    }

    /// What the configurations say.
    ///
    /// # Errors
    /// When the model's own card or preview basis cannot be read or does not fit.
    pub(super) fn info(&self, files: &ModelFiles) -> Result<ModelInfo, LoadError> {
        let card = ModelCard::read(files)?;
        let scale = self.vae.scale();
        let side = (self.unet.sample_size.unwrap_or(self.layout.sample_size) * scale) as u32;
        let (preview_rows, preview_bias) = self.preview_basis(files)?;
        let (scheduler, _) = self.scheduler.entry();
        let sigmas = self.scheduler.spacing();
        let (steps, guidance_scale) = match (self.is_distilled(), self.unet.time_cond_proj_dim) {
            (true, Some(_)) => (4, 8.5),
            (true, None) => (4, 1.0),
            (false, _) => (25, self.layout.guidance_scale),
        };
        Ok(ModelInfo {
            family: self.layout.family,
            width: card.width.unwrap_or(side),
            height: card.height.unwrap_or(side),
            steps: card.steps.unwrap_or(steps),
            guidance_scale: card.guidance_scale.unwrap_or(guidance_scale),
            scheduler,
            sigmas: if scheduler.supports(sigmas) { sigmas } else { SigmaSpacing::Default },
            schedule: ModelSchedule { config: self.scheduler.clone(), aligned: self.layout.aligned },
            micro: self.micro(),
            has_guidance_inside: self.unet.time_cond_proj_dim.is_some(),
            latent_channels: self.vae.latent_channels,
            latent_scale: scale as u32,
            scaling_factor: self.vae.scaling_factor(),
            clip_skip_max: self.text.iter().map(|text| text.num_hidden_layers).min().unwrap_or(1).saturating_sub(2),
            preview_rows,
            preview_bias,
            examples: card.examples,
        })
    }

    /// The folder's own basis, or the published one of the latent space.
    fn preview_basis(&self, files: &ModelFiles) -> Result<(Vec<[f32; 3]>, [f32; 3]), LoadError> {
        let channels = self.vae.latent_channels;
        let basis = PreviewBasis::read(files)?.unwrap_or_else(|| latent_rgb::published(self.vae.scaling_factor()));
        if basis.rows.len() != channels {
            let supported = format!("{channels} rows, one for each latent channel");
            let found = format!("{} rows", basis.rows.len());
            return Err(config::unsupported(files, "preview_basis.json", "rows", &found, &supported));
        }
        Ok((basis.rows, basis.bias))
    }

    /// Bytes of memory that the weights take under `placement`, by their headers: each tensor that the configurations
    /// ask for is looked for and compared, and nothing is mapped.
    ///
    /// # Errors
    /// When a file is missing or broken, or the first tensor that is missing or does not fit.
    pub(super) fn measure(&self, files: &ModelFiles, placement: &Placement) -> Result<u64, LoadError> {
        let dtype = placement.dtype;
        let mut bytes = 0;
        let mut add = |numbers: u64, dtype: DType| bytes += numbers * dtype.size_in_bytes() as u64;
        for (folders, config) in self.layout.text.iter().zip(&self.text) {
            let rehearsed = Weights::rehearse(files, folders.encoder.folder(), "model", |weights| {
                ClipTextEncoder::load(config, weights, &placement.device, dtype)
            });
            add(rehearsed?, dtype);
        }
        let rehearsed = Weights::rehearse(files, "unet", "diffusion_pytorch_model", |weights| {
            Unet::load(&self.unet, weights, &placement.device, dtype)
        });
        add(rehearsed?, dtype);
        let dtype = placement.vae_dtype(self.vae.force_upcast);
        let rehearsed = Weights::rehearse(files, "vae", "diffusion_pytorch_model", |weights| {
            load_vae(&self.vae, weights, &placement.device, dtype)
        });
        add(rehearsed?, dtype);
        Ok(bytes)
    }

    /// Reads the weights, and of `embeddings` those that were made for such a model.
    ///
    /// # Errors
    /// When a file of the model is missing or does not fit, or the device has no room.
    pub(super) fn load(
        self,
        files: &ModelFiles,
        embeddings: &[(String, PathBuf)],
        placement: &Placement,
    ) -> Result<LatentDiffusion, LoadError> {
        let device = &placement.device;
        let tokenizers = self.layout.text.iter().zip(&self.text).map(|(folders, config)| {
            PromptTokenizer::load(files, folders.tokenizer, config.max_position_embeddings, config.vocab_size)
        });
        let tokenizers = tokenizers.collect::<Result<Vec<_>, LoadError>>()?;
        self.measure(files, placement)?;

        let micro = self.micro();
        let Self { layout, text, unet, vae, scheduler, pipeline } = self;
        let parts = layout.text.iter().zip(&text).zip(tokenizers).map(|((folders, config), tokenizer)| TextPart {
            encoder: folders.encoder,
            tokenizer,
            config: config.clone(),
            reads: folders.reads,
        });
        let encoders: Vec<(TextEncoder, ClipTextConfig)> =
            layout.text.iter().map(|folders| folders.encoder).zip(text.iter().cloned()).collect();
        let conditioner = Conditioner {
            text: TextStack::new(parts.collect(), fitting(embeddings, &encoders, device), device.clone()),
            micro,
            zeros_for_no_negative: unet.addition.is_some() && pipeline.force_zeros_for_empty_prompt,
            guidance_channels: unet.time_cond_proj_dim,
        };
        let (_, warning) = scheduler.entry();
        let vae_weights = Weights::open(files, "vae", "diffusion_pytorch_model")?;
        let (encoder, decoder) = load_vae(&vae, &vae_weights, device, placement.vae_dtype(vae.force_upcast))?;
        let arrivals =
            Arrivals::new(device).map_err(|error| Scope::root(&vae_weights, device, placement.dtype).failed(error))?;
        // No adapter changes the autoencoder: what is kept of it is what lies packed beside its files.
        drop(vae_weights.keep());
        Ok(LatentDiffusion {
            device: device.clone(),
            conditioner,
            inpainting_channels: unet.in_channels - vae.latent_channels,
            networks: Adaptable::load(files, encoders, unet, placement)?,
            encoder: PictureEncoder::new(encoder, device.clone()),
            decoder,
            arrivals,
            schedule: ModelSchedule { config: scheduler, aligned: layout.aligned },
            latent_channels: vae.latent_channels,
            latent_scale: vae.scale(),
            warnings: warning.into_iter().collect(),
        })
    }
}

/// Both halves of the autoencoder, of which some files have the second only.
fn load_vae(
    config: &VaeConfig,
    weights: &Weights,
    device: &Device,
    dtype: DType,
) -> Result<(Option<VaeEncoder>, VaeDecoder), LoadError> {
    let encoder = VaeEncoder::is_in(weights).then(|| VaeEncoder::load(config, weights, device, dtype));
    Ok((encoder.transpose()?, VaeDecoder::load(config, weights, device, dtype)?))
}

/// The embeddings that fit a model with these encoders. The others belong to other models, so that a prompt's word
/// of their name is a word.
pub(super) fn fitting(
    files: &[(String, PathBuf)],
    encoders: &[(TextEncoder, ClipTextConfig)],
    device: &Device,
) -> EmbeddingSet {
    let widths: Vec<_> = encoders.iter().map(|(encoder, config)| (*encoder, config.hidden_size)).collect();
    let mut set = EmbeddingSet::default();
    for (name, path) in files {
        let (folder, file) = folder_and_file(path);
        match Embedding::open(&folder, &file, &widths, device) {
            Ok(embedding) => set.insert(name, Arc::new(embedding)),
            Err(error) => {
                tracing::info!(
                    name,
                    error = &error as &dyn std::error::Error,
                    "an embedding does not go with this model"
                );
            }
        }
    }
    set
}
