//! Apple's GPUs, through candle's Metal device.

use candle_core::Device;

use super::gpu::{Fault, broken, dtype_or_default, tried};
use super::{DeviceError, DeviceInfo, Dtype, OpenDevice, in_candle};
use crate::diffusion::Placement;

/// Builds with Metal run where there is a GPU.
pub(super) fn may_be_here() -> bool {
    true
}

/// The machine's GPU.
pub(super) fn open(dtype: Dtype) -> Result<OpenDevice, DeviceError> {
    let dtype = dtype_or_default(dtype);
    let device = tried(|| Device::new_metal(0), dtype).map_err(|fault| match fault {
        Fault::WrongNumbers => broken("metal", "it computes wrong numbers"),
        Fault::Error(text) => broken("metal", &text),
        // Virtual machines may have none, which candle does not look for.
        Fault::Panic(_) => broken("metal", "there is no Metal GPU here"),
    })?;
    tracing::info!(%dtype, "the GPU draws");
    // Its memory is the machine's.
    let info = DeviceInfo { name: "metal".into(), label: "Apple GPU".into(), dtype, memory_bytes: None };
    Ok(OpenDevice { placement: Placement { device, dtype: in_candle(dtype) }, info })
}
