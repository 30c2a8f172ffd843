//! Stable Diffusion 1 and 2: one CLIP text encoder, its last hidden state (diffusers' `StableDiffusionPipeline`).

use super::parts::{Layout, TextFolders};
use super::text::HiddenState;
use crate::diffusion::embeddings::TextEncoder;
use crate::diffusion::schedulers::AlignedModel;

/// How its folders are put together.
pub(super) static LAYOUT: Layout = Layout {
    family: "sd",
    text: &[TextFolders { encoder: TextEncoder::First, tokenizer: "tokenizer", reads: HiddenState::Last }],
    guidance_scale: 7.5,
    sample_size: 64,
    aligned: AlignedModel::Sd15,
    corrects_scheduler: true,
};
