//! NVIDIA GPUs, through candle and the CUDA driver.

use std::path::Path;

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, sys};
use candle_core::cuda_backend::set_gemm_reduced_precision_f32;

use super::driver::CudaVersion;
use super::gpu::{Fault, broken, caught, dtype_or_default, tried};
use super::{DeviceError, DeviceInfo, Dtype, OpenDevice, in_candle};
use crate::diffusion::Placement;

/// One of these is there wherever a driver is loaded: on Linux, in its containers, and in its Windows subsystem.
const SIGNS_OF_A_DRIVER: [&str; 3] = ["/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg"];

/// The release that this program speaks.
const CUDA: CudaVersion = CudaVersion(sys::CUDA_VERSION);

/// Whether it is worth to try. Nothing is loaded for the answer.
pub(super) fn may_be_here() -> bool {
    SIGNS_OF_A_DRIVER.iter().any(|path| Path::new(path).exists())
}

/// The GPU with that number, or all that can be used.
pub(super) fn open(index: Option<usize>, dtype: Dtype) -> Result<Vec<OpenDevice>, DeviceError> {
    if !may_be_here() {
        return Err(DeviceError::NoDriver);
    }
    let count = count(index)?;
    if let Some(index) = index {
        if index >= count {
            let found = if count == 1 { "there is only cuda:0".into() } else { format!("there are {count} GPUs") };
            return Err(DeviceError::NoGpu { asked: format!("cuda:{index}"), found });
        }
        return Ok(vec![open_one(index, dtype)?]);
    }
    let (mut usable, mut failed) = (Vec::with_capacity(count), Vec::new());
    for index in 0..count {
        match open_one(index, dtype) {
            Ok(device) => usable.push(device),
            Err(error) => failed.push(error),
        }
    }
    if usable.is_empty() {
        return Err(failed.swap_remove(0));
    }
    for error in &failed {
        tracing::warn!(error = error as &dyn std::error::Error, "a GPU is left out");
    }
    Ok(usable)
}

/// How many GPUs there are, at least one.
fn count(asked: Option<usize>) -> Result<usize, DeviceError> {
    let asked = asked.map_or_else(|| "cuda".into(), |index| format!("cuda:{index}"));
    let none = || DeviceError::NoGpu { asked: asked.clone(), found: "the NVIDIA driver finds no GPU".into() };
    match caught(CudaContext::device_count) {
        Ok(Ok(0)) => Err(none()),
        Ok(Ok(count)) => Ok(count as usize),
        Ok(Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE))) => Err(none()),
        Ok(Err(error)) => Err(CUDA.driver_error(&asked, "the GPU", &error.to_string())),
        Err(panic) => Err(CUDA.library_error(&asked, &panic)),
    }
}

fn open_one(index: usize, dtype: Dtype) -> Result<OpenDevice, DeviceError> {
    let name = format!("cuda:{index}");
    let dtype = dtype_or_default(dtype);
    // What is computed in f32 beside networks of 16 bits is there for its range: TF32 has that, and as many digits as f16.
    set_gemm_reduced_precision_f32(dtype != Dtype::F32);
    let described = caught(|| {
        let context = CudaContext::new(index)?;
        Ok::<_, DriverError>((context.name()?, context.total_mem()? as u64))
    });
    let (label, memory_bytes) = match described {
        Ok(Ok(described)) => described,
        Ok(Err(error)) => return Err(CUDA.driver_error(&name, "the GPU", &error.to_string())),
        Err(panic) => return Err(CUDA.library_error(&name, &panic)),
    };
    let device = tried(|| sd_cuda_kernels::gpu::open(index), dtype).map_err(|fault| match fault {
        Fault::WrongNumbers => broken(&name, "it computes wrong numbers"),
        Fault::Error(text) => CUDA.driver_error(&name, &label, &text),
        Fault::Panic(message) => CUDA.library_error(&name, &message),
    })?;
    tracing::info!(device = name, label, %dtype, memory_mb = memory_bytes / 1_000_000, "a GPU draws");
    let placement = Placement { device, dtype: in_candle(dtype) };
    Ok(OpenDevice { placement, info: DeviceInfo { name, label, dtype, memory_bytes: Some(memory_bytes) } })
}

/// Gives memory back that is kept for what is computed next.
pub(super) fn give_back(device: &Device) {
    if let Device::Cuda(gpu) = device
        && let Err(error) = sd_cuda_kernels::gpu::give_back(gpu)
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "a GPU keeps memory that nothing uses");
    }
}
