//! The networks, written once over [`ops`](super::ops), each built from the `config.json` that diffusers and
//! transformers write.
//!
//! | module | what it holds |
//! |---|---|
//! | [`clip_text`] | CLIP's text encoder |
//! | [`unet`] | UNet2DConditionModel |
//! | [`vae`] | AutoencoderKL |
//! | [`taesd`] | the decoder of AutoencoderTiny, for previews |
//! | [`blocks`] | what UNet and VAE share: residual blocks, up- and downsampling |
//! | [`transformer`] | the attention blocks of the UNet |
//! | [`time`] | the embedding of a timestep, a size, a guidance scale |
//!
//! # Invariants
//! * A network owns its weights and nothing else; a call changes nothing in it.
//! * Every call takes the cancel token and reads it before each block.
//! * A network computes in the dtype that it was loaded in, whatever goes in, and what comes out is f32, so that the
//!   walk from noise to a picture is in f32. On the CPU candle multiplies no bf16 matrices, and f16 ones slowly.
//! * Names of tensors are those of diffusers and transformers.

pub mod blocks;
pub mod clip_text;
pub mod taesd;
pub mod time;
pub mod transformer;
pub mod unet;
pub mod vae;
