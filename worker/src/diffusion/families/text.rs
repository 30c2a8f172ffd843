//! From prompts to what the UNet is given of them, by one text encoder or two.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::networks::{LoraFile, Networks};
use super::stop::Stop;
use crate::diffusion::cancel::CancelToken;
use crate::diffusion::embeddings::{Embedding, EmbeddingSet, TextEncoder, inject};
use crate::diffusion::nn::clip_text::{self, ClipTextConfig, ClipTextEncoder, HiddenLayer};
use crate::diffusion::pipeline::GenerateError;
use crate::diffusion::prompt::{Chunk, Chunks, PromptTokenizer, apply_weights};
use crate::diffusion::recent::{Recent, Reuse};

/// Most bytes of encoded texts that a loaded model keeps, so that a prompt that stays the same is not encoded again:
/// about a hundred chunks of SDXL, and three hundred of Stable Diffusion 1.
const ENCODED_BYTES_MAX: usize = 64 << 20;

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
    parts: Vec<TextPart>,
    embeddings: EmbeddingSet,
    device: Device,
    encoded: Recent<TextKey, TextEncoding>,
}

/// A prompt as each of the encoders takes it: chunks by encoder.
#[derive(Debug, PartialEq)]
pub(super) struct ReadPrompt(Vec<Vec<Chunk>>);

/// Everything that an encoding depends on, in one model.
#[derive(Debug, PartialEq)]
struct TextKey {
    prompt: ReadPrompt,
    clip_skip: usize,
    /// Those that change the encoders.
    loras: Vec<LoraFile>,
}

impl TextStack {
    /// Prompts are read by `parts`, and may call `embeddings` by their names.
    pub(super) fn new(parts: Vec<TextPart>, embeddings: EmbeddingSet, device: Device) -> Self {
        Self { parts, embeddings, device, encoded: Recent::new(ENCODED_BYTES_MAX) }
    }

    /// The chunks of `prompts`, each with the name that messages call it, padded to as many as the longest has, so
    /// that they go through the network together. The `words` of LoRAs go before embeddings of the same name. What
    /// their author should hear is added to `warnings`.
    pub(super) fn read(
        &self,
        prompts: &[(&str, &str)],
        words: &[(String, Arc<Embedding>)],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<ReadPrompt>, GenerateError> {
        let mut known = self.embeddings.clone();
        for (word, embedding) in words {
            known.insert(word, Arc::clone(embedding));
        }
        let mut read: Vec<Vec<Chunks>> = Vec::with_capacity(prompts.len());
        for (which, prompt) in prompts {
            let mut by_encoder = Vec::with_capacity(self.parts.len());
            for part in &self.parts {
                let chunks = part.tokenizer.chunks(prompt, &known)?;
                for sentence in chunks.warnings.iter().map(|warning| warning.sentence(which)) {
                    // Two tokenizers of one vocabulary have the same to say.
                    if !warnings.contains(&sentence) {
                        warnings.push(sentence);
                    }
                }
                by_encoder.push(chunks);
            }
            read.push(by_encoder);
        }
        let longest = read.iter().flatten().map(|chunks| chunks.chunks.len()).max().unwrap_or(1);
        let padded = |by_encoder: Vec<Chunks>| {
            let parts = by_encoder.into_iter().zip(&self.parts);
            let chunks = parts.map(|(chunks, part)| chunks.padded_to(longest, &part.tokenizer.empty_chunk()).chunks);
            ReadPrompt(chunks.collect())
        };
        Ok(read.into_iter().map(padded).collect())
    }

    /// What the encoders of `networks` make of a prompt.
    pub(super) fn encode(
        &mut self,
        prompt: ReadPrompt,
        networks: &Networks,
        clip_skip: usize,
        cancel: &CancelToken,
    ) -> Result<TextEncoding, Stop> {
        let Self { parts, device, encoded, .. } = self;
        let size = prompt.encoded_bytes(parts);
        let key = TextKey { prompt, clip_skip, loras: networks.text_loras.clone() };
        encoded.get_or_make(key, size, |TextKey { prompt, .. }| {
            let mut hidden = Vec::with_capacity(parts.len());
            let mut pooled = None;
            for ((part, encoder), chunks) in parts.iter().zip(networks.encoders.iter()).zip(&prompt.0) {
                let encodings = chunks.iter().map(|chunk| part.encode(chunk, encoder, clip_skip, device, cancel));
                let encodings = encodings.collect::<Result<Vec<_>, Stop>>()?;
                pooled = encodings.first().and_then(|first| first.pooled.clone());
                let states: Vec<Tensor> = encodings.into_iter().map(|encoding| encoding.hidden).collect();
                hidden.push(Tensor::cat(&states, 1)?);
            }
            Ok(TextEncoding { context: Tensor::cat(&hidden, 2)?, pooled })
        })
    }

    /// How often a text was at hand since the last time that this was asked.
    pub(super) fn take_reuse(&mut self) -> Reuse {
        self.encoded.take_reuse()
    }
}

impl ReadPrompt {
    /// Size of what encoders of `parts` make of it.
    fn encoded_bytes(&self, parts: &[TextPart]) -> usize {
        let numbers = self.0.iter().zip(parts).map(|(chunks, part)| {
            let tokens: usize = chunks.iter().map(|chunk| chunk.ids.len()).sum();
            tokens * part.config.hidden_size
        });
        numbers.sum::<usize>() * DType::F32.size_in_bytes()
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
