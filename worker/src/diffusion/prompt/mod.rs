//! From a prompt to what CLIP reads: brackets, chunks of tokens, weights.
//!
//! | module | what it holds |
//! |---|---|
//! | [`syntax`] | `Prompt`: text with weights, and where chunks must break |
//! | [`tokenizer`] | `PromptTokenizer`: CLIP's tokenizer with the settings of one model |
//! | [`chunks`] | `Chunks`: a prompt of any length as inputs of the encoder's own length |
//! | [`emphasis`] | what weights do to the encoder's output |
//! | [`warning`] | what was understood differently from what may have been meant |
//!
//! Everything follows the A1111 web UI, so that a prompt means here what it means there. The way through an encoder:
//! tokens of a chunk → token embedding → rows replaced by textual inversion ([`super::embeddings::inject`]) →
//! encoder → [`emphasis::apply_weights`] → chunks joined along the tokens. Where an encoder pools, the pooled
//! prompt is that of the first chunk.
//!
//! # Invariants
//! * A prompt without brackets that fits one chunk has the tokens of diffusers' pipelines, bit for bit.
//! * Nothing of a prompt is left out without a warning.
//! * There is no prompt editing (`[from:to:when]`), no alternation (`[a|b]`), and no `AND`.

pub mod chunks;
pub mod emphasis;
pub mod syntax;
pub mod tokenizer;
pub mod warning;

pub use chunks::{Chunk, Chunks, Injected, Passage};
pub use emphasis::apply_weights;
pub use syntax::{Piece, Prompt};
pub use tokenizer::PromptTokenizer;
pub use warning::PromptWarning;

#[cfg(test)]
mod tests;
