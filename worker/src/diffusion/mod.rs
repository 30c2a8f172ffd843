//! Pure compute: from a [`GenerationSpec`] to [`Picture`]s.
//!
//! | module | what it holds |
//! |---|---|
//! | [`pipeline`] [`spec`] | the contract with everything outside: observer, outcome, model info; what to draw |
//! | [`cancel`] | the token that is read between blocks of the network |
//! | [`families`] | one file per kind of model: how a model folder becomes a [`Pipeline`] |
//! | [`schedulers`] | one file per sampler, table `SCHEDULERS`; sigma spacings |
//! | [`denoise`] [`guidance`] | the loop from noise to a clean latent, and what steers it |
//! | [`noise`] | torch's generators, so that a seed means the same everywhere |
//! | [`prompt`] | from text to chunks of weighted tokens |
//! | [`embeddings`] | textual inversion: words that stand for vectors |
//! | [`lora`] | low-rank adapters: files of many dialects, as patches of layers |
//! | [`preview`] | from clean latents to a rough picture |
//! | [`pixels`] | from the decoder's numbers to bytes; resizing and blurring |
//! | [`inpaint`] | what of a picture is drawn anew, and how it comes back into the picture |
//! | [`nn`] | the networks: CLIP text encoder, UNet2DCondition, AutoencoderKL, AutoencoderTiny's decoder |
//! | [`ops`] | the operations that the networks are written over, channels last |
//! | [`weights`] | model files: header check, mmap, tensors by name |
//! | [`placement`] | the device and the type that networks compute in |
//! | [`recent`] | what was made a moment ago and may be asked for again |
//!
//! # Invariants
//! * Knows no tokio, axum or protocol, and starts no thread of its own.
//! * All activations are channels last (`[batch, height, width, channels]`).
//! * Noise comes from `noise`, never from the device, so a seed means the same everywhere.

pub mod cancel;
pub mod denoise;
pub mod embeddings;
pub mod families;
pub mod guidance;
pub mod inpaint;
pub mod lora;
pub mod nn;
pub mod noise;
pub mod ops;
pub mod pipeline;
pub mod pixels;
pub mod placement;
pub mod preview;
pub mod prompt;
pub mod recent;
pub mod schedulers;
pub mod spec;
pub mod weights;

pub use cancel::CancelToken;
pub use pipeline::{
    CacheUse, Finished, GenerateError, HandedOver, MicroKind, ModelInfo, Observer, Outcome, Picture, Pipeline, StepView,
};
pub use placement::Placement;
pub use spec::{GenerationSpec, GuidanceSpec, ImageStart, LoraChoice, MaskSpec, MicroConditioning, Start};
