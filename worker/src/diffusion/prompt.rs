//! From a prompt to the tokens that CLIP reads.

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::pipeline::GenerateError;
use super::weights::{LoadError, ModelFiles};

/// CLIP's tokenizer with the settings of one model.
#[derive(Debug)]
pub struct PromptTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
    padding: u32,
    /// Tokens of a prompt, start and end included.
    length: usize,
}

/// A prompt as the text encoder takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Exactly as many as the encoder has positions.
    pub ids: Vec<u32>,
    /// The end of the prompt, where it did not fit.
    pub dropped: Option<String>,
}

/// `tokenizer/tokenizer_config.json`, and `special_tokens_map.json` where that says more.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    // Transformers writes 10³⁰ for "no limit", so that this is no integer.
    model_max_length: Option<f64>,
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
        let (path, tokenizer) = read_tokenizer(files, folder)?;
        let invalid = |reason: String| LoadError::Tokenizer { file: files.name(&path), reason };
        let config: TokenizerConfig =
            files.json_if_present(&format!("{folder}/tokenizer_config.json"))?.unwrap_or_default();
        let map: TokenizerConfig =
            files.json_if_present(&format!("{folder}/special_tokens_map.json"))?.unwrap_or_default();
        let id = |configured: Option<SpecialToken>, mapped: Option<SpecialToken>, default: &str| {
            let token = configured.or(mapped);
            let text = token.as_ref().map_or(default, SpecialToken::text);
            tokenizer.token_to_id(text).ok_or_else(|| invalid(format!("it has no token {text:?}")))
        };
        let (start, end) = (id(config.bos_token, map.bos_token, START)?, id(config.eos_token, map.eos_token, END)?);
        let padding = id(config.pad_token, map.pad_token, END)?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocab_size {
            return Err(invalid(format!("it has a token {largest}, and the text encoder knows {vocab_size}")));
        }
        let length = config.model_max_length.map_or(positions, |length| positions.min(length as usize));
        if length < 2 {
            return Err(invalid(format!("prompts of {length} tokens hold no text")));
        }
        Ok(Self { tokenizer, start, end, padding, length })
    }

    /// The tokens of `prompt` between start and end, cut or padded to the encoder's length.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn tokens(&self, prompt: &str) -> Result<Tokens, GenerateError> {
        let encoding =
            self.tokenizer.encode(prompt, false).map_err(|error| GenerateError::Tokenizer(error.to_string()))?;
        let room = self.length - 2;
        let (text, rest) = encoding.get_ids().split_at(room.min(encoding.len()));
        let dropped = (!rest.is_empty()).then(|| {
            let (begin, _) = encoding.get_offsets()[room];
            prompt.get(begin..).unwrap_or(prompt).trim().to_owned()
        });
        let mut ids = Vec::with_capacity(self.length);
        ids.push(self.start);
        ids.extend(text);
        ids.push(self.end);
        ids.resize(self.length, self.padding);
        Ok(Tokens { ids, dropped })
    }

    /// What to tell the user about the part of the `which` prompt that did not fit.
    pub fn warning(&self, which: &str, dropped: &str) -> String {
        format!(
            "The {which} is longer than the {} tokens that this model reads; left out: “{dropped}”.",
            self.length - 2
        )
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
