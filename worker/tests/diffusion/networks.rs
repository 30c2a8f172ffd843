//! Each network, one call at a time, against diffusers and transformers.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::cancel::Halt;
use sd_worker::diffusion::nn::clip_text::{ClipTextConfig, ClipTextEncoder, HiddenLayer, TextEncoding};
use sd_worker::diffusion::nn::time::guidance_scale_embedding;
use sd_worker::diffusion::nn::unet::{AddedConditioning, Unet, UnetConfig, UnetInput};
use sd_worker::diffusion::nn::vae::{Posterior, VaeConfig, VaeDecoder, VaeEncoder, tiled};
use sd_worker::diffusion::weights::Weights;

use super::{RELATIVE_L2_MAX, golden_tensors, relative_l2, said, tiny_model};

/// Relative L2 distance of a whole network in 16 bits from the same in f32: each rounding is 5·10⁻⁴ at most in f16 and
/// 4·10⁻³ in bf16, and it takes many.
const RELATIVE_L2_MAX_16: [(DType, f64); 2] = [(DType::F16, 1e-2), (DType::BF16, 2e-2)];

const UNETS: [&str; 6] = ["sd1", "sd2", "sdxl", "sdxl_refiner", "inpaint", "lcm"];
const AUTOENCODERS: [&str; 3] = ["sd1", "sd2", "sdxl"];
/// Model and folder of each kind of text encoder: CLIP's and OpenCLIP's of SD, both of SDXL.
const TEXT_ENCODERS: [[&str; 2]; 4] =
    [["sd1", "text_encoder"], ["sd2", "text_encoder"], ["sdxl", "text_encoder"], ["sdxl", "text_encoder_2"]];

type Goldens = HashMap<String, Tensor>;

fn goldens() -> Goldens {
    golden_tensors("networks.safetensors")
}

pub(super) fn text_encoder([model, folder]: [&str; 2], dtype: DType) -> (ClipTextConfig, ClipTextEncoder) {
    let files = tiny_model(model);
    let config = ClipTextConfig::read(&files, &format!("{folder}/config.json")).unwrap();
    let weights = Weights::open(&files, folder, "model").unwrap();
    let encoder = ClipTextEncoder::load(&config, &weights, &Device::Cpu, dtype).unwrap();
    (config, encoder)
}

pub(super) fn unet(model: &str) -> Unet {
    unet_in(model, DType::F32)
}

fn unet_in(model: &str, dtype: DType) -> Unet {
    let files = tiny_model(model);
    let config = UnetConfig::read(&files, "unet/config.json").unwrap();
    let weights = Weights::open(&files, "unet", "diffusion_pytorch_model").unwrap();
    Unet::load(&config, &weights, &Device::Cpu, dtype).unwrap()
}

fn vae(model: &str, dtype: DType) -> (VaeEncoder, VaeDecoder) {
    let files = tiny_model(model);
    let config = VaeConfig::read(&files, "vae/config.json").unwrap();
    let weights = Weights::open(&files, "vae", "diffusion_pytorch_model").unwrap();
    assert!(VaeEncoder::is_in(&weights));
    let encoder = VaeEncoder::load(&config, &weights, &Device::Cpu, dtype).unwrap();
    (encoder, VaeDecoder::load(&config, &weights, &Device::Cpu, dtype).unwrap())
}

#[track_caller]
fn check_within(tolerance: f64, name: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dtype(), DType::F32);
    let distance = relative_l2(found, expected);
    println!("{name}: relative L2 {distance:.1e}");
    assert!(distance <= tolerance, "{name}: {distance:e}");
}

#[track_caller]
fn check(name: &str, found: &Tensor, expected: &Tensor) {
    check_within(RELATIVE_L2_MAX, name, found, expected);
}

/// What the encoder says of the golden prompts.
fn encode(goldens: &Goldens, [model, folder]: [&str; 2], layer: HiddenLayer, dtype: DType) -> TextEncoding {
    let (config, encoder) = text_encoder([model, folder], dtype);
    let ids = goldens[&text_golden([model, folder], "ids")].to_dtype(DType::U32).unwrap();
    let rows = ids.to_vec2::<u32>().unwrap();
    let ends = config.ends(rows.iter().map(Vec::as_slice));
    encoder.forward(&encoder.embed(&ids).unwrap(), &ends, layer, &CancelToken::default()).unwrap()
}

fn text_golden([model, folder]: [&str; 2], key: &str) -> String {
    format!("{model}/{}/{key}", folder.replace("_encoder", ""))
}

#[test]
fn text_encoders_agree_with_transformers() {
    let goldens = goldens();
    for encoder in TEXT_ENCODERS {
        let found = encode(&goldens, encoder, HiddenLayer::Last, DType::F32);
        let name = text_golden(encoder, "out");
        check(&name, &found.hidden, &goldens[&name]);
        let pooled = text_golden(encoder, "pooled");
        assert_eq!(found.pooled.is_some(), goldens.contains_key(&pooled), "{pooled}");
        if let Some(found) = found.pooled {
            check(&pooled, &found, &goldens[&pooled]);
        }
    }
}

#[test]
fn clip_skip_takes_the_layer_that_diffusers_takes() {
    let goldens = goldens();
    for encoder in TEXT_ENCODERS {
        // SDXL takes the state as it is, SD normalises it.
        let final_norm = encoder[0] != "sdxl";
        let layer = HiddenLayer::FromEnd { skip: 1, final_norm };
        let found = encode(&goldens, encoder, layer, DType::F32);
        let name = text_golden(encoder, if final_norm { "skip_1_normed" } else { "skip_1" });
        check(&name, &found.hidden.narrow(0, 0, 1).unwrap(), &goldens[&name]);
        if let Some(found) = found.pooled {
            check("pooled whatever is skipped", &found, &goldens[&text_golden(encoder, "pooled")]);
        }
    }
    let (_, encoder) = text_encoder(TEXT_ENCODERS[0], DType::F32);
    let embedded = encoder.embed(&Tensor::zeros((1, 77), DType::U32, &Device::Cpu).unwrap()).unwrap();
    let skip = |skip| {
        let layer = HiddenLayer::FromEnd { skip, final_norm: false };
        encoder.forward(&embedded, &[0], layer, &CancelToken::default())
    };
    assert!(skip(2).is_ok());
    let Err(Halt::Tensor(error)) = skip(3) else { panic!("three of two layers were skipped") };
    assert!(error.to_string().contains("2 layers cannot skip 3"), "{error}");
}

/// What the goldens of a UNet are conditioned on.
fn unet_input(goldens: &Goldens, model: &str) -> UnetInput {
    let golden = |key: &str| goldens.get(&format!("{model}/unet/{key}")).cloned();
    UnetInput {
        context: golden("context").unwrap(),
        added: golden("text_embeds")
            .map(|text_embeds| AddedConditioning { text_embeds, time_ids: golden("time_ids").unwrap() }),
        guidance_embedding: golden("guidance"),
    }
}

#[test]
fn unets_agree_with_diffusers() {
    let goldens = goldens();
    for model in UNETS {
        let unet = unet(model);
        let input = unet_input(&goldens, model);
        for size in ["even", "odd"] {
            let name = format!("{model}/unet/{size}");
            let latents = &goldens[&format!("{name}/in")];
            let found = said(&unet, latents, 321.5, &input, &CancelToken::default()).unwrap();
            check(&name, &found, &goldens[&format!("{name}/out")]);
        }
    }
}

/// What makes a walk of two calls a step and one of one call a step draw the same picture.
#[test]
fn a_unet_says_the_same_of_items_together_and_apart() {
    let (goldens, cancel) = (goldens(), CancelToken::default());
    let same = |model: &str, found: &Tensor, expected: &Tensor| {
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found.dims(), expected.dims());
        assert!(numbers(found) == numbers(expected), "{model}: {:e}", relative_l2(found, expected));
    };
    for (model, dtype) in UNETS.iter().flat_map(|model| [(*model, DType::F32), (*model, DType::BF16)]) {
        let (unet, input) = (unet_in(model, dtype), unet_input(&goldens, model));
        assert!(unet.keeps_items_apart());
        let conditioning = unet.condition(&input, &[999.0, 321.5], &cancel).unwrap();
        for size in ["even", "odd"] {
            let latents = &goldens[&format!("{model}/unet/{size}/in")];
            assert_eq!((latents.dim(0).unwrap(), input.context.dim(0).unwrap()), (2, 2));
            let together = unet.forward(latents, 1, &conditioning, &cancel).unwrap();
            same(model, &said(&unet, latents, 321.5, &input, &cancel).unwrap(), &together);
            for item in 0..2 {
                let one = latents.narrow(0, item, 1).unwrap();
                let apart = unet.forward(&one, 1, &conditioning.item(item).unwrap(), &cancel).unwrap();
                same(model, &apart, &together.narrow(0, item, 1).unwrap());
            }
            let order = Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu).unwrap();
            let twice = |x: &Tensor| x.index_select(&order, 0).unwrap();
            same(model, &unet.forward(&twice(latents), 1, &conditioning, &cancel).unwrap(), &twice(&together));
        }
    }
}

#[test]
fn a_unet_refuses_conditioning_that_is_not_its_own() {
    let goldens = goldens();
    let refusal = |model: &str, change: fn(&mut UnetInput, UnetInput)| {
        let mut input = unet_input(&goldens, model);
        let (added, guided) = (unet_input(&goldens, "sdxl"), unet_input(&goldens, "lcm"));
        change(&mut input, UnetInput { guidance_embedding: guided.guidance_embedding, ..added });
        let latents = &goldens[&format!("{model}/unet/even/in")];
        match said(&unet(model), latents, 1.0, &input, &CancelToken::default()) {
            Err(Halt::Tensor(error)) => error.to_string(),
            _ => panic!("{model} took it"),
        }
    };
    assert!(refusal("sdxl", |input, _| input.added = None).contains("wants a pooled prompt"));
    assert!(refusal("sd1", |input, other| input.added = other.added).contains("knows no pooled prompt"));
    let guided = refusal("sd1", |input, other| input.guidance_embedding = other.guidance_embedding);
    assert!(guided.contains("no projection of a guidance scale"), "{guided}");
}

#[test]
fn a_unet_of_lcm_runs_without_a_guidance_scale() {
    let goldens = goldens();
    let (unet, mut input) = (unet("lcm"), unet_input(&goldens, "lcm"));
    let latents = &goldens["lcm/unet/even/in"];
    let out = |input: &UnetInput| said(&unet, latents, 321.5, input, &CancelToken::default()).unwrap();
    let guided = out(&input);
    input.guidance_embedding = Some(input.guidance_embedding.unwrap().zeros_like().unwrap());
    let of_zeros = out(&input);
    input.guidance_embedding = None;
    check("no embedding is one of zeros", &out(&input), &of_zeros);
    assert!(relative_l2(&guided, &of_zeros) > 1e-3);
}

#[test]
fn guidance_scales_are_embedded_as_by_diffusers() {
    let goldens = goldens();
    for channels in [256, 11] {
        let expected = &goldens[&format!("guidance_scale_embedding/{channels}")];
        for (row, scale) in [0.0, 7.5, 13.0].into_iter().enumerate() {
            let found = guidance_scale_embedding(scale, channels, &Device::Cpu).unwrap();
            check(&format!("{channels} channels of {scale}"), &found, &expected.narrow(0, row, 1).unwrap());
        }
    }
}

#[test]
fn vae_decoders_agree_with_diffusers() {
    let goldens = goldens();
    for model in AUTOENCODERS {
        let latents = &goldens[&format!("{model}/vae/in")];
        let found = vae(model, DType::F32).1.decode(latents, &CancelToken::default()).unwrap();
        check(&format!("{model}/vae"), &found, &goldens[&format!("{model}/vae/out")]);
    }
}

#[test]
fn vae_encoders_agree_with_diffusers() {
    let goldens = goldens();
    for model in AUTOENCODERS {
        let (encoder, _) = vae(model, DType::F32);
        for size in ["even", "odd"] {
            let golden = |key: &str| &goldens[&format!("{model}/vae/encoder/{size}/{key}")];
            let posterior: Posterior = encoder.encode(golden("in"), &CancelToken::default()).unwrap();
            let found = [
                ("mean", posterior.mean.clone()),
                ("logvar", posterior.logvar.clone()),
                ("sample", posterior.sample(golden("noise")).unwrap()),
                ("mode", posterior.mode().unwrap()),
            ];
            for (key, found) in found {
                check(&format!("{model}/vae/encoder/{size}/{key}"), &found, golden(key));
            }
        }
    }
}

#[test]
fn every_network_computes_in_16_bits() {
    let goldens = goldens();
    let cancel = CancelToken::default();
    assert!(!unet_in("sd1", DType::F16).keeps_items_apart(), "candle chooses its products by size");
    for (dtype, relative_l2_max) in RELATIVE_L2_MAX_16 {
        let close = |name: &str, found: &Tensor, expected: &Tensor| {
            let distance = relative_l2(found, expected);
            println!("{name} in {dtype:?}: {distance:.1e}");
            assert!(distance > 1e-6, "{name} was computed in f32");
            check_within(relative_l2_max, name, found, expected);
        };
        let text = encode(&goldens, TEXT_ENCODERS[0], HiddenLayer::Last, dtype);
        close("sd1 text encoder", &text.hidden, &goldens["sd1/text/out"]);
        let (latents, input) = (&goldens["sd1/unet/even/in"], unet_input(&goldens, "sd1"));
        let found = said(&unet_in("sd1", dtype), latents, 321.5, &input, &cancel).unwrap();
        close("sd1 unet", &found, &goldens["sd1/unet/even/out"]);
        let (encoder, decoder) = vae("sd1", dtype);
        let found = decoder.decode(&goldens["sd1/vae/in"], &cancel).unwrap();
        close("sd1 vae decoder", &found, &goldens["sd1/vae/out"]);
        let found = encoder.encode(&goldens["sd1/vae/encoder/even/in"], &cancel).unwrap();
        close("sd1 vae encoder", &found.mean, &goldens["sd1/vae/encoder/even/mean"]);
    }
}

#[test]
fn every_network_halts_when_the_token_is_set() {
    let goldens = goldens();
    let canceled = CancelToken::default();
    canceled.cancel();
    let (_, text) = text_encoder(TEXT_ENCODERS[0], DType::F32);
    let embedded = text.embed(&goldens["sd1/text/ids"].to_dtype(DType::U32).unwrap()).unwrap();
    let input = unet_input(&goldens, "sd1");
    let unet = unet("sd1");
    let latents = &goldens["sd1/unet/even/in"];
    let conditioning = unet.condition(&input, &[1.0], &CancelToken::default()).unwrap();
    let (encoder, decoder) = vae("sd1", DType::F32);
    let halted = [
        text.forward(&embedded, &[0, 0], HiddenLayer::Last, &canceled).map(|encoding| encoding.hidden),
        unet.forward(latents, 0, &conditioning, &canceled),
        unet.condition(&input, &[1.0], &canceled).map(|_| latents.clone()),
        encoder.encode(&goldens["sd1/vae/encoder/even/in"], &canceled).map(|posterior| posterior.mean),
        decoder.decode(&goldens["sd1/vae/in"], &canceled),
    ];
    for result in halted {
        assert!(matches!(result, Err(Halt::Canceled)));
    }
}

#[test]
fn a_picture_in_tiles_is_that_of_diffusers() {
    // Of the rows and columns of the picture, one in so many is in the golden.
    const EVERY: usize = 3;
    let goldens = golden_tensors("tiled.safetensors");
    let (_, decoder) = vae("sd1", DType::F32);
    let found = tiled::decode(&decoder, &goldens["in"], &CancelToken::default()).unwrap();
    let (_, height, width, _) = found.dims4().unwrap();
    let kept = |size: usize| Tensor::arange_step(0, size as u32, EVERY as u32, &Device::Cpu).unwrap();
    let found = found.index_select(&kept(height), 1).unwrap().index_select(&kept(width), 2).unwrap();
    check("in tiles", &found, &goldens["out"]);

    // One tile is the picture.
    let latents = goldens["in"].narrow(1, 0, 9).unwrap().narrow(2, 0, 7).unwrap();
    let whole = decoder.decode(&latents, &CancelToken::default()).unwrap();
    assert!(!tiled::is_divided(9, 7) && tiled::is_divided(70, 65));
    check("one tile", &tiled::decode(&decoder, &latents, &CancelToken::default()).unwrap(), &whole);
    let canceled = CancelToken::default();
    canceled.cancel();
    assert!(matches!(tiled::decode(&decoder, &goldens["in"], &canceled), Err(Halt::Canceled)));
}
