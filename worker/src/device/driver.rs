//! What CUDA's driver and its bindings say where a GPU cannot be used, and what that means for whoever started the worker.

use super::DeviceError;
use super::gpu::broken;

/// A release of CUDA as its bindings count: 13000 for 13.0.
#[derive(Clone, Copy, Debug)]
pub(super) struct CudaVersion(pub u32);

impl CudaVersion {
    /// What an error of the driver means for the GPU `device`, which its maker calls `label`. Errors of kernels arrive as
    /// text of several kinds, which all hold the driver's name for them.
    pub(super) fn driver_error(self, device: &str, label: &str, text: &str) -> DeviceError {
        let has = |names: &[&str]| names.iter().any(|name| text.contains(name));
        let device = device.to_owned();
        if has(&["UNSUPPORTED_PTX_VERSION", "INSUFFICIENT_DRIVER", "SYSTEM_DRIVER_MISMATCH", "COMPAT_NOT_SUPPORTED"]) {
            DeviceError::DriverTooOld { device, cuda: self.said() }
        } else if has(&["NO_BINARY_FOR_GPU", "INVALID_PTX"]) {
            DeviceError::GpuTooOld { device, label: label.into() }
        } else if has(&["OUT_OF_MEMORY", "ALLOC_FAILED"]) {
            DeviceError::NoMemory { device }
        } else {
            broken(&device, text)
        }
    }

    /// What a panic of the bindings means: they panic where a library, or a function of an old one, is missing.
    pub(super) fn library_error(self, device: &str, panic: &str) -> DeviceError {
        let Some((_, rest)) = panic.split_once("dynamically load the \"") else { return broken(device, panic) };
        match rest.split('"').next().unwrap_or(rest) {
            "cuda" => DeviceError::NoDriver,
            library => DeviceError::NoLibrary { library: format!("lib{library}.so"), cuda: self.said() },
        }
    }

    fn said(self) -> String {
        format!("{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}
