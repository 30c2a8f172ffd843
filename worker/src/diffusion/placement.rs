//! Where the networks of a model live, and the type that they compute in.

use candle_core::{DType, Device};

/// Where the networks of a model live, and the type that they compute in.
///
/// Noise, schedules and latents between the steps are f32 or f64 whatever it is: only what goes through a network is
/// rounded to it.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Of weights and activations.
    pub device: Device,
    /// Of the text encoders and the UNet; [`Self::vae_dtype`] is that of the autoencoder.
    pub dtype: DType,
}

impl Placement {
    /// The reference that every other placement is held against: f32 on the CPU.
    pub const fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32 }
    }

    /// The type of an autoencoder whose configuration says `force_upcast`: f16 overflows in it, bf16 does not
    /// (diffusers' `upcast_vae`, which its pipelines for Stable Diffusion 1 and 2 leave out).
    pub fn vae_dtype(&self, force_upcast: bool) -> DType {
        if self.dtype == DType::F16 && force_upcast { DType::F32 } else { self.dtype }
    }
}

/// Whether a computation failed because the device's memory is full.
pub fn is_out_of_memory(error: &candle_core::Error) -> bool {
    // The error of a driver arrives boxed, under any number of contexts; its name is in the text in every case.
    ["OUT_OF_MEMORY", "out of memory", "ALLOC_FAILED"].iter().any(|sign| error.to_string().contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_memory_is_told_from_other_errors() {
        let of = |text: &str| is_out_of_memory(&candle_core::Error::Msg(text.into()).context("loading"));
        assert!(of("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"));
        assert!(of("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"));
        assert!(!of("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"…\")"));
    }
}
