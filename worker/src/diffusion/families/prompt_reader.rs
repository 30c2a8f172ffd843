//! How a model reads a prompt, without the model: its tokenizers, and the sizes of its embeddings.

use std::path::PathBuf;

use candle_core::Device;

use super::{Family, parts};
use crate::diffusion::embeddings::EmbeddingSet;
use crate::diffusion::nn::clip_text::ClipTextConfig;
use crate::diffusion::pipeline::GenerateError;
use crate::diffusion::prompt::{Passage, PromptTokenizer};
use crate::diffusion::weights::{LoadError, ModelFiles};

/// The tokenizers of a model and the embeddings that go with it. LoRAs may bring words of their own, which only a job
/// knows.
#[derive(Debug)]
pub struct PromptReader {
    tokenizers: Vec<PromptTokenizer>,
    embeddings: EmbeddingSet,
}

/// A prompt as its model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptReading {
    /// Tokens of text that a chunk holds.
    pub room: usize,
    /// What each chunk is read of; at least one.
    pub passages: Vec<Passage>,
    /// What to tell the prompt's author, as sentences.
    pub warnings: Vec<String>,
}

impl PromptReader {
    /// Reads the tokenizers of a model, and of `embeddings` those that were made for it; no weights.
    ///
    /// # Errors
    /// When a tokenizer or the configuration of its encoder is missing or cannot be read.
    pub fn load(files: &ModelFiles, embeddings: &[(String, PathBuf)]) -> Result<Self, LoadError> {
        let mut encoders = Vec::new();
        let mut tokenizers = Vec::new();
        for folders in Family::of(files)?.layout.text {
            let config = ClipTextConfig::read(files, &format!("{}/config.json", folders.encoder.folder()))?;
            let (positions, vocab_size) = (config.max_position_embeddings, config.vocab_size);
            tokenizers.push(PromptTokenizer::load(files, folders.tokenizer, positions, vocab_size)?);
            encoders.push((folders.encoder, config));
        }
        Ok(Self { tokenizers, embeddings: parts::fitting(embeddings, &encoders, &Device::Cpu) })
    }

    /// How a job would read `prompt`; of two encoders that differ, as the one that needs more.
    ///
    /// # Errors
    /// When a tokenizer refuses the text.
    pub fn read(&self, prompt: &str) -> Result<PromptReading, GenerateError> {
        let mut readings = Vec::with_capacity(self.tokenizers.len());
        let mut warnings: Vec<String> = Vec::new();
        for tokenizer in &self.tokenizers {
            let (passages, of_tokenizer) = tokenizer.passages(prompt, &self.embeddings)?;
            for sentence in of_tokenizer.iter().map(|warning| warning.sentence("prompt")) {
                if !warnings.contains(&sentence) {
                    warnings.push(sentence);
                }
            }
            readings.push((tokenizer.room(), passages));
        }
        let need = |(_, passages): &(usize, Vec<Passage>)| {
            (passages.len(), passages.iter().map(|passage| passage.tokens).sum::<usize>())
        };
        // From the last one, so that of equals the first is taken.
        let longest = readings.into_iter().rev().max_by_key(need);
        let (room, passages) = longest.expect("every layout has a text encoder");
        Ok(PromptReading { room, passages, warnings })
    }
}
