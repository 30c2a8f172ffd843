//! SDXL: two text encoders, the hidden state before the last, pooled text and sizes (Podell et al. 2024; diffusers'
//! `StableDiffusionXLPipeline`). Its refiner has the second encoder only.

use super::parts::{Layout, TextFolders};
use super::text::HiddenState;
use crate::diffusion::embeddings::TextEncoder;
use crate::diffusion::schedulers::AlignedModel;

const FIRST: TextFolders =
    TextFolders { encoder: TextEncoder::First, tokenizer: "tokenizer", reads: HiddenState::Penultimate };
const SECOND: TextFolders =
    TextFolders { encoder: TextEncoder::Second, tokenizer: "tokenizer_2", reads: HiddenState::Penultimate };

/// How the base model's folders are put together.
pub(super) static BASE: Layout = layout("sdxl", &[FIRST, SECOND]);

/// How the refiner's folders are put together.
pub(super) static REFINER: Layout = layout("sdxl_refiner", &[SECOND]);

const fn layout(family: &'static str, text: &'static [TextFolders]) -> Layout {
    let aligned = AlignedModel::Sdxl;
    Layout { family, text, guidance_scale: 5.0, sample_size: 128, aligned, corrects_scheduler: false }
}
