//! CLIP's vocabulary: the merges of its byte-pair encoding as OpenAI published them, and the tokens that follow from
//! their order (open_clip's `SimpleTokenizer`).

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::Kind;

/// All merges that OpenAI found, one a line after a headline, most frequent first.
static MERGES_GZ: &[u8] = include_bytes!("../../../../data/clip/bpe_simple_vocab_16e6.txt.gz");

/// As many merges as make 49408 tokens with two forms of each byte, a start and an end.
const MERGES: usize = 49408 - 2 * 256 - 2;

const VOCABULARY: &str = "vocab.json";
const MERGE_LIST: &str = "merges.txt";

/// Whether `path` is a vocabulary file of a tokenizer that `kind` has.
pub(super) fn is_file(kind: &Kind, path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(folder, file)| {
        let config = format!("{folder}/tokenizer_config.json");
        [VOCABULARY, MERGE_LIST].contains(&file) && kind.files.iter().any(|file| file.path == config)
    })
}

/// The bytes of a vocabulary file in the form of transformers' `CLIPTokenizer`.
pub(super) fn read(path: &str) -> Vec<u8> {
    let text = merges();
    let merges = text.lines().skip(1).take(MERGES);
    if path.ends_with(MERGE_LIST) {
        let lines: Vec<&str> = std::iter::once("#version: 0.2").chain(merges).collect();
        return lines.join("\n").into_bytes();
    }
    let bytes: Vec<char> = byte_letters();
    let alone = bytes.iter().map(char::to_string);
    let last = bytes.iter().map(|letter| format!("{letter}</w>"));
    let merged = merges.map(|pair| pair.replace(' ', ""));
    let special = ["<|startoftext|>", "<|endoftext|>"].map(str::to_owned);
    let tokens = alone.chain(last).chain(merged).chain(special);
    let vocabulary: Map<String, Value> = tokens.enumerate().map(|(id, token)| (token, id.into())).collect();
    Value::Object(vocabulary).to_string().into_bytes()
}

fn merges() -> String {
    let mut text = String::new();
    GzDecoder::new(MERGES_GZ).read_to_string(&mut text).expect("the file in the binary is a whole gzip of UTF-8");
    text
}

/// A printable letter for each byte: itself where it is printable in Latin-1, else the next one from U+0100 (GPT-2's
/// `bytes_to_unicode`), the printable ones first.
fn byte_letters() -> Vec<char> {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let printable = (0..=u8::MAX).filter(is_printable).map(char::from);
    let others = (0..=u8::MAX).filter(|byte| !is_printable(byte)).count() as u32;
    printable.chain((0x100..0x100 + others).filter_map(char::from_u32)).collect()
}
