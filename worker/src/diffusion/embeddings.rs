//! Textual inversion (Gal et al. 2022): words that stand for vectors.
//!
//! Three kinds of safetensors files are read: the A1111 web UI's (`emb_params`), those for SDXL's two encoders
//! (`clip_l` and `clip_g`), and diffusers' (one tensor, named after its token).

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::prompt::Chunk;
use super::weights::{LoadError, ModelFiles, TensorFile};

/// A text encoder of a model, as diffusers' folders name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextEncoder {
    /// `text_encoder`: CLIP ViT-L in SDXL.
    First,
    /// `text_encoder_2`: OpenCLIP ViT-bigG in SDXL.
    Second,
}

/// Vectors that take the places of tokens.
#[derive(Clone, Debug)]
pub struct Embedding {
    token: Option<String>,
    vectors: usize,
    /// For each encoder that it has vectors for: `[vectors, hidden_size]` f32.
    by_encoder: Vec<(TextEncoder, Tensor)>,
}

/// Embeddings by the names that a prompt may call them.
#[derive(Clone, Debug, Default)]
pub struct EmbeddingSet(Vec<(String, Arc<Embedding>)>);

impl Embedding {
    /// Reads the file at `path` for a model with `encoders`, each with its `hidden_size`.
    ///
    /// # Errors
    /// When the file cannot be read, is none of the known kinds, or was made for another model.
    pub fn open(
        files: &ModelFiles,
        path: &str,
        encoders: &[(TextEncoder, usize)],
        device: &Device,
    ) -> std::result::Result<Self, LoadError> {
        let file = TensorFile::open(files, path)?;
        let mut names = file.names();
        names.sort_unstable();
        let (token, keys): (Option<&str>, Vec<(TextEncoder, &str)>) = match names.as_slice() {
            ["clip_g", "clip_l"] => (None, vec![(TextEncoder::First, "clip_l"), (TextEncoder::Second, "clip_g")]),
            ["clip_g"] => (None, vec![(TextEncoder::Second, "clip_g")]),
            ["clip_l"] | ["emb_params"] => (None, vec![(TextEncoder::First, names[0])]),
            [token] => (Some(token), vec![(TextEncoder::First, token)]),
            _ => {
                let reason =
                    format!("it holds {} tensors, among them {}", names.len(), names[..names.len().min(3)].join(", "));
                return Err(LoadError::Embedding { file: files.name(path), reason });
            }
        };
        let refuse = |reason: String| LoadError::Embedding { file: files.name(path), reason };
        let mut by_encoder = Vec::new();
        for (encoder, key) in keys {
            let tensor = file.tensor(key, device)?;
            let rows = match tensor.rank() {
                1 => tensor.unsqueeze(0).map_err(|source| LoadError::Tensor { file: files.name(path), source })?,
                2 => tensor,
                _ => {
                    return Err(refuse(format!(
                        "tensor {key} has shape {:?}, and vectors are expected",
                        tensor.dims()
                    )));
                }
            };
            by_encoder.push((encoder, rows));
        }
        let mut embedding = Self::new(by_encoder, encoders).map_err(refuse)?;
        embedding.token = token.map(str::to_owned);
        Ok(embedding)
    }

    /// An embedding of `[vectors, hidden_size]` f32 for each of a model's `encoders`.
    ///
    /// # Errors
    /// Why the vectors are none for this model, as the end of a sentence.
    pub fn new(
        by_encoder: Vec<(TextEncoder, Tensor)>,
        encoders: &[(TextEncoder, usize)],
    ) -> std::result::Result<Self, String> {
        let said = |encoders: &[(TextEncoder, usize)]| {
            let each: Vec<String> =
                encoders.iter().map(|(encoder, width)| format!("{width} for {}", encoder.folder())).collect();
            each.join(" and ")
        };
        let found: Vec<(TextEncoder, usize)> =
            by_encoder.iter().map(|(encoder, rows)| (*encoder, rows.dims().last().copied().unwrap_or(0))).collect();
        let fits = encoders.iter().all(|encoder| found.contains(encoder)) && found.len() == encoders.len();
        if !fits {
            return Err(format!("its vectors have channels {}, and the model reads {}", said(&found), said(encoders)));
        }
        let vectors = by_encoder.iter().map(|(_, rows)| rows.dims()[0]).collect::<Vec<_>>();
        match vectors.as_slice() {
            [first, others @ ..] if *first > 0 && others.iter().all(|other| other == first) => {
                Ok(Self { token: None, vectors: *first, by_encoder })
            }
            counts => Err(format!("it has {counts:?} vectors, and as many are expected for each encoder")),
        }
    }

    /// The token that diffusers' files name.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Tokens that the embedding takes in a prompt; at least 1.
    pub fn vectors(&self) -> usize {
        self.vectors
    }
}

impl TextEncoder {
    /// Its folder in the diffusers layout.
    pub fn folder(self) -> &'static str {
        match self {
            Self::First => "text_encoder",
            Self::Second => "text_encoder_2",
        }
    }
}

impl EmbeddingSet {
    /// Adds an embedding; one of the same name leaves.
    pub fn insert(&mut self, name: impl Into<String>, embedding: Arc<Embedding>) {
        let name = name.into();
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, embedding));
    }

    /// Names and embeddings, in the order of their coming.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Embedding>)> {
        self.0.iter().map(|(name, embedding)| (name.as_str(), embedding))
    }
}

/// Puts the vectors of a chunk's embeddings in their places among its `embedded` tokens,
/// `[1, tokens, hidden_size]`, as `encoder` has them before positions are added.
///
/// # Errors
/// When the embeddings are for another encoder, or memory runs out.
pub fn inject(embedded: &Tensor, chunk: &Chunk, encoder: TextEncoder) -> Result<Tensor> {
    let tokens = embedded.dim(1)?;
    let mut x = embedded.clone();
    for place in &chunk.injected {
        let rows = place.embedding.by_encoder.iter().find(|(of, _)| *of == encoder);
        let Some((_, rows)) = rows else { candle_core::bail!("an embedding has no vectors for {}", encoder.folder()) };
        let rows = rows.to_device(x.device())?.to_dtype(x.dtype())?;
        // The start stands before the vectors and the end behind them, so that neither side is empty.
        let behind = place.position + rows.dim(0)?;
        x = Tensor::cat(
            &[x.narrow(1, 0, place.position)?, rows.unsqueeze(0)?, x.narrow(1, behind, tokens - behind)?],
            1,
        )?;
    }
    Ok(x)
}
