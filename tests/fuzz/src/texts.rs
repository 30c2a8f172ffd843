//! A prompt, down to chunks of tokens.

use std::sync::LazyLock;

use sd_protocol::limits::PROMPT_BYTES_MAX;
use sd_worker::builtin;
use sd_worker::diffusion::embeddings::EmbeddingSet;
use sd_worker::diffusion::prompt::{Piece, Prompt, PromptTokenizer};

/// Positions of the built-in model's text encoder.
const POSITIONS: usize = 77;

static TOKENIZER: LazyLock<PromptTokenizer> = LazyLock::new(|| {
    PromptTokenizer::load(&builtin::files(), "tokenizer", POSITIONS, usize::MAX).expect("the built-in model is whole")
});

/// Any text within the limit is a prompt: it reads the same when it is written again, and becomes whole chunks of
/// tokens with finite weights.
pub fn prompts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > PROMPT_BYTES_MAX {
        return;
    }
    let prompt = Prompt::parse(text);
    let written = prompt.to_string();
    assert_eq!(Prompt::parse(&written).pieces, prompt.pieces, "written as {written:?}");
    for piece in &prompt.pieces {
        if let Piece::Text { text, weight } = piece {
            assert!(!text.is_empty() && weight.abs() <= 100.0, "{prompt:?}");
        }
    }
    for warning in &prompt.warnings {
        assert!(!warning.sentence("prompt").is_empty());
    }
    let chunks = TOKENIZER.chunks(text, &EmbeddingSet::default()).expect("the tokenizer takes any text").chunks;
    assert!(!chunks.is_empty());
    for chunk in &chunks {
        assert_eq!((chunk.ids.len(), chunk.weights.len()), (POSITIONS, POSITIONS));
        assert!(chunk.weights.iter().all(|weight| weight.is_finite()) && chunk.injected.is_empty());
    }
}
