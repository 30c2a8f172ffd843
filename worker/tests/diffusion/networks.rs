use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::cancel::Halt;
use sd_worker::diffusion::nn::clip_text::{ClipTextConfig, ClipTextEncoder};
use sd_worker::diffusion::nn::unet::{Unet, UnetConfig};
use sd_worker::diffusion::nn::vae::{VaeConfig, VaeDecoder};
use sd_worker::diffusion::weights::Weights;

use super::{RELATIVE_L2_MAX, golden_tensors, relative_l2, tiny_model};

const MODELS: [&str; 2] = ["sd1", "sd2"];

fn text_encoder(model: &str) -> ClipTextEncoder {
    let files = tiny_model(model);
    let config = ClipTextConfig::read(&files, "text_encoder/config.json").unwrap();
    let weights = Weights::open(&files, "text_encoder", "model").unwrap();
    ClipTextEncoder::load(&config, &weights, &Device::Cpu).unwrap()
}

pub(super) fn unet(model: &str) -> Unet {
    let files = tiny_model(model);
    let config = UnetConfig::read(&files, "unet/config.json").unwrap();
    let weights = Weights::open(&files, "unet", "diffusion_pytorch_model").unwrap();
    Unet::load(&config, &weights, &Device::Cpu).unwrap()
}

fn vae(model: &str) -> VaeDecoder {
    let files = tiny_model(model);
    let config = VaeConfig::read(&files, "vae/config.json").unwrap();
    let weights = Weights::open(&files, "vae", "diffusion_pytorch_model").unwrap();
    VaeDecoder::load(&config, &weights, &Device::Cpu).unwrap()
}

fn check(name: &str, found: &Tensor, expected: &Tensor) {
    let distance = relative_l2(found, expected);
    println!("{name}: relative L2 {distance:.1e}");
    assert!(distance <= RELATIVE_L2_MAX, "{name}: {distance:e}");
}

fn text_of(goldens: &HashMap<String, Tensor>, model: &str) -> Tensor {
    goldens[&format!("{model}/text/out")].clone()
}

#[test]
fn text_encoder_agrees_with_transformers() {
    let goldens = golden_tensors("networks.safetensors");
    for model in MODELS {
        let ids = goldens[&format!("{model}/text/ids")].to_dtype(DType::U32).unwrap();
        let found = text_encoder(model).forward(&ids, &CancelToken::default()).unwrap();
        check(&format!("{model} text encoder"), &found, &text_of(&goldens, model));
    }
}

#[test]
fn unet_agrees_with_diffusers() {
    let goldens = golden_tensors("networks.safetensors");
    for model in MODELS {
        let unet = unet(model);
        for size in ["even", "odd"] {
            let latents = &goldens[&format!("{model}/unet/{size}/in")];
            let text = text_of(&goldens, model);
            let found = unet.forward(latents, 321.5, &text, &CancelToken::default()).unwrap();
            check(&format!("{model} unet, {size} size"), &found, &goldens[&format!("{model}/unet/{size}/out")]);
        }
    }
}

#[test]
fn vae_agrees_with_diffusers() {
    let goldens = golden_tensors("networks.safetensors");
    for model in MODELS {
        let latents = &goldens[&format!("{model}/vae/in")];
        let found = vae(model).decode(latents, &CancelToken::default()).unwrap();
        check(&format!("{model} vae"), &found, &goldens[&format!("{model}/vae/out")]);
    }
}

#[test]
fn every_network_halts_when_the_token_is_set() {
    let goldens = golden_tensors("networks.safetensors");
    let canceled = CancelToken::default();
    canceled.cancel();
    let ids = goldens["sd1/text/ids"].to_dtype(DType::U32).unwrap();
    let latents = &goldens["sd1/unet/even/in"];
    let halted = [
        text_encoder("sd1").forward(&ids, &canceled),
        unet("sd1").forward(latents, 1.0, &text_of(&goldens, "sd1"), &canceled),
        vae("sd1").decode(latents, &canceled),
    ];
    for result in halted {
        assert!(matches!(result, Err(Halt::Canceled)));
    }
}
