//! From prompts and sizes to what the network is conditioned on.

use candle_core::{Device, Tensor};

use super::networks::Networks;
use super::stop::Stop;
use super::text::{TextEncoding, TextStack};
use crate::diffusion::cancel::CancelToken;
use crate::diffusion::guidance::Guidance;
use crate::diffusion::nn::time::guidance_scale_embedding;
use crate::diffusion::nn::unet::{AddedConditioning, UnetInput};
use crate::diffusion::pipeline::MicroKind;
use crate::diffusion::spec::{GenerationSpec, MicroConditioning};

/// Everything of a model that reads a request rather than a picture.
#[derive(Debug)]
pub(super) struct Conditioner {
    pub(super) text: TextStack,
    pub(super) micro: MicroKind,
    /// Where there is no negative prompt, zeros stand for its encoding (diffusers' `force_zeros_for_empty_prompt`).
    pub(super) zeros_for_no_negative: bool,
    /// Channels of the embedding of the guidance scale, in a network that was distilled with guidance (LCM).
    pub(super) guidance_channels: Option<usize>,
}

impl Conditioner {
    /// What steers the walk of `spec` through `timesteps`.
    pub(super) fn guidance(
        &mut self,
        spec: &GenerationSpec,
        networks: &Networks,
        timesteps: &[f64],
        cancel: &CancelToken,
        warnings: &mut Vec<String>,
    ) -> Result<Guidance, Stop> {
        let two_sided = self.guidance_channels.is_none() && Guidance::is_on(spec.guidance.scale);
        let negative = spec.negative_prompt.as_deref();
        let prompts = [("prompt", spec.prompt.as_str()), ("negative prompt", negative.unwrap_or_default())];
        let sides = if two_sided { 2 } else { 1 };
        let mut read = self.text.read(&prompts[..sides], &networks.words, warnings)?.into_iter();
        let prompt = self.text.encode(read.next().expect("the prompt was read"), networks, spec.clip_skip, cancel)?;
        let prompt = self.input(&prompt, spec, Side::Prompt)?;
        let mut guided = None;
        if let Some(text) = read.next() {
            // Diffusers skips layers for the prompt only.
            let text = self.text.encode(text, networks, 0, cancel)?;
            let text = if self.zeros_for_no_negative && negative.is_none() { text.zeros()? } else { text };
            guided = Some(self.input(&text, spec, Side::Negative)?);
        }
        Ok(Guidance::new(&networks.unet, timesteps, &prompt, guided.as_ref(), spec.guidance, cancel)?)
    }

    fn input(&self, text: &TextEncoding, spec: &GenerationSpec, side: Side) -> Result<UnetInput, Stop> {
        let device = text.context.device();
        let added = match (&text.pooled, self.time_ids(&spec.micro, side, device)?) {
            (Some(pooled), Some(time_ids)) => Some(AddedConditioning { text_embeds: pooled.clone(), time_ids }),
            _ => None,
        };
        // The network was distilled with a scale that counts from zero.
        let embedding = |channels| guidance_scale_embedding(spec.guidance.scale - 1.0, channels, device);
        Ok(UnetInput {
            context: text.context.clone(),
            added,
            guidance_embedding: self.guidance_channels.map(embedding).transpose()?,
        })
    }

    /// `[1, 6]` or `[1, 5]` f32 (diffusers' `_get_add_time_ids`).
    fn time_ids(&self, micro: &MicroConditioning, side: Side, device: &Device) -> candle_core::Result<Option<Tensor>> {
        let pair = |(first, second): (u32, u32)| [f64::from(first), f64::from(second)];
        let mut ids = [pair(micro.original_size), pair(micro.crops_coords_top_left)].concat();
        match (self.micro, side) {
            (MicroKind::None, _) => return Ok(None),
            (MicroKind::Sizes, _) => ids.extend(pair(micro.target_size)),
            (MicroKind::Aesthetic, Side::Prompt) => ids.push(micro.aesthetic_score),
            (MicroKind::Aesthetic, Side::Negative) => ids.push(micro.negative_aesthetic_score),
        }
        let ids: Vec<f32> = ids.into_iter().map(|id| id as f32).collect();
        Tensor::new(ids, device)?.unsqueeze(0).map(Some)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Prompt,
    Negative,
}
