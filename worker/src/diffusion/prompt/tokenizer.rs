//! CLIP's tokenizer with the settings of one model.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{AddedToken, Tokenizer};

use super::PromptWarning;
use crate::diffusion::pipeline::GenerateError;
use crate::diffusion::weights::{LoadError, ModelFiles};

/// The tokenizer of one text encoder.
#[derive(Debug)]
pub struct PromptTokenizer {
    tokenizer: Tokenizer,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) padding: u32,
    /// The comma as a word of its own, where the vocabulary has one.
    pub(super) comma: Option<u32>,
    /// Tokens of a chunk, start and end included.
    length: usize,
}

/// The tokens of a text.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Where each stands, in bytes.
    pub(super) spans: Vec<Range<usize>>,
}

impl Tokens {
    /// The same tokens where so many bytes stand before their text.
    pub(super) fn behind(mut self, bytes: usize) -> Self {
        for span in &mut self.spans {
            *span = span.start + bytes..span.end + bytes;
        }
        self
    }
}

/// `tokenizer/tokenizer_config.json`, and `special_tokens_map.json`, which counts more as long as the former has no
/// list of added tokens: SD 2 was published with padding that only the map gets right.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    // Transformers writes 10³⁰ for "no limit", so that this is no integer.
    model_max_length: Option<f64>,
    added_tokens_decoder: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Object { content: String },
}

impl SpecialToken {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

impl PromptTokenizer {
    /// Reads the tokenizer in `folder` for an encoder of `positions` positions and `vocab_size` embeddings.
    ///
    /// # Errors
    /// When a file is missing, or is no tokenizer of such an encoder.
    pub fn load(files: &ModelFiles, folder: &str, positions: usize, vocab_size: usize) -> Result<Self, LoadError> {
        let (path, mut tokenizer) = read_tokenizer(files, folder)?;
        let invalid = |reason: String| LoadError::Tokenizer { file: files.name(&path), reason };
        let config: TokenizerConfig =
            files.json_if_present(&format!("{folder}/tokenizer_config.json"))?.unwrap_or_default();
        let map: TokenizerConfig =
            files.json_if_present(&format!("{folder}/special_tokens_map.json"))?.unwrap_or_default();
        let config_is_whole = config.added_tokens_decoder.is_some();
        let id = |configured: Option<SpecialToken>, mapped: Option<SpecialToken>, default: &str| {
            let token = if config_is_whole { configured.or(mapped) } else { mapped.or(configured) };
            let text = token.as_ref().map_or(default, SpecialToken::text);
            tokenizer.token_to_id(text).ok_or_else(|| invalid(format!("it has no token {text:?}")))
        };
        let (start, end) = (id(config.bos_token, map.bos_token, START)?, id(config.eos_token, map.eos_token, END)?);
        let padding = id(config.pad_token, map.pad_token, END)?;
        // Transformers cuts prompts at special tokens before anything else, and padding is one: where it is "!", as in
        // SD 2 and the second tokenizer of SDXL, each exclamation mark becomes padding.
        let special = tokenizer.id_to_token(padding).map(|text| AddedToken::from(text, true));
        tokenizer.add_special_tokens(special).map_err(|error| invalid(error.to_string()))?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocab_size {
            return Err(invalid(format!("it has a token {largest}, and the text encoder knows {vocab_size}")));
        }
        let length = config.model_max_length.map_or(positions, |length| positions.min(length as usize));
        if length < 3 {
            return Err(invalid(format!("prompts of {length} tokens hold no text")));
        }
        let comma = tokenizer.token_to_id(",</w>");
        Ok(Self { tokenizer, start, end, padding, comma, length })
    }

    /// Tokens of text that a chunk holds, between its start and its end.
    pub fn room(&self) -> usize {
        self.length - 2
    }

    /// The tokens of `text`, without start and end, and where they stand in it. What the tokenizer takes for a mark of its own, or stands in for
    /// with one, is added to `warnings`.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub(super) fn tokens(&self, text: &str, warnings: &mut Vec<PromptWarning>) -> Result<Tokens, GenerateError> {
        let encoding =
            self.tokenizer.encode(text, false).map_err(|error| GenerateError::Tokenizer(error.to_string()))?;
        let marks = encoding.get_ids().iter().zip(encoding.get_offsets());
        for (_, &(begin, end)) in marks.filter(|(id, _)| [self.start, self.end].contains(id)) {
            warnings.push(PromptWarning::Mark(text.get(begin..end).unwrap_or(text).to_owned()));
        }
        let spans = encoding.get_offsets().iter().map(|&(begin, end)| begin..end).collect();
        Ok(Tokens { ids: encoding.get_ids().to_vec(), spans })
    }
}

/// `tokenizer.json`, or one made of `vocab.json` and `merges.txt`; the file that is to blame comes with it.
fn read_tokenizer(files: &ModelFiles, folder: &str) -> Result<(String, Tokenizer), LoadError> {
    let whole = format!("{folder}/tokenizer.json");
    let (path, bytes) = if files.contains(&whole) {
        let bytes = files.read(&whole)?.into_owned();
        (whole, bytes)
    } else {
        let path = format!("{folder}/vocab.json");
        let merges = files.read(&format!("{folder}/merges.txt"))?;
        let document = clip_tokenizer(files.json(&path)?, &String::from_utf8_lossy(&merges));
        (path, document.to_string().into_bytes())
    };
    match Tokenizer::from_bytes(bytes) {
        Ok(tokenizer) => Ok((path, tokenizer)),
        Err(error) => Err(LoadError::Tokenizer { file: files.name(&path), reason: error.to_string() }),
    }
}

/// CLIP's byte-level BPE as a `tokenizer.json` (transformers' `CLIPTokenizer`).
fn clip_tokenizer(vocab: Value, merges: &str) -> Value {
    let special = |text: &str| {
        json!({
            "id": vocab[text], "content": text, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let added: Vec<Value> = [START, END].into_iter().filter(|text| vocab.get(text).is_some()).map(special).collect();
    let merges: Vec<&str> = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()).collect();
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"},
                "behavior": "Removed",
                "invert": true,
            },
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": END, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "vocab": vocab, "merges": merges,
        },
    })
}
