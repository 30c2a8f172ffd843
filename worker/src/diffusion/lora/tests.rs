//! What is refused, what is told, and what is remembered.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::key::{Key, Module, Part};
use super::*;

/// A file of zeros with these names and shapes.
fn file(tensors: &[(&str, &[usize])]) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let tensors: HashMap<String, Tensor> =
        tensors.iter().map(|(name, shape)| ((*name).to_owned(), zeros(shape))).collect();
    candle_core::safetensors::save(&tensors, folder.path().join("x.safetensors")).unwrap();
    let files = ModelFiles::folder(folder.path());
    (folder, files)
}

fn open(tensors: &[(&str, &[usize])]) -> Result<Lora, LoadError> {
    let (_folder, files) = file(tensors);
    Lora::open(&files, "x.safetensors")
}

#[test]
fn names_are_read_in_every_dialect() {
    let check = |name: &str, network, module: Module, part| {
        assert_eq!(Key::read(name), Some(Key { network, module, part }), "{name}");
    };
    let path = |text: &str| Module::Path(text.into());
    let flat = |text: &str| Module::Flat(text.into());
    let (unet, text) = (Network::Unet, Network::TextEncoder);
    check("lora_unet_mid_block_proj_in.lora_down.weight", unet, flat("mid_block_proj_in"), Part::Down);
    check("lora_te_text_model_x.alpha", text, flat("text_model_x"), Part::Alpha);
    check("lora_te1_text_model_x.lora_up.weight", text, flat("text_model_x"), Part::Up);
    check("lora_te2_text_model_x.lora_up.weight", Network::TextEncoder2, flat("text_model_x"), Part::Up);
    check("unet.mid_block.a.attn1.to_q.lora_A.weight", unet, path("mid_block.a.attn1.to_q"), Part::Down);
    check("unet.mid_block.a.attn1.to_out.0.lora_B.weight", unet, path("mid_block.a.attn1.to_out.0"), Part::Up);
    check("base_model.model.mid_block.to_k.lora_B.default.weight", unet, path("mid_block.to_k"), Part::Up);
    check("text_encoder_2.text_model.x.lora_A.weight", Network::TextEncoder2, path("text_model.x"), Part::Down);
    check("mid_block.a.attn1.processor.to_out_lora.down.weight", unet, path("mid_block.a.attn1.to_out.0"), Part::Down);
    check("unet.mid_block.a.attn2.processor.to_k_lora.up.weight", unet, path("mid_block.a.attn2.to_k"), Part::Up);
    check("unet.mid_block.a.attn2.to_k.lora.up.weight", unet, path("mid_block.a.attn2.to_k"), Part::Up);
    check("text_encoder.l.self_attn.to_out_lora.up.weight", text, path("l.self_attn.out_proj"), Part::Up);
    check(
        "text_encoder.l.self_attn.q_proj.lora_linear_layer.down.weight",
        text,
        path("l.self_attn.q_proj"),
        Part::Down,
    );
    check("unet:12:up", unet, Module::Nth(12), Part::Up);
    for unknown in ["", "unet", "unet:x:up", "unet:1:mid", "vae.x.lora_A.weight", "unet.x.weight", "lora_unet_x"] {
        assert_eq!(Key::read(unknown), None, "{unknown}");
    }
}

#[test]
fn other_kinds_are_refused_by_name() {
    let check = |key: &str, kind: &str| {
        let message = open(&[(key, &[2, 2])]).unwrap_err().to_string();
        assert!(message.contains(&format!("x.safetensors is {kind} (it has `{key}`)")), "{message}");
    };
    check("lora_unet_mid_block_x.hada_w1_a", "a LoHa");
    check("lora_unet_mid_block_x.lokr_w1", "a LoKr");
    check("lora_unet_mid_block_x.oft_blocks", "an OFT");
    check("lora_unet_mid_block_x.on_input", "an IA³");
    check("lora_unet_mid_block_x.dora_scale", "a DoRA");
    check("unet.mid_block.x.lora_magnitude_vector", "a DoRA");
    check("lora_unet_mid_block_x.lora_mid.weight", "a LoCon with a Tucker core");
    check("lora_unet_mid_block_x.diff", "a full difference of weights");
    check("lora_unet_mid_block_x.b1.weight", "a GLoRA");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (down, up) = ("unet.mid_block.x.lora_A.weight", "unet.mid_block.x.lora_B.weight");
    let message = open(&[(down, &[2, 3]), (up, &[4, 5])]).unwrap_err().to_string();
    assert!(message.contains(&format!("tensor {up} has shape [4, 5]")), "{message}");
    let message = open(&[(down, &[6]), (up, &[4, 2])]).unwrap_err().to_string();
    assert!(message.contains(&format!("tensor {down} has shape [6]")), "{message}");
    let lora = open(&[(down, &[2, 3]), (up, &[4, 2])]).unwrap();
    let layer = LayerShape { path: "mid_block.x".into(), shape: vec![4, 9] };
    let message = lora.fit(Network::Unet, &[layer]).unwrap_err().to_string();
    let says = format!("`{down}` gives the layer mid_block.x a change of shape [4, 3], and its weight is [4, 9]");
    assert!(message.ends_with(&says), "{message}");
    let (_folder, files) = file(&[]);
    let message = Lora::open(&files, "x.pt").unwrap_err().to_string();
    assert!(message.contains("x.pt is a pickle"), "{message}");
}

#[test]
fn alpha_may_be_an_integer_and_is_one_number() {
    let scale = |alpha: Tensor| {
        let folder = tempfile::tempdir().unwrap();
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let tensors: HashMap<&str, Tensor> = [
            ("lora_unet_x.lora_down.weight", zeros(&[4, 3])),
            ("lora_unet_x.lora_up.weight", zeros(&[5, 4])),
            ("lora_unet_x.alpha", alpha),
        ]
        .into();
        candle_core::safetensors::save(&tensors, folder.path().join("x.safetensors")).unwrap();
        let lora = Lora::open(&ModelFiles::folder(folder.path()), "x.safetensors");
        lora.and_then(|lora| lora.adapters[0].scale_in(&lora.file)).map_err(|error| error.to_string())
    };
    assert_eq!(scale(Tensor::new(2i64, &Device::Cpu).unwrap()), Ok(0.5));
    assert_eq!(scale(Tensor::new(2f64, &Device::Cpu).unwrap()), Ok(0.5));
    assert_eq!(scale(Tensor::new(&[2f32], &Device::Cpu).unwrap()), Ok(0.5));
    assert!(scale(Tensor::new(&[2f32, 3.0], &Device::Cpu).unwrap()).unwrap_err().contains("x.alpha has shape [2]"));
}

#[test]
fn what_matches_nothing_is_told() {
    let lora = open(&[
        ("unet.mid_block.x.lora_A.weight", &[2, 3]),
        ("unet.mid_block.x.lora_B.weight", &[4, 2]),
        ("lora_te2_y.lora_down.weight", &[2, 3]),
        ("lora_te2_y.lora_up.weight", &[4, 2]),
        ("unet.mid_block.half.lora_A.weight", &[2, 3]),
        ("something", &[1]),
    ])
    .unwrap();
    assert_eq!(lora.unread(), ["something", "unet.mid_block.half.lora_A.weight"]);
    assert_eq!(lora.networks(), [Network::Unet, Network::TextEncoder2]);
    let fit = lora.fit(Network::TextEncoder2, &[]).unwrap();
    let unmatched = fit.unmatched();
    assert!(fit.is_empty());
    assert_eq!(unmatched, ["lora_te2_y.lora_down.weight", "lora_te2_y.lora_up.weight"]);
    let says = "The LoRA “sea” has 2 tensors that match nothing in this model: \
                lora_te2_y.lora_down.weight, lora_te2_y.lora_up.weight.";
    assert_eq!(unmatched_warning("sea", unmatched).as_deref(), Some(says));
    assert_eq!(unmatched_warning("sea", &[]), None);
    let many = vec!["k".to_owned(); 10];
    assert!(unmatched_warning("sea", &many).unwrap().ends_with("k, k, k, k, k, k, k, k and 2 more."));
}

#[test]
fn trained_words_are_given_or_told() {
    let lora = open(&[
        ("<word>", &[2, 5]),
        ("bundle_emb.hills.string_to_param.*", &[3, 5]),
        ("bundle_emb.wide.clip_l", &[1, 9]),
        ("bundle_emb.odd.t5xxl", &[1, 5]),
    ])
    .unwrap();
    assert_eq!(lora.unread(), [""; 0]);
    let of = |encoders: &[(TextEncoder, usize)]| lora.words(encoders, &Device::Cpu).unwrap();
    let trained = of(&[(TextEncoder::First, 5)]);
    let words: Vec<_> = trained.words.iter().map(|(word, vectors)| (word.as_str(), vectors.vectors())).collect();
    assert_eq!(words, [("<word>", 2), ("hills", 3)]);
    let unusable: Vec<_> = trained.unusable.iter().map(|(word, why)| format!("{word}: {why}")).collect();
    assert_eq!(
        unusable,
        [
            "odd: `bundle_emb.odd.t5xxl` is of a form that is not known here",
            "wide: its vectors have channels 9 for text_encoder, and the model reads 5 for text_encoder",
        ]
    );
    assert!(of(&[(TextEncoder::First, 5), (TextEncoder::Second, 7)]).words.is_empty(), "both encoders want vectors");
}
