//! What stands in for a kind of device that this build does not know: a sentence that says how to get one that does.

/// NVIDIA GPUs.
#[cfg(not(feature = "cuda"))]
pub(super) mod cuda {
    use candle_core::Device;

    use crate::device::{DeviceError, Dtype, OpenDevice};

    pub(in crate::device) fn may_be_here() -> bool {
        false
    }

    pub(in crate::device) fn open(_index: Option<usize>, _dtype: Dtype) -> Result<Vec<OpenDevice>, DeviceError> {
        Err(DeviceError::NotBuilt { kind: "cuda", build: "`cargo xtask cuda`" })
    }

    pub(in crate::device) fn give_back(_device: &Device) {}
}

/// Apple's GPUs.
#[cfg(not(feature = "metal"))]
pub(super) mod metal {
    use crate::device::{DeviceError, Dtype, OpenDevice};

    pub(in crate::device) fn may_be_here() -> bool {
        false
    }

    pub(in crate::device) fn open(_dtype: Dtype) -> Result<OpenDevice, DeviceError> {
        Err(DeviceError::NotBuilt { kind: "metal", build: "`--features metal` on a Mac" })
    }
}
