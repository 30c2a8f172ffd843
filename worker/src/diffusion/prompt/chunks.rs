//! A prompt of any length as inputs of the encoder's own length.

use std::ops::Range;
use std::sync::Arc;

use super::tokenizer::Tokens;
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

/// What one chunk is read of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Tokens of text; an embedding is as many as it has vectors.
    pub tokens: usize,
    /// The text, escapes resolved, without brackets and weights.
    pub text: String,
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
        let Read { texts, warnings, .. } = self.read(prompt, embeddings)?;
        Ok(Chunks { chunks: texts.into_iter().map(|text| self.framed(text)).collect(), warnings })
    }

    /// What each of the [`chunks`](Self::chunks) of `prompt` is read of, and what to tell the prompt's author.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn passages(
        &self,
        prompt: &str,
        embeddings: &EmbeddingSet,
    ) -> Result<(Vec<Passage>, Vec<PromptWarning>), GenerateError> {
        let Read { texts, plain, warnings } = self.read(prompt, embeddings)?;
        let passages = texts.iter().map(|text| Passage { tokens: text.ids.len(), text: text.of(&plain).to_owned() });
        Ok((passages.collect(), warnings))
    }

    fn read(&self, prompt: &str, embeddings: &EmbeddingSet) -> Result<Read, GenerateError> {
        let Prompt { pieces, mut warnings } = Prompt::parse(prompt);
        let names = self.names(embeddings)?;
        let mut layout = Layout::new(self.room());
        let mut plain = String::with_capacity(prompt.len());
        for piece in &pieces {
            match piece {
                Piece::Break => layout.next_chunk(),
                Piece::Text { text, weight } => {
                    let tokens = self.tokens(text, &mut warnings)?.behind(plain.len());
                    self.lay_out(&mut layout, &tokens, *weight as f32, &names, &mut warnings);
                    plain.push_str(text);
                }
            }
        }
        let texts = layout.finish();
        if texts.len() > 1 {
            warnings.push(PromptWarning::Chunks { chunks: texts.len(), tokens: self.room() });
        }
        Ok(Read { texts, plain, warnings })
    }

    /// The chunk of an empty prompt.
    pub fn empty_chunk(&self) -> Chunk {
        self.framed(Text::default())
    }

    /// The tokens that each name is, longest first.
    fn names<'a>(&self, embeddings: &'a EmbeddingSet) -> Result<Vec<Name<'a>>, GenerateError> {
        let mut names = Vec::new();
        for (name, embedding) in embeddings.iter() {
            let ids = self.tokens(name, &mut Vec::new())?.ids;
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
        tokens: &Tokens,
        weight: f32,
        names: &[Name],
        warnings: &mut Vec<PromptWarning>,
    ) {
        let mut at = 0;
        while let rest @ [id, ..] = &tokens.ids[at..] {
            layout.make_room(Some(*id) == self.comma);
            match names.iter().find(|name| rest.starts_with(&name.ids)) {
                Some(Name { embedding, ids, .. }) if embedding.vectors() <= self.room() => {
                    // Never the end, by which an encoder that pools finds its place.
                    let span = tokens.spans[at].start..tokens.spans[at + ids.len() - 1].end;
                    layout.push_embedding(embedding, self.start, weight, &span);
                    at += ids.len();
                }
                too_long => {
                    if let Some(Name { name, embedding, .. }) = too_long {
                        warnings.push(PromptWarning::EmbeddingTooLong {
                            name: (*name).to_owned(),
                            vectors: embedding.vectors(),
                            tokens: self.room(),
                        });
                    }
                    layout.push(*id, weight, tokens.spans[at].clone());
                    at += 1;
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

/// A prompt in chunks that are not framed yet.
struct Read {
    /// At least one.
    texts: Vec<Text>,
    /// All of the prompt that is text.
    plain: String,
    warnings: Vec<PromptWarning>,
}

/// What stands between the start and the end of a chunk.
#[derive(Default)]
struct Text {
    ids: Vec<u32>,
    weights: Vec<f32>,
    /// Where each of `ids` stands in the prompt's text, in bytes.
    spans: Vec<Range<usize>>,
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

    fn push(&mut self, id: u32, weight: f32, span: Range<usize>) {
        self.open.ids.push(id);
        self.open.weights.push(weight);
        self.open.spans.push(span);
    }

    /// The vectors stay together. `stand_in` holds their places.
    fn push_embedding(&mut self, embedding: &Arc<Embedding>, stand_in: u32, weight: f32, span: &Range<usize>) {
        if self.open.ids.len() + embedding.vectors() > self.room {
            self.next_chunk();
        }
        let position = self.open.ids.len();
        self.open.injected.push(Injected { position, embedding: Arc::clone(embedding) });
        for _ in 0..embedding.vectors() {
            self.push(stand_in, weight, span.clone());
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
        Self {
            ids: self.ids.split_off(at),
            weights: self.weights.split_off(at),
            spans: self.spans.split_off(at),
            injected: moved,
        }
    }

    /// Its part of the prompt's text. Of a letter that takes several tokens, all of it.
    fn of<'a>(&self, plain: &'a str) -> &'a str {
        let (Some(first), Some(last)) = (self.spans.first(), self.spans.last()) else { return "" };
        &plain[plain.floor_char_boundary(first.start)..plain.ceil_char_boundary(last.end)]
    }
}
