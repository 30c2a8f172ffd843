use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sd_worker::diffusion::embeddings::{Embedding, EmbeddingSet, TextEncoder, inject};
use sd_worker::diffusion::families::PromptReader;
use sd_worker::diffusion::prompt::{Chunk, Chunks, Piece, Prompt, PromptTokenizer, PromptWarning, apply_weights};
use serde::Deserialize;

use super::{golden, golden_json, tiny_model};

fn tokenizer(model: &str) -> PromptTokenizer {
    let (files, vocabulary) = match model {
        "builtin" => (sd_worker::builtin::files(), 861),
        _ => (tiny_model(model), 644),
    };
    PromptTokenizer::load(&files, "tokenizer", 77, vocabulary).unwrap()
}

fn chunks(prompt: &str) -> Chunks {
    tokenizer("sd1").chunks(prompt, &EmbeddingSet::default()).unwrap()
}

#[test]
fn without_brackets_become_the_tokens_of_transformers() {
    let goldens: HashMap<String, Vec<(String, Vec<u32>)>> = golden_json("tokens.json");
    assert_eq!(goldens.len(), 3);
    for (model, prompts) in goldens {
        let tokenizer = tokenizer(&model);
        for (prompt, expected) in prompts {
            let Chunks { chunks, .. } = tokenizer.chunks(&prompt, &EmbeddingSet::default()).unwrap();
            assert!(chunks[0].weights.iter().all(|&weight| weight == 1.0) && chunks[0].weights.len() == 77);
            // Transformers cuts what is too long at the token, this worker behind the last comma.
            let kept = chunks[0].ids.iter().zip(&expected).take_while(|(found, golden)| found == golden).count();
            let is_whole = kept == 77 && chunks.len() == 1;
            assert!(is_whole || (chunks.len() == 2 && kept >= 75 - 20), "{model}: {prompt:?}: {chunks:?}");
        }
    }
}

#[derive(Deserialize)]
struct Goldens {
    embeddings: HashMap<String, usize>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prompt: String,
    pieces: Vec<Option<(String, f64)>>,
    chunks: Vec<GoldenChunk>,
}

#[derive(Deserialize)]
struct GoldenChunk {
    ids: Vec<u32>,
    weights: Vec<(f32, usize)>,
    injected: Vec<(usize, String)>,
}

impl GoldenChunk {
    /// What the golden leaves out: start, end, padding.
    fn framed(&self, padding: u32) -> (Vec<u32>, Vec<f32>) {
        let (start, end) = (0, 1);
        let mut ids = [&[start], self.ids.as_slice(), &[end]].concat();
        ids.resize(77, padding);
        let mut weights = vec![1.0];
        weights.extend(self.weights.iter().flat_map(|&(weight, count)| std::iter::repeat_n(weight, count)));
        weights.resize(77, 1.0);
        (ids, weights)
    }
}

/// The same number, but for the last digit of an f32.
fn is_near(found: f64, golden: f64) -> bool {
    (found - golden).abs() <= 1e-7 * golden.abs()
}

/// An embedding of `count` vectors of 4 channels; vector *i* is full of `first + i`.
fn embedding(first: usize, count: usize) -> Arc<Embedding> {
    let rows = (0..count).flat_map(|row| [(first + row) as f32; 4]);
    let rows = Tensor::from_iter(rows, &Device::Cpu).unwrap().reshape((count, 4)).unwrap();
    Arc::new(Embedding::new(vec![(TextEncoder::First, rows)], &[(TextEncoder::First, 4)]).unwrap())
}

#[test]
fn are_read_as_the_web_ui_reads_them() {
    let goldens: Goldens = golden_json("prompts.json");
    assert!(goldens.cases.len() >= 100);
    let mut known = EmbeddingSet::default();
    let names: HashMap<&str, Arc<Embedding>> =
        goldens.embeddings.iter().map(|(name, &count)| (name.as_str(), embedding(0, count))).collect();
    for (name, embedding) in &names {
        known.insert(*name, Arc::clone(embedding));
    }
    for (model, padding) in [("sd1", 1), ("sd2", 2)] {
        let tokenizer = tokenizer(model);
        for case in &goldens.cases {
            let prompt = &case.prompt;
            let pieces = Prompt::parse(prompt).pieces;
            assert_eq!(pieces.len(), case.pieces.len(), "{prompt:?}: {pieces:?}");
            for (piece, golden) in pieces.iter().zip(&case.pieces) {
                let is_same = match (piece, golden) {
                    (Piece::Break, None) => true,
                    (Piece::Text { text, weight }, Some((expected, of))) => text == expected && is_near(*weight, *of),
                    _ => false,
                };
                assert!(is_same, "{prompt:?}: {piece:?} is not {golden:?}");
            }
            let found = tokenizer.chunks(prompt, &known).unwrap();
            assert_eq!(found.chunks.len(), case.chunks.len(), "{prompt:?}");
            let (passages, warnings) = tokenizer.passages(prompt, &known).unwrap();
            assert_eq!(warnings, found.warnings, "{prompt:?}");
            let counted: Vec<usize> = passages.iter().map(|passage| passage.tokens).collect();
            assert_eq!(counted, case.chunks.iter().map(|chunk| chunk.ids.len()).collect::<Vec<_>>(), "{prompt:?}");
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            let told: String = passages.iter().map(|passage| bare(&passage.text)).collect();
            let texts = case.pieces.iter().flatten().map(|(text, _)| bare(text));
            assert_eq!(told, texts.collect::<String>(), "{prompt:?}: nothing is told twice or left out");
            for (found, golden) in found.chunks.iter().zip(&case.chunks) {
                let (ids, weights) = golden.framed(padding);
                assert_eq!(found.ids, ids, "{prompt:?}");
                let weights_agree =
                    found.weights.iter().zip(&weights).all(|(&found, &golden)| is_near(found.into(), golden.into()));
                assert!(weights_agree && found.weights.len() == weights.len(), "{prompt:?}: {:?}", found.weights);
                assert_eq!(found.injected.len(), golden.injected.len(), "{prompt:?}");
                for (found, (position, name)) in found.injected.iter().zip(&golden.injected) {
                    assert_eq!(found.position, *position, "{prompt:?}");
                    assert!(Arc::ptr_eq(&found.embedding, &names[name.as_str()]), "{prompt:?}: {name}");
                }
            }
        }
    }
}

#[test]
fn are_told_by_their_chunks_without_the_model() {
    let check = |model: &str, prompt: &str, expect: &[(usize, &str)]| {
        let embeddings = [("hills-style".to_owned(), golden("embeddings").join("hills-style.safetensors"))];
        let reading = PromptReader::load(&tiny_model(model), &embeddings).unwrap().read(prompt).unwrap();
        let passages: Vec<_> = reading.passages.iter().map(|passage| (passage.tokens, passage.text.as_str())).collect();
        assert_eq!((reading.room, passages.as_slice()), (75, expect), "{model}: {prompt:?}");
    };
    check("sd1", "", &[(0, "")]);
    check("sd1", "a (red:1.3) house", &[(3, "a red house")]);
    check("sd1", "a red BREAK BREAK [house]", &[(2, "a red"), (0, ""), (1, "house")]);
    check("sd1", "a hills-style house", &[(5, "a hills-style house")]);
    check("sd1", &"red ".repeat(75), &[(75, "red ".repeat(75).trim_end())]);
    check(
        "sd1",
        &format!("{}a blue house", "red ".repeat(74)),
        &[(75, &format!("{}a", "red ".repeat(74))), (2, "blue house")],
    );
    let comma = format!("{}a sun, a red house", "red ".repeat(71));
    check("sd1", &comma, &[(74, &format!("{}a sun,", "red ".repeat(71))), (3, "a red house")]);
    // The second tokenizer reads each exclamation mark as one token, the first one all of them.
    check("sdxl", "a red house", &[(3, "a red house")]);
    check("sdxl", "a house!!!", &[(5, "a house!!!")]);
}

#[test]
fn that_are_too_long_fill_chunks_and_say_so() {
    assert_eq!(chunks(&"red ".repeat(75)).warnings, []);
    let long = chunks(&format!("{}a blue house", "red ".repeat(75)));
    assert_eq!(long.warnings, [PromptWarning::Chunks { chunks: 2, tokens: 75 }]);
    assert_eq!(long.warnings[0].sentence("prompt"), "The prompt fills 2 chunks of 75 tokens.");
}

#[test]
fn that_say_what_is_not_understood_get_a_warning() {
    let check = |prompt: &str, says: &str| {
        let warnings = chunks(prompt).warnings;
        let [warning] = warnings.as_slice() else { panic!("{prompt:?}: {warnings:?}") };
        let sentence = warning.sentence("prompt");
        assert!(sentence.contains(says), "{sentence:?} does not say {says:?}");
    };
    check("a ()red house", "brackets without text");
    check("a (:1.2) house", "brackets without text");
    check("a (red:1.2.3) house", "“1.2.3”, which is no number");
    check("a (red:1000) house", "weights end at ±100");
    check("a [red:blue:0.5] house", "“[red:blue:0.5]”");
    check("a [red|blue] house", "“[red|blue]”");
    check("a house <lora:sea:0.8>", "“<lora:sea:0.8>”");
    check("a house AND a sun", "“AND”");
    check("a house<|endoftext|>", "“<|endoftext|>”");
    assert_eq!(chunks("a (red:1.2), [blue] house: BREAK it's \\(here\\)").warnings.len(), 1, "of the two chunks");
}

#[test]
fn with_an_embedding_that_no_chunk_holds_are_read_as_words() {
    let mut known = EmbeddingSet::default();
    known.insert("red", embedding(0, 76));
    let found = tokenizer("sd1").chunks("a red house", &known).unwrap();
    assert_eq!(found.chunks[0].ids[..5], [0, 262, 376, 337, 1]);
    let says = "“red”, which has 76 vectors, more than the 75 tokens of a chunk";
    assert!(found.warnings[0].sentence("prompt").contains(says));
}

#[test]
fn are_padded_with_empty_chunks() {
    let tokenizer = tokenizer("sd2");
    let empty = tokenizer.empty_chunk();
    let one = tokenizer.chunks("a red house", &EmbeddingSet::default()).unwrap();
    let ids = one.chunks[0].ids.clone();
    let padded = one.padded_to(3, &empty);
    assert_eq!(padded.chunks.len(), 3);
    assert_eq!(padded.chunks[0].ids, ids);
    assert_eq!(padded.chunks[2].ids, chunk_of("sd2", "").ids);
    assert_eq!(padded.padded_to(1, &empty).chunks.len(), 3);
}

fn chunk_of(model: &str, prompt: &str) -> Chunk {
    tokenizer(model).chunks(prompt, &EmbeddingSet::default()).unwrap().chunks.remove(0)
}

#[test]
fn with_names_get_the_vectors_in_their_places() {
    let mut known = EmbeddingSet::default();
    known.insert("house", embedding(10, 3));
    known.insert("sun", embedding(20, 1));
    let Chunks { chunks, .. } = tokenizer("sd1").chunks("a house, red sun", &known).unwrap();
    let embedded = Tensor::zeros((1, 77, 4), DType::F32, &Device::Cpu).unwrap();
    let found = inject(&embedded, &chunks[0], TextEncoder::First).unwrap();
    let first_channel: Vec<f32> = found.narrow(2, 0, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    // start, a, house (3), comma, red, sun, end
    assert_eq!(first_channel[..9], [0.0, 0.0, 10.0, 11.0, 12.0, 0.0, 0.0, 20.0, 0.0]);
    assert_eq!(found.dims(), [1, 77, 4]);
    assert!(inject(&embedded, &chunks[0], TextEncoder::Second).is_err());
}

#[test]
fn weigh_tokens_and_keep_the_mean() {
    let hidden = Tensor::new(&[[[1f32, 2.0], [3.0, 4.0], [5.0, 9.0]]], &Device::Cpu).unwrap();
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let same = apply_weights(&hidden, &[1.0; 3]).unwrap();
    assert_eq!(numbers(&same), numbers(&hidden));
    // Weighted, the sum is 24 − 7 + 0.5 · 7 = 20.5 of 24.
    let found = numbers(&apply_weights(&hidden, &[1.0, 0.5, 1.0]).unwrap());
    let ratio = 24.0 / 20.5;
    for (found, expected) in found.iter().zip([1.0, 2.0, 1.5, 2.0, 5.0, 9.0]) {
        assert!((found - expected * ratio).abs() < 1e-5, "{found} is not {expected} × {ratio}");
    }
    // A mean of zero stays what it is.
    let zero = numbers(&apply_weights(&hidden, &[0.0; 3]).unwrap());
    assert_eq!(zero, [0.0; 6]);
    assert!(apply_weights(&hidden, &[1.0, 0.5]).is_err());
}
