//! From prompts to what the UNet is given of them, by one text encoder or two.

use candle_core::{Device, Tensor};

use super::stop::Stop;
use crate::diffusion::cancel::CancelToken;
use crate::diffusion::embeddings::{EmbeddingSet, TextEncoder, inject};
use crate::diffusion::nn::clip_text::{self, ClipTextConfig, ClipTextEncoder, HiddenLayer};
use crate::diffusion::pipeline::GenerateError;
use crate::diffusion::prompt::{Chunk, Chunks, PromptTokenizer, apply_weights};

/// What stands before a text encoder.
#[derive(Debug)]
pub(super) struct TextPart {
    pub(super) encoder: TextEncoder,
    pub(super) tokenizer: PromptTokenizer,
    pub(super) config: ClipTextConfig,
    pub(super) reads: HiddenState,
}

/// Which hidden state the UNet was trained with.
#[derive(Clone, Copy, Debug)]
pub(super) enum HiddenState {
    /// The last one, after the final normalisation (diffusers' `StableDiffusionPipeline`).
    Last,
    /// The one before the last, as it is (diffusers' `StableDiffusionXLPipeline`).
    Penultimate,
}

impl HiddenState {
    fn layer(self, clip_skip: usize) -> HiddenLayer {
        match (self, clip_skip) {
            (Self::Last, 0) => HiddenLayer::Last,
            (Self::Last, skip) => HiddenLayer::FromEnd { skip, final_norm: true },
            (Self::Penultimate, skip) => HiddenLayer::FromEnd { skip: skip + 1, final_norm: false },
        }
    }
}

/// What the UNet is given of a text.
#[derive(Clone, Debug)]
pub(super) struct TextEncoding {
    /// `[1, tokens, channels]` f32, the channels of all encoders side by side.
    pub(super) context: Tensor,
    /// `[1, channels]` f32 of the last encoder, where it pools.
    pub(super) pooled: Option<Tensor>,
}

impl TextEncoding {
    /// Nothing, in the same shape.
    pub(super) fn zeros(&self) -> candle_core::Result<Self> {
        let pooled = self.pooled.as_ref().map(Tensor::zeros_like).transpose()?;
        Ok(Self { context: self.context.zeros_like()?, pooled })
    }
}

/// Everything of a model that reads text, except the encoders themselves.
#[derive(Debug)]
pub(super) struct TextStack {
    /// In the order of their channels.
    pub(super) parts: Vec<TextPart>,
    pub(super) embeddings: EmbeddingSet,
    pub(super) device: Device,
}

/// A prompt as each of the encoders takes it: chunks by encoder.
pub(super) struct ReadPrompt(Vec<Chunks>);

impl TextStack {
    /// The chunks of `prompts`, each with the name that messages call it, padded to as many as the longest has, so
    /// that they go through the network together. What their author should hear is added to `warnings`.
    pub(super) fn read(
        &self,
        prompts: &[(&str, &str)],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<ReadPrompt>, GenerateError> {
        let mut read = Vec::with_capacity(prompts.len());
        for (which, prompt) in prompts {
            let mut by_encoder = Vec::with_capacity(self.parts.len());
            for part in &self.parts {
                let chunks = part.tokenizer.chunks(prompt, &self.embeddings)?;
                for sentence in chunks.warnings.iter().map(|warning| warning.sentence(which)) {
                    // Two tokenizers of one vocabulary have the same to say.
                    if !warnings.contains(&sentence) {
                        warnings.push(sentence);
                    }
                }
                by_encoder.push(chunks);
            }
            read.push(ReadPrompt(by_encoder));
        }
        let longest = read.iter().flat_map(|prompt| &prompt.0).map(|chunks| chunks.chunks.len()).max().unwrap_or(1);
        let padded = |ReadPrompt(by_encoder): ReadPrompt| {
            let parts = by_encoder.into_iter().zip(&self.parts);
            ReadPrompt(parts.map(|(chunks, part)| chunks.padded_to(longest, &part.tokenizer.empty_chunk())).collect())
        };
        Ok(read.into_iter().map(padded).collect())
    }

    /// What `encoders` make of a prompt.
    pub(super) fn encode(
        &self,
        prompt: &ReadPrompt,
        encoders: &[ClipTextEncoder],
        clip_skip: usize,
        cancel: &CancelToken,
    ) -> Result<TextEncoding, Stop> {
        let mut hidden = Vec::with_capacity(self.parts.len());
        let mut pooled = None;
        for ((part, encoder), chunks) in self.parts.iter().zip(encoders).zip(&prompt.0) {
            let encodings =
                chunks.chunks.iter().map(|chunk| part.encode(chunk, encoder, clip_skip, &self.device, cancel));
            let encodings = encodings.collect::<Result<Vec<_>, Stop>>()?;
            pooled = encodings.first().and_then(|first| first.pooled.clone());
            let parts: Vec<Tensor> = encodings.into_iter().map(|encoding| encoding.hidden).collect();
            hidden.push(Tensor::cat(&parts, 1)?);
        }
        Ok(TextEncoding { context: Tensor::cat(&hidden, 2)?, pooled })
    }
}

impl TextPart {
    fn encode(
        &self,
        chunk: &Chunk,
        encoder: &ClipTextEncoder,
        clip_skip: usize,
        device: &Device,
        cancel: &CancelToken,
    ) -> Result<clip_text::TextEncoding, Stop> {
        let ends = [self.config.end(&chunk.ids)];
        let ids = Tensor::new(chunk.ids.as_slice(), device)?.unsqueeze(0)?;
        let embedded = inject(&encoder.embed(&ids)?, chunk, self.encoder)?;
        let mut encoding = encoder.forward(&embedded, &ends, self.reads.layer(clip_skip), cancel)?;
        encoding.hidden = apply_weights(&encoding.hidden, &chunk.weights)?;
        Ok(encoding)
    }
}
