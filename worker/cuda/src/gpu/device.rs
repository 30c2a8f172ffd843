//! GPUs, and the memory that is kept on them.

use std::ptr::from_mut;

use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{Device, Result};

/// Opens the GPU of that number, with a stream of its own. What is freed on it is kept for what is computed next, until
/// [`give_back`].
///
/// # Errors
/// What the driver says.
pub fn open(index: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: one stream computes, and so in the order in which it is told; what is copied beside it waits by events.
    unsafe { cuda.disable_event_tracking() };
    let mut all = u64::MAX;
    let pool = pool(cuda)?;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a number of 64 bits.
    unsafe { result::mem_pool::set_attribute(pool, threshold, from_mut(&mut all).cast()) }.w()?;
    Ok(device)
}

/// Gives the memory back that is kept and not in use.
///
/// # Errors
/// What the driver says.
pub fn give_back(device: &CudaDevice) -> Result<()> {
    let stream = device.cuda_stream();
    stream.synchronize().w()?;
    let pool = pool(device)?;
    // SAFETY: both take memory alone that nothing uses.
    unsafe {
        sys::cuDeviceGraphMemTrim(number(device)?).result().w()?;
        result::mem_pool::trim_to(pool, 0).w()
    }
}

/// Where the memory of the device's streams comes from.
fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    device.cuda_stream().context().bind_to_thread().w()?;
    // SAFETY: the number is that of a device that is open.
    unsafe { result::device::get_mem_pool(number(device)?) }.w()
}

/// As the driver calls the device.
fn number(device: &CudaDevice) -> Result<sys::CUdevice> {
    let stream = device.cuda_stream();
    let index = i32::try_from(stream.context().ordinal()).map_err(candle_core::Error::wrap)?;
    result::device::get(index).w()
}
