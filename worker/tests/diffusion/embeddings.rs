use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::embeddings::{Embedding, EmbeddingSet, TextEncoder, inject};
use sd_worker::diffusion::nn::clip_text::HiddenLayer;
use sd_worker::diffusion::prompt::{PromptTokenizer, apply_weights};
use sd_worker::diffusion::weights::ModelFiles;

use super::networks::text_encoder;
use super::{RELATIVE_L2_MAX, golden, golden_tensors, relative_l2, tiny_model};

const FIRST: (TextEncoder, usize) = (TextEncoder::First, 32);

/// An embedding, or why it is none.
fn open(name: &str, encoders: &[(TextEncoder, usize)]) -> Result<Embedding, String> {
    Embedding::open(&ModelFiles::folder(golden("embeddings")), name, encoders, &Device::Cpu)
        .map_err(|error| error.to_string())
}

#[test]
fn become_what_diffusers_makes_of_them() {
    let token = open("token.safetensors", &[FIRST]).unwrap();
    let style = open("hills-style.safetensors", &[FIRST]).unwrap();
    assert_eq!((token.token(), token.vectors()), (Some("<hills>"), 1));
    assert_eq!((style.token(), style.vectors()), (None, 3));
    let mut known = EmbeddingSet::default();
    known.insert(token.token().unwrap().to_owned(), Arc::new(token));
    known.insert("hills-style", Arc::new(style));

    let tokenizer = PromptTokenizer::load(&tiny_model("sd1"), "tokenizer", 77, 644).unwrap();
    let (_, encoder) = text_encoder(["sd1", "text_encoder"], DType::F32);
    let goldens = golden_tensors("embeddings.safetensors");
    assert_eq!(goldens.len(), 2);
    for (prompt, expected) in goldens {
        let read = tokenizer.chunks(&prompt, &known).unwrap();
        assert_eq!((read.chunks.len(), read.warnings.len()), (1, 0), "{prompt}");
        let chunk = &read.chunks[0];
        let ids = Tensor::new(chunk.ids.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let embedded = inject(&encoder.embed(&ids).unwrap(), chunk, TextEncoder::First).unwrap();
        let hidden = encoder.forward(&embedded, &[0], HiddenLayer::Last, &CancelToken::default()).unwrap().hidden;
        let distance = relative_l2(&apply_weights(&hidden, &chunk.weights).unwrap(), &expected);
        println!("{prompt:?}: relative L2 {distance:.1e}");
        assert!(distance <= RELATIVE_L2_MAX, "{prompt:?}: {distance:e}");
    }
}

#[test]
fn for_two_encoders_have_vectors_for_both() {
    let both = [FIRST, (TextEncoder::Second, 20)];
    assert_eq!(open("sdxl.safetensors", &both).unwrap().vectors(), 2);
}

#[test]
fn of_another_model_are_refused_by_name() {
    let check = |file: &str, encoders: &[(TextEncoder, usize)], says: &str| {
        let message = open(file, encoders).unwrap_err();
        assert!(message.contains(file) && message.ends_with(says), "{message:?} does not say {says:?}");
    };
    let second = (TextEncoder::Second, 20);
    check(
        "token.safetensors",
        &[(TextEncoder::First, 768)],
        "its vectors have channels 32 for text_encoder, and the model reads 768 for text_encoder",
    );
    check(
        "hills-style.safetensors",
        &[FIRST, second],
        "32 for text_encoder, and the model reads 32 for text_encoder and 20 for text_encoder_2",
    );
    check(
        "sdxl.safetensors",
        &[FIRST],
        "32 for text_encoder and 20 for text_encoder_2, and the model reads 32 for text_encoder",
    );
    let lora = Embedding::open(&ModelFiles::folder(golden("lora")), "old.safetensors", &[FIRST], &Device::Cpu);
    assert!(lora.unwrap_err().to_string().contains("old.safetensors is no embedding for this model: it holds"));
    let missing = open("none.safetensors", &[FIRST]).unwrap_err();
    assert!(missing.ends_with("none.safetensors is missing"), "{missing}");
}
