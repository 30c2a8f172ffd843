//! What every Stable Diffusion shares: text to conditioning, a walk in the latent space, the VAE at both ends.
//!
//! Noise is drawn in the order of diffusers' pipelines, because all of it comes from one generator per picture: the
//! posterior sample of the picture, the noise of the first latent, the posterior sample of the masked picture, then
//! whatever the scheduler adds.

use std::ops::Range;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::conditioning::Conditioner;
use super::networks::Adaptable;
use super::pictures::{PictureEncoder, Shown};
use super::stop::Stop;
use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::denoise::{Inpainting, Walk};
use crate::diffusion::inpaint::latent_mask;
use crate::diffusion::nn::vae::{VaeDecoder, tiled};
use crate::diffusion::noise::LatentNoise;
use crate::diffusion::ops::Arrivals;
use crate::diffusion::pipeline::{
    CacheUse, Finished, GenerateError, HandedOver, ModelSchedule, Observer, Outcome, Picture, Pipeline,
};
use crate::diffusion::pixels::pictures_from_decoded;
use crate::diffusion::placement::is_out_of_memory;
use crate::diffusion::schedulers::Scheduler;
use crate::diffusion::spec::{GenerationSpec, ImageStart, Start};

/// What people are told whose picture was put together.
const TILED: &str = "The device had too little memory to decode this picture as a whole; it was decoded in tiles, whose \
                     tones may differ a little.";

/// A loaded model of any family.
#[derive(Debug)]
pub(super) struct LatentDiffusion {
    pub(super) device: Device,
    pub(super) conditioner: Conditioner,
    pub(super) networks: Adaptable,
    /// Channels of the UNet's input beside the latents: a mask and a masked picture, or none.
    pub(super) inpainting_channels: usize,
    pub(super) encoder: PictureEncoder,
    pub(super) decoder: VaeDecoder,
    pub(super) arrivals: Arrivals,
    pub(super) schedule: ModelSchedule,
    pub(super) latent_channels: usize,
    pub(super) latent_scale: usize,
    /// What everybody who draws with this model should know.
    pub(super) warnings: Vec<String>,
}

impl Pipeline for LatentDiffusion {
    fn generate(
        &mut self,
        spec: &GenerationSpec,
        cancel: &CancelToken,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, GenerateError> {
        let drawn = self.draw(spec, cancel, observer);
        // Counted from one generation to the next, however it ended.
        let caches = CacheUse {
            texts: self.conditioner.text.take_reuse(),
            pictures: self.encoder.take_reuse(),
            loras: self.networks.take_reuse(),
        };
        match drawn {
            Ok(Outcome::Finished(finished)) => Ok(Outcome::Finished(Finished { caches, ..finished })),
            Ok(Outcome::HandedOver(over)) => Ok(Outcome::HandedOver(HandedOver { caches, ..over })),
            Ok(Outcome::Canceled) => Ok(Outcome::Canceled),
            Err(Stop::Canceled) => Ok(Outcome::Canceled),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

/// Where a walk begins, and what it keeps to.
struct Prepared {
    /// `[batch, h, w, channels]`
    sample: Tensor,
    inpainting: Inpainting,
}

impl LatentDiffusion {
    fn draw(
        &mut self,
        spec: &GenerationSpec,
        cancel: &CancelToken,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, Stop> {
        let mut warnings = self.warnings.clone();
        let mut scheduler = spec.scheduler.build(&self.schedule.config, &self.schedule.of(spec))?;
        let range = steps_of(spec, scheduler.as_ref());

        let encode_started = Instant::now();
        let networks = self.networks.with(&spec.loras).map_err(|error| GenerateError::Lora(Box::new(error)))?;
        warnings.extend(networks.warnings.iter().cloned());
        let guidance = self.conditioner.guidance(spec, &networks, scheduler.timesteps(), cancel, &mut warnings)?;
        let encode_time = encode_started.elapsed();
        // A picture's walk is all that a job asks for; a refiner goes on counting where the base model stopped.
        let origin = if matches!(spec.start, Start::Image(_)) { range.start } else { 0 };
        observer.started((scheduler.steps() - origin) as u32);

        let denoise_started = Instant::now();
        let mut noise = self.noise(spec);
        let Prepared { sample, inpainting } =
            self.prepare(spec, scheduler.as_ref(), range.start, &mut noise, cancel)?;
        let latents = Walk {
            unet: &networks.unet,
            scheduler: scheduler.as_mut(),
            guidance: &guidance,
            inpainting: &inpainting,
            noise: &mut noise,
            arrivals: &self.arrivals,
            origin,
            cancel,
        }
        .run(sample, range, observer)?;
        let denoise_time = denoise_started.elapsed();
        if spec.denoising_end < 1.0 {
            let caches = CacheUse::default();
            return Ok(Outcome::HandedOver(HandedOver { latents, warnings, encode_time, denoise_time, caches }));
        }

        let decode_started = Instant::now();
        let pictures = self.decode(&latents, cancel, &mut warnings)?;
        let decode_time = decode_started.elapsed();
        let caches = CacheUse::default();
        Ok(Outcome::Finished(Finished { pictures, warnings, encode_time, denoise_time, decode_time, caches }))
    }

    fn noise(&self, spec: &GenerationSpec) -> LatentNoise {
        let cells = |px: u32| px as usize / self.latent_scale;
        let shape = (cells(spec.height), cells(spec.width), self.latent_channels);
        LatentNoise::new(spec.rng, spec.seed, spec.batch_size as usize, shape, &self.device)
    }

    fn prepare(
        &mut self,
        spec: &GenerationSpec,
        scheduler: &dyn Scheduler,
        first: usize,
        noise: &mut LatentNoise,
        cancel: &CancelToken,
    ) -> Result<Prepared, Stop> {
        match &spec.start {
            Start::Latents { latents, .. } => {
                Ok(Prepared { sample: latents.clone(), inpainting: self.unmasked(spec, noise, cancel)? })
            }
            Start::Noise => {
                let sample = (noise.draw()? * scheduler.initial_sigma())?;
                Ok(Prepared { sample, inpainting: self.unmasked(spec, noise, cancel)? })
            }
            Start::Image(image) => self.prepare_image(spec, image, scheduler, first, noise, cancel),
        }
    }

    /// Diffusers' `prepare_latents` of the image-to-image and inpainting pipelines.
    fn prepare_image(
        &mut self,
        spec: &GenerationSpec,
        image: &ImageStart,
        scheduler: &dyn Scheduler,
        first: usize,
        noise: &mut LatentNoise,
        cancel: &CancelToken,
    ) -> Result<Prepared, Stop> {
        let picture = &image.picture;
        let from_noise = image.mask.is_some() && image.strength >= 1.0;
        // A network that sees the picture beside the sample needs no latents of it to start from pure noise.
        let is_encoded = !from_noise || self.inpainting_channels == 0;
        let clean = is_encoded.then(|| self.encode(Shown::Whole(picture), noise, cancel)).transpose()?;
        let fresh = noise.draw()?;
        let Some(masked) = &image.mask else {
            let clean = clean.expect("a picture without a mask is encoded");
            let sample = scheduler.add_noise(&clean, &fresh, first)?;
            return Ok(Prepared { sample, inpainting: self.unmasked(spec, noise, cancel)? });
        };
        let mask = latent_mask(&masked.mask, self.latent_scale as u32, &self.device)?;
        let filled = clean.as_ref().map(|clean| masked.fill.apply(clean, &mask, &fresh)).transpose()?;
        let sample = match filled {
            Some(filled) if !from_noise => scheduler.add_noise(&filled, &fresh, first)?,
            _ => (&fresh * scheduler.initial_sigma())?,
        };
        let outside = self.encode(Shown::Outside(picture, &masked.mask), noise, cancel)?;
        let inpainting = match clean {
            _ if self.inpainting_channels > 0 => beside(&mask, &outside)?,
            Some(clean) => Inpainting::Repaint { mask, clean, noise: fresh },
            None => Inpainting::Off,
        };
        Ok(Prepared { sample, inpainting })
    }

    /// What a network that expects a mask is given where there is none: all of the picture is drawn, and nothing is
    /// seen of it.
    fn unmasked(
        &mut self,
        spec: &GenerationSpec,
        noise: &mut LatentNoise,
        cancel: &CancelToken,
    ) -> Result<Inpainting, Stop> {
        if self.inpainting_channels == 0 {
            return Ok(Inpainting::Off);
        }
        let outside = self.encode(Shown::Nothing((spec.width, spec.height)), noise, cancel)?;
        let (_, rows, columns, _) = outside.dims4()?;
        Ok(beside(&Tensor::ones((1, rows, columns, 1), DType::F32, &self.device)?, &outside)?)
    }

    /// A sample of the VAE's posterior for every picture of the batch, `[batch, h, w, channels]` of unit variance.
    fn encode(&mut self, shown: Shown<'_>, noise: &mut LatentNoise, cancel: &CancelToken) -> Result<Tensor, Stop> {
        let posterior = self.encoder.encode(shown, cancel)?;
        let drawn = noise.draw()?;
        let samples = (0..drawn.dim(0)?)
            .map(|item| posterior.sample(&drawn.narrow(0, item, 1)?))
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&samples, 0)?)
    }

    /// The pictures of `latents`, one after the other: the memory of the decoder is that of one picture, or of a tile of it
    /// where the device has no room for that.
    fn decode(&self, latents: &Tensor, cancel: &CancelToken, warnings: &mut Vec<String>) -> Result<Vec<Picture>, Stop> {
        let (count, height, width, _) = latents.dims4()?;
        let mut pictures = Vec::with_capacity(count);
        let mut is_tiled = false;
        for item in 0..count {
            let latent = latents.narrow(0, item, 1)?;
            let whole = if is_tiled { None } else { Some(self.decoder.decode(&latent, cancel)) };
            let decoded = match whole {
                Some(Err(Halt::Tensor(error))) if is_out_of_memory(&error) && tiled::is_divided(height, width) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a picture is decoded in tiles");
                    warnings.push(TILED.into());
                    is_tiled = true;
                    tiled::decode(&self.decoder, &latent, cancel)?
                }
                Some(whole) => whole?,
                None => tiled::decode(&self.decoder, &latent, cancel)?,
            };
            pictures.extend(pictures_from_decoded(&decoded)?);
        }
        Ok(pictures)
    }
}

/// The steps of the walk that `spec` asks for.
fn steps_of(spec: &GenerationSpec, scheduler: &dyn Scheduler) -> Range<usize> {
    let first = match &spec.start {
        Start::Noise => 0,
        Start::Image(image) => scheduler.start_at_strength(image.strength),
        Start::Latents { denoising_start, .. } => scheduler.start_at_fraction(*denoising_start),
    };
    let end = if spec.denoising_end < 1.0 { scheduler.end_at_fraction(spec.denoising_end) } else { scheduler.steps() };
    first.min(end)..end
}

/// Mask and masked picture as the channels of a nine-channel UNet.
fn beside(mask: &Tensor, outside: &Tensor) -> candle_core::Result<Inpainting> {
    let batch = outside.dim(0)?;
    Ok(Inpainting::Channels(Tensor::cat(&[&mask.repeat((batch, 1, 1, 1))?, outside], 3)?))
}
