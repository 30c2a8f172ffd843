//! Where tensors live and in which type: the only file that asks which devices this build knows and what each can do.

use std::fmt;

use candle_core::{DType, Device};
use clap::ValueEnum;
use serde::Deserialize;

use crate::diffusion::Placement;

/// The type that networks compute in, as an operator asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// What suits the device.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, IEEE half precision.
    F16,
    /// 16 bits with the range of f32.
    Bf16,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// A type that the device cannot compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--dtype {asked} is not possible on the CPU, which multiplies matrices in f32 and f16; leave it out for f32")]
pub struct UnsupportedDtype {
    asked: Dtype,
}

/// The device that models are loaded on, and the type that they compute in there.
///
/// # Errors
/// When the device cannot compute in the type asked for.
pub fn open(dtype: Dtype) -> Result<Placement, UnsupportedDtype> {
    let dtype = match dtype {
        Dtype::Auto | Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => return Err(UnsupportedDtype { asked: dtype }),
    };
    Ok(Placement { device: Device::Cpu, dtype })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_says_what_it_can() {
        let dtype_of = |asked| open(asked).map(|placement| placement.dtype);
        assert_eq!(dtype_of(Dtype::Auto), Ok(DType::F32));
        assert_eq!(dtype_of(Dtype::F16), Ok(DType::F16));
        let refusal = dtype_of(Dtype::Bf16).unwrap_err().to_string();
        assert!(refusal.starts_with("--dtype bf16 is not possible on the CPU"), "{refusal}");
    }

    #[test]
    fn types_have_one_name_in_flags_and_files() {
        for dtype in Dtype::value_variants() {
            let name = dtype.to_string();
            assert_eq!(Dtype::from_str(&name, false).as_ref(), Ok(dtype));
            assert_eq!(serde_json::from_value::<Dtype>(name.into()).unwrap(), *dtype);
        }
    }
}
