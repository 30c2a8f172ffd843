//! Which model a checkpoint is: diffusers' `infer_diffusers_model_type`, for the models that this worker knows.

use serde_json::json;

use super::Amendment;
use crate::diffusion::weights::files::EmbeddedFile;
use crate::diffusion::weights::header::Header;

/// A model whose configuration is in the binary.
#[derive(Debug)]
pub struct Kind {
    /// What messages call it.
    pub name: &'static str,
    /// Its published configuration in the diffusers layout, without vocabularies.
    pub files: &'static [EmbeddedFile],
}

/// The files of `worker/data/checkpoints/{folder}`.
macro_rules! published {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(EmbeddedFile {
            path: $path,
            bytes: include_bytes!(concat!("../../../../data/checkpoints/", $folder, "/", $path)),
        }),+]
    };
}

macro_rules! with_one_encoder {
    ($folder:literal) => {
        published![
            $folder:
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "tokenizer/special_tokens_map.json",
            "tokenizer/tokenizer_config.json",
            "unet/config.json",
            "vae/config.json",
        ]
    };
}

static SD1: Kind = Kind { name: "Stable Diffusion 1", files: with_one_encoder!("sd1") };
static SD1_INPAINTING: Kind =
    Kind { name: "Stable Diffusion 1 inpainting", files: with_one_encoder!("sd1-inpainting") };
static SD2: Kind = Kind { name: "Stable Diffusion 2", files: with_one_encoder!("sd2") };
static SD2_INPAINTING: Kind =
    Kind { name: "Stable Diffusion 2 inpainting", files: with_one_encoder!("sd2-inpainting") };
static SDXL: Kind = Kind {
    name: "Stable Diffusion XL",
    files: published![
        "sdxl":
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder_2/config.json",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer_2/special_tokens_map.json",
        "tokenizer_2/tokenizer_config.json",
        "unet/config.json",
        "vae/config.json",
    ],
};
static SDXL_REFINER: Kind = Kind {
    name: "Stable Diffusion XL refiner",
    files: published![
        "sdxl-refiner":
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder_2/config.json",
        "tokenizer_2/special_tokens_map.json",
        "tokenizer_2/tokenizer_config.json",
        "unet/config.json",
        "vae/config.json",
    ],
};

const FIRST_CONVOLUTION: &str = "model.diffusion_model.input_blocks.0.0.weight";
/// Its last side is the width of the text: 768 in SD 1, 1024 in SD 2; SDXL attends to none on this level.
const FIRST_CROSS_ATTENTION: &str = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight";
const SDXL_TEXT: &str = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias";
const SDXL_REFINER_TEXT: &str = "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias";
const SD1_TEXT: &str = "cond_stage_model.transformer.";

/// Tensors of models with this layout that need another sampler.
const REFUSED: &[(&str, &str)] = &[
    ("edm_mean", "Playground 2.5, which samples in the EDM formulation"),
    ("edm_vpred.sigma_max", "a model for the EDM formulation of v-prediction"),
];

/// What the tensors of `header` are, and what they say beyond the published configuration.
///
/// # Errors
/// Why they are no model that is known, as the end of a sentence.
pub(super) fn recognize(header: &Header) -> Result<(&'static Kind, Vec<Amendment>), String> {
    let has = |name: &str| header.tensors.contains_key(name);
    let Some(first) = header.tensors.get(FIRST_CONVOLUTION) else {
        return Err(format!("it has no tensor {FIRST_CONVOLUTION}"));
    };
    let &[_, channels, _, _] = first.shape.as_slice() else {
        return Err(format!("tensor {FIRST_CONVOLUTION} has shape {:?}, which is no convolution", first.shape));
    };
    if let Some((tensor, what)) = REFUSED.iter().find(|(tensor, _)| has(tensor)) {
        return Err(format!("its tensor {tensor} says that it is {what}"));
    }
    let width = header.tensors.get(FIRST_CROSS_ATTENTION).and_then(|entry| entry.shape.last());
    let inpaints = channels == 9;
    let kind = if has(SDXL_TEXT) {
        &SDXL
    } else if has(SDXL_REFINER_TEXT) {
        &SDXL_REFINER
    } else if width == Some(&1024) {
        if inpaints { &SD2_INPAINTING } else { &SD2 }
    } else if header.tensors.keys().any(|name| name.starts_with(SD1_TEXT)) {
        if inpaints { &SD1_INPAINTING } else { &SD1 }
    } else {
        return Err("it has no text encoder that Stable Diffusion 1, 2 or XL has".into());
    };
    Ok((kind, amendments(header, kind, channels)))
}

/// What follows for the configuration of `kind` when the operator says what the network predicts: of the published
/// models with the layout of Stable Diffusion 2, those that predict noise were trained on 512 px, not 768.
pub(super) fn amendment_for(kind: &Kind, prediction_type: &str) -> Option<Amendment> {
    let is_smaller = std::ptr::eq(kind, &SD2) && prediction_type == "epsilon";
    is_smaller.then(|| Amendment { file: "unet/config.json", key: "sample_size", value: json!(64) })
}

fn amendments(header: &Header, kind: &Kind, channels: usize) -> Vec<Amendment> {
    let has = |name: &str| header.tensors.contains_key(name);
    let mut amendments = Vec::new();
    let mut amend = |file, key, value| amendments.push(Amendment { file, key, value });
    amend("unet/config.json", "in_channels", json!(channels));
    if std::ptr::eq(kind, &SDXL) && channels == 9 {
        // Diffusers' inpainting model of this family is the base model with five channels more.
        amend("model_index.json", "_class_name", json!("StableDiffusionXLInpaintPipeline"));
    }
    // Empty tensors by which fine-tunes of SDXL say how they were trained.
    if has("v_pred") {
        amend("scheduler/scheduler_config.json", "prediction_type", json!("v_prediction"));
    }
    if has("ztsnr") {
        amend("scheduler/scheduler_config.json", "rescale_betas_zero_snr", json!(true));
    }
    amendments
}
