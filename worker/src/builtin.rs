//! The model inside the binary: a small pipeline in the diffusers layout, so that the worker draws without any
//! download. What it is and how it was made stands in `worker/builtin/MODEL_CARD.md`.

use crate::diffusion::weights::{EmbeddedFile, ModelFiles};

/// What the catalogue calls it.
pub const NAME: &str = "builtin";

/// One row of [`FILES`].
macro_rules! embedded {
    ($($path:literal),+ $(,)?) => {
        &[$(EmbeddedFile { path: $path, bytes: include_bytes!(concat!("../builtin/model/", $path)) }),+]
    };
}

static FILES: &[EmbeddedFile] = embedded![
    "model_card.json",
    "model_index.json",
    "preview_basis.json",
    "preview_decoder/config.json",
    "preview_decoder/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// The files of the built-in model.
pub fn files() -> ModelFiles {
    ModelFiles::embedded(FILES)
}
