//! What all GPUs have in common: a first computation, and bindings of drivers that panic.

use std::panic::{self, UnwindSafe};

use candle_core::{DType, Device, Result as Computed, Tensor};

use super::{DeviceError, Dtype, in_candle};

/// A GPU, where half the bytes are twice the speed. f16 rounds eight times finer than bf16; what overflows in it is
/// computed in f32 where a model says so.
pub(super) fn dtype_or_default(dtype: Dtype) -> Dtype {
    if dtype == Dtype::Auto { Dtype::F16 } else { dtype }
}

/// What a GPU that cannot be used does instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It computes, and wrongly.
    WrongNumbers,
    /// What the driver says.
    Error(String),
    /// The message of a panic of the bindings.
    Panic(String),
}

/// A device that has shown that it computes: in `dtype`, and in f32, which latents are whatever was asked for.
pub(super) fn tried(open: impl FnOnce() -> Computed<Device> + UnwindSafe, dtype: Dtype) -> Result<Device, Fault> {
    let opened = caught(|| {
        let device = open()?;
        let is_right = computes(&device, DType::F32)? && computes(&device, in_candle(dtype))?;
        Ok::<_, candle_core::Error>((device, is_right))
    });
    match opened {
        Ok(Ok((device, true))) => Ok(device),
        Ok(Ok((_, false))) => Err(Fault::WrongNumbers),
        Ok(Err(error)) => Err(Fault::Error(error.to_string())),
        Err(message) => Err(Fault::Panic(message)),
    }
}

/// What is told where nothing better is known: the first line of `reason`, as a backtrace may follow.
pub(super) fn broken(device: &str, reason: &str) -> DeviceError {
    let reason = reason.lines().next().unwrap_or(reason).into();
    DeviceError::Broken { device: device.into(), reason }
}

/// Multiplies two small matrices, adds, and reads the result: enough to find out whether kernels run and libraries are
/// there.
fn computes(device: &Device, dtype: DType) -> Computed<bool> {
    let ones = Tensor::ones((16, 16), dtype, device)?;
    let sums = (ones.matmul(&ones)? + 1.0)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(sums.iter().all(|sum| *sum == 17.0))
}

/// What `work` returns, or the message of its panic: bindings of drivers panic where a library is missing. The message
/// goes nowhere else; there is only one thread that opens devices, before the others start.
pub(super) fn caught<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(work);
    panic::set_hook(hook);
    outcome.map_err(|payload| match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast::<&str>().map_or_else(|_| "it panicked".into(), |message| (*message).into()),
    })
}
