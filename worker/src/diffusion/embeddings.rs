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
        let names = file.names();
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
        let embedding = Self::of_tensors(&file, &keys, encoders, device)?;
        Ok(Self { token: token.map(str::to_owned), ..embedding })
    }

    /// The tensors `keys` of `file`, each `[vectors, hidden_size]` or `[hidden_size]` for an encoder, for a model with
    /// `encoders`, each with its `hidden_size`. They are read once their shapes are known to fit.
    ///
    /// # Errors
    /// When they are missing, cannot be read, or were made for another model.
    pub fn of_tensors(
        file: &TensorFile,
        keys: &[(TextEncoder, &str)],
        encoders: &[(TextEncoder, usize)],
        device: &Device,
    ) -> std::result::Result<Self, LoadError> {
        let refuse = |reason: String| LoadError::Embedding { file: file.file().into(), reason };
        let mut shapes = Vec::with_capacity(keys.len());
        for (encoder, key) in keys {
            shapes.push(match *file.shape(key)? {
                [width] => (*encoder, [1, width]),
                [vectors, width] => (*encoder, [vectors, width]),
                ref other => {
                    return Err(refuse(format!("tensor {key} has shape {other:?}, and vectors are expected")));
                }
            });
        }
        let vectors = vectors_of(&shapes, encoders).map_err(refuse)?;
        let mut by_encoder = Vec::with_capacity(keys.len());
        for ((encoder, key), (_, shape)) in keys.iter().zip(&shapes) {
            let rows = file.tensor(key, device)?.reshape(shape.as_slice());
            let rows = rows.map_err(|source| LoadError::Tensor { file: file.file().into(), source })?;
            by_encoder.push((*encoder, rows));
        }
        Ok(Self { token: None, vectors, by_encoder })
    }

    /// An embedding of `[vectors, hidden_size]` f32 for each of a model's `encoders`.
    ///
    /// # Errors
    /// Why the vectors are none for this model, as the end of a sentence.
    pub fn new(
        by_encoder: Vec<(TextEncoder, Tensor)>,
        encoders: &[(TextEncoder, usize)],
    ) -> std::result::Result<Self, String> {
        let rows = |rows: &Tensor| rows.dims2().map_or([0, 0], |(vectors, width)| [vectors, width]);
        let shapes: Vec<_> = by_encoder.iter().map(|(encoder, tensor)| (*encoder, rows(tensor))).collect();
        Ok(Self { token: None, vectors: vectors_of(&shapes, encoders)?, by_encoder })
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

/// How many vectors `[vectors, hidden_size]` for each encoder are, where they are as many for each and `encoders` read
/// such ones; else why they are none for this model, as the end of a sentence.
fn vectors_of(
    shapes: &[(TextEncoder, [usize; 2])],
    encoders: &[(TextEncoder, usize)],
) -> std::result::Result<usize, String> {
    let said = |encoders: &[(TextEncoder, usize)]| {
        let each: Vec<String> =
            encoders.iter().map(|(encoder, width)| format!("{width} for {}", encoder.folder())).collect();
        each.join(" and ")
    };
    let found: Vec<(TextEncoder, usize)> = shapes.iter().map(|&(encoder, [_, width])| (encoder, width)).collect();
    let fits = encoders.iter().all(|encoder| found.contains(encoder)) && found.len() == encoders.len();
    if !fits {
        return Err(format!("its vectors have channels {}, and the model reads {}", said(&found), said(encoders)));
    }
    let vectors: Vec<usize> = shapes.iter().map(|&(_, [vectors, _])| vectors).collect();
    match vectors.as_slice() {
        [first, others @ ..] if *first > 0 && others.iter().all(|other| other == first) => Ok(*first),
        counts => Err(format!("it has {counts:?} vectors, and as many are expected for each encoder")),
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
