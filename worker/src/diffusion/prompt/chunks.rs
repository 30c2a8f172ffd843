//! A prompt of any length as inputs of the encoder's own length.

use std::sync::Arc;

use super::{Piece, Prompt, PromptTokenizer, PromptWarning};
use crate::diffusion::embeddings::{Embedding, EmbeddingSet};
use crate::diffusion::pipeline::GenerateError;

/// How far back a full chunk may end early, behind a comma, in tokens (the web UI's `comma_padding_backtrack`).
const COMMA_REACH: usize = 20;

/// A prompt as the text encoder takes it.
#[derive(Clone, Debug)]
pub struct Chunks {
    /// At least one.
    pub chunks: Vec<Chunk>,
    /// What to tell the prompt's author.
    pub warnings: Vec<PromptWarning>,
}

/// One input of the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Start, text, end, padding: exactly as many as the encoder has positions, 77 for CLIP.
    pub ids: Vec<u32>,
    /// One for each of `ids`; 1 for whatever is no text.
    pub weights: Vec<f32>,
    /// Where vectors of textual inversion take the place of the ids'.
    pub injected: Vec<Injected>,
}

/// All vectors of one embedding at one place.
#[derive(Clone, Debug)]
pub struct Injected {
    /// Position of the first vector in the chunk, the start token counted.
    pub position: usize,
    /// Whose vectors.
    pub embedding: Arc<Embedding>,
}

impl PartialEq for Injected {
    /// The same vectors are those in one place of the memory: none are read twice into one model.
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position && Arc::ptr_eq(&self.embedding, &other.embedding)
    }
}

impl PromptTokenizer {
    /// Reads `prompt` into chunks. Names of `embeddings` stand for their vectors; a name matches as the web UI has
    /// it, by its tokens, so that case and spacing do not matter, and the longest name wins.
    ///
    /// A text longer than a chunk breaks behind a comma, where one is among the last 20 tokens.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn chunks(&self, prompt: &str, embeddings: &EmbeddingSet) -> Result<Chunks, GenerateError> {
        let Prompt { pieces, mut warnings } = Prompt::parse(prompt);
        let names = self.names(embeddings)?;
        let mut layout = Layout::new(self.room());
        for piece in &pieces {
            match piece {
                Piece::Break => layout.next_chunk(),
                Piece::Text { text, weight } => {
                    let ids = self.ids(text, &mut warnings)?;
                    self.lay_out(&mut layout, &ids, *weight as f32, &names, &mut warnings);
                }
            }
        }
        let chunks: Vec<Chunk> = layout.finish().into_iter().map(|text| self.framed(text)).collect();
        if chunks.len() > 1 {
            warnings.push(PromptWarning::Chunks { chunks: chunks.len(), tokens: self.room() });
        }
        Ok(Chunks { chunks, warnings })
    }

    /// The chunk of an empty prompt.
    pub fn empty_chunk(&self) -> Chunk {
        self.framed(Text::default())
    }

    /// The tokens that each name is, longest first.
    fn names<'a>(&self, embeddings: &'a EmbeddingSet) -> Result<Vec<Name<'a>>, GenerateError> {
        let mut names = Vec::new();
        for (name, embedding) in embeddings.iter() {
            let ids = self.ids(name, &mut Vec::new())?;
            if !ids.is_empty() {
                names.push(Name { name, ids, embedding });
            }
        }
        names.sort_by_key(|name| std::cmp::Reverse(name.ids.len()));
        Ok(names)
    }

    fn lay_out(
        &self,
        layout: &mut Layout,
        ids: &[u32],
        weight: f32,
        names: &[Name],
        warnings: &mut Vec<PromptWarning>,
    ) {
        let mut rest = ids;
        while let [id, behind @ ..] = rest {
            layout.make_room(Some(*id) == self.comma);
            match names.iter().find(|name| rest.starts_with(&name.ids)) {
                Some(Name { embedding, ids, .. }) if embedding.vectors() <= self.room() => {
                    // Never the end, by which an encoder that pools finds its place.
                    layout.push_embedding(embedding, self.start, weight);
                    rest = &rest[ids.len()..];
                }
                too_long => {
                    if let Some(Name { name, embedding, .. }) = too_long {
                        warnings.push(PromptWarning::EmbeddingTooLong {
                            name: (*name).to_owned(),
                            vectors: embedding.vectors(),
                            tokens: self.room(),
                        });
                    }
                    layout.push(*id, weight);
                    rest = behind;
                }
            }
        }
    }

    /// `text` between start and end, padded to the encoder's length.
    fn framed(&self, text: Text) -> Chunk {
        let length = self.room() + 2;
        let mut ids = vec![self.start];
        ids.extend(text.ids);
        ids.push(self.end);
        ids.resize(length, self.padding);
        let mut weights = vec![1.0];
        weights.extend(text.weights);
        weights.resize(length, 1.0);
        let mut injected = text.injected;
        for place in &mut injected {
            place.position += 1;
        }
        Chunk { ids, weights, injected }
    }
}

impl Chunks {
    /// Adds copies of `empty` until there are `count`, for a prompt and a negative prompt to be equally long.
    #[must_use]
    pub fn padded_to(mut self, count: usize, empty: &Chunk) -> Self {
        self.chunks.resize(count.max(self.chunks.len()), empty.clone());
        self
    }
}

/// An embedding's name as tokens.
struct Name<'a> {
    name: &'a str,
    ids: Vec<u32>,
    embedding: &'a Arc<Embedding>,
}

/// What stands between the start and the end of a chunk.
#[derive(Default)]
struct Text {
    ids: Vec<u32>,
    weights: Vec<f32>,
    /// Positions count from the first of `ids`.
    injected: Vec<Injected>,
}

/// The chunks of a prompt while they fill.
struct Layout {
    room: usize,
    full: Vec<Text>,
    open: Text,
    /// Where the open chunk has its last comma.
    comma: Option<usize>,
}

impl Layout {
    fn new(room: usize) -> Self {
        Self { room, full: Vec::new(), open: Text::default(), comma: None }
    }

    fn next_chunk(&mut self) {
        self.full.push(std::mem::take(&mut self.open));
        self.comma = None;
    }

    /// Begins a chunk where the open one is full, with what follows its last comma. A comma itself never moves words.
    fn make_room(&mut self, is_comma: bool) {
        let filled = self.open.ids.len();
        if is_comma {
            self.comma = Some(filled);
        } else if filled == self.room
            && let Some(comma) = self.comma
            && filled - comma <= COMMA_REACH
        {
            let moved = self.open.split_off(comma + 1);
            self.next_chunk();
            self.open = moved;
        }
        if self.open.ids.len() == self.room {
            self.next_chunk();
        }
    }

    fn push(&mut self, id: u32, weight: f32) {
        self.open.ids.push(id);
        self.open.weights.push(weight);
    }

    /// The vectors stay together. `stand_in` holds their places.
    fn push_embedding(&mut self, embedding: &Arc<Embedding>, stand_in: u32, weight: f32) {
        if self.open.ids.len() + embedding.vectors() > self.room {
            self.next_chunk();
        }
        let position = self.open.ids.len();
        self.open.injected.push(Injected { position, embedding: Arc::clone(embedding) });
        for _ in 0..embedding.vectors() {
            self.push(stand_in, weight);
        }
    }

    /// All chunks, at least one; nothing follows a `BREAK` at the end.
    fn finish(mut self) -> Vec<Text> {
        if !self.open.ids.is_empty() || self.full.is_empty() {
            self.next_chunk();
        }
        self.full
    }
}

impl Text {
    fn split_off(&mut self, at: usize) -> Self {
        let (stay, mut moved): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.injected).into_iter().partition(|place| place.position < at);
        self.injected = stay;
        for place in &mut moved {
            place.position -= at;
        }
        Self { ids: self.ids.split_off(at), weights: self.weights.split_off(at), injected: moved }
    }
}
