//! The networks, written once over [`ops`](super::ops), each built from the `config.json` that diffusers and
//! transformers write.
//!
//! | module | what it holds |
//! |---|---|
//! | [`clip_text`] | CLIP's text encoder |
//! | [`unet`] | UNet2DConditionModel |
//! | [`vae`] | the decoder of AutoencoderKL |
//! | [`blocks`] | what UNet and VAE share: residual blocks, up- and downsampling |
//! | [`transformer`] | the attention blocks of the UNet |
//! | [`time`] | the embedding of a timestep |
//!
//! # Invariants
//! * A network owns its weights and nothing else; a call changes nothing in it.
//! * Every call takes the cancel token and reads it before each block.
//! * Names of tensors are those of diffusers and transformers.

pub mod blocks;
pub mod clip_text;
pub mod time;
pub mod transformer;
pub mod unet;
pub mod vae;
