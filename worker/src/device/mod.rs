//! Where tensors live and in which type: the only folder that asks which devices this build knows and what each can do.
//!
//! | module | what it holds |
//! |---|---|
//! | `choice` | what an operator asks for: `--device`, `--dtype` |
//! | `cuda` | NVIDIA GPUs, in builds with the feature `cuda` |
//! | `driver` | what CUDA says where it cannot be used, and what that means |
//! | `metal` | Apple's GPUs, in builds with the feature `metal` |
//! | `gpu` | what all GPUs have in common: the first computation |
//! | `absent` | what stands in for a kind of device that this build does not know |
//!
//! # Invariants
//! * A device is handed out only after it has computed something: drivers and libraries that are missing or too old show
//!   when the worker starts, as a sentence that says what to do.

#[cfg(not(all(feature = "cuda", feature = "metal")))]
mod absent;
mod choice;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(feature = "cuda", test))]
mod driver;
#[cfg(any(feature = "cuda", feature = "metal", test))]
mod gpu;
#[cfg(feature = "metal")]
mod metal;

#[cfg(not(feature = "cuda"))]
use self::absent::cuda;
#[cfg(not(feature = "metal"))]
use self::absent::metal;

pub use self::choice::{DeviceChoice, Dtype, InvalidDevice};

use candle_core::{DType, Device};

use crate::diffusion::Placement;

/// A device that computes.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    /// Where models are loaded, and the type that they compute in there.
    pub placement: Placement,
    /// What people are told about it.
    pub info: DeviceInfo,
}

impl OpenDevice {
    /// Gives memory back that is kept for what is computed next.
    pub fn give_back(&self) {
        cuda::give_back(&self.placement.device);
    }
}

/// What is told about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// As `--device` names it: `cpu`, `cuda:0`, `metal`.
    pub name: String,
    /// As its maker names it.
    pub label: String,
    /// The type that networks compute in there.
    pub dtype: Dtype,
    /// Memory of its own; nothing where it shares the machine's.
    pub memory_bytes: Option<u64>,
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The program was compiled without that kind of device.
    #[error(
        "--device {kind} is not possible: this worker was built without it. Build one with {build}, or use --device cpu"
    )]
    NotBuilt {
        /// `cuda` or `metal`.
        kind: &'static str,
        /// The command.
        build: &'static str,
    },
    /// There is no driver.
    #[error(
        "--device cuda is not possible: no NVIDIA driver is loaded here. Install it (in a container, pass the GPU in with \
         `--gpus all` or its like), or use --device cpu"
    )]
    NoDriver,
    /// There is a driver, and no GPU that it drives.
    #[error("--device {asked} is not possible: {found} here. `nvidia-smi` lists GPUs; or use --device cpu")]
    NoGpu {
        /// What was asked for.
        asked: String,
        /// What there is instead.
        found: String,
    },
    /// A library of CUDA is missing.
    #[error(
        "--device cuda is not possible: the library {library} was not found. Install the CUDA {cuda} runtime libraries \
         (cuBLAS, cuRAND), or name the folder that holds them in LD_LIBRARY_PATH; or use --device cpu"
    )]
    NoLibrary {
        /// Which.
        library: String,
        /// The version of CUDA that this program speaks.
        cuda: String,
    },
    /// The driver does not know the CUDA of this build.
    #[error(
        "--device {device} is not possible: the NVIDIA driver is too old for CUDA {cuda}, which this worker was built \
         with. Update the driver, or use --device cpu"
    )]
    DriverTooOld {
        /// Which GPU.
        device: String,
        /// The version of CUDA that this program speaks.
        cuda: String,
    },
    /// The kernels of this build do not run on that GPU.
    #[error(
        "--device {device} is not possible: {label} cannot run the kernels of this build. `cargo xtask cuda \
         --compute-capability` builds them for older GPUs; or use --device cpu"
    )]
    GpuTooOld {
        /// Which GPU.
        device: String,
        /// Its maker's name.
        label: String,
    },
    /// Others have taken the memory.
    #[error(
        "--device {device} is not possible: its memory is full. Stop what else runs on it (`nvidia-smi` lists that), or \
         use --device cpu"
    )]
    NoMemory {
        /// Which GPU.
        device: String,
    },
    /// Whatever else the driver says.
    #[error("--device {device} is not possible: {reason}; mend that, or use --device cpu")]
    Broken {
        /// Which device.
        device: String,
        /// What the driver says.
        reason: String,
    },
}

/// The devices that models are loaded on, never none. One that is not asked for by its number and cannot be used is
/// left out with a warning, as long as another can.
///
/// # Errors
/// When a device that was asked for cannot be used.
pub fn open(choice: DeviceChoice, dtype: Dtype) -> Result<Vec<OpenDevice>, DeviceError> {
    match choice {
        DeviceChoice::Cpu => Ok(vec![cpu(dtype)]),
        DeviceChoice::Cuda(index) => cuda::open(index, dtype),
        DeviceChoice::Metal => Ok(vec![metal::open(dtype)?]),
        DeviceChoice::Auto => {
            let gpus = if cuda::may_be_here() {
                cuda::open(None, dtype)
            } else if metal::may_be_here() {
                metal::open(dtype).map(|device| vec![device])
            } else {
                return Ok(vec![cpu(dtype)]);
            };
            Ok(gpus.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the GPU is left alone; the CPU draws");
                vec![cpu(dtype)]
            }))
        }
    }
}

fn cpu(dtype: Dtype) -> OpenDevice {
    let dtype = if dtype == Dtype::Auto { Dtype::F32 } else { dtype };
    let info = DeviceInfo { name: "cpu".into(), label: "CPU".into(), dtype, memory_bytes: None };
    OpenDevice { placement: Placement { device: Device::Cpu, dtype: in_candle(dtype) }, info }
}

fn in_candle(dtype: Dtype) -> DType {
    match dtype {
        Dtype::Auto | Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
    }
}

#[cfg(test)]
mod tests;
