//! AutoencoderKL (Rombach et al. 2022; diffusers' class of that name).
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `vae/config.json` |
//! | [`encoder`] | from pictures to the distribution of their latents |
//! | [`decoder`] | from latents to pictures |
//! | [`tiled`] | from latents to pictures in little memory |
//! | `middle` | the attention between two residual blocks that both halves have |
//!
//! Latents that go in and come out are those of the UNet, of about unit variance: the scaling factor of the
//! configuration is applied in here, and nowhere else.

pub mod config;
pub mod decoder;
pub mod encoder;
mod middle;
pub mod tiled;

pub use config::VaeConfig;
pub use decoder::VaeDecoder;
pub use encoder::{Posterior, VaeEncoder};
