//! Launches on a GPU.

use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute_enum;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaView, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{Result, bail};

use crate::launch::{Argument, BLOCK_BYTES_MAX, Launch, Module};

/// Bytes that memory begins at a multiple of, as numbers are read several at a time.
const ALIGNMENT: u64 = 16;

impl Module {
    fn name(self) -> &'static str {
        match self {
            Self::Attention => "sd attention",
            Self::Ending => "sd ending",
            Self::Norm => "sd norm",
            Self::Patches => "sd patches",
        }
    }

    fn ptx(self) -> &'static str {
        match self {
            Self::Attention => include_str!(concat!(env!("OUT_DIR"), "/attention.ptx")),
            Self::Ending => include_str!(concat!(env!("OUT_DIR"), "/ending.ptx")),
            Self::Norm => include_str!(concat!(env!("OUT_DIR"), "/norm.ptx")),
            Self::Patches => include_str!(concat!(env!("OUT_DIR"), "/patches.ptx")),
        }
    }
}

/// Memory of a launch that is made for it.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Its place among what launches name.
    pub slot: usize,
    /// How many numbers it holds.
    pub len: usize,
}

/// Memory of a launch, where the GPU sees it.
#[derive(Clone, Copy, Debug)]
struct Memory {
    slot: usize,
    address: u64,
    bytes: usize,
}

/// Starts kernels one after the other: on `read`, by its place among what they name; on `scratch`, numbers in f32 that are
/// forgotten; and on what comes back, of which they write every number.
///
/// # Errors
/// When memory is missing, too small or not aligned to 16 bytes, and what the driver says.
pub fn run<N: DeviceRepr>(
    device: &CudaDevice,
    launches: &[Launch],
    read: &[(usize, CudaView<N>)],
    scratch: Option<Made>,
    result: Made,
) -> Result<CudaSlice<N>> {
    let stream = device.cuda_stream();
    // SAFETY: kernels write every number of their result before anybody reads it.
    let mut made = unsafe { device.alloc::<N>(result.len) }?;
    let scratch = match scratch {
        // SAFETY: one kernel writes it before the next reads it.
        Some(scratch) => Some((scratch, unsafe { device.alloc::<f32>(scratch.len) }?)),
        None => None,
    };
    {
        let mut memories = Vec::with_capacity(read.len() + 2);
        // What makes other streams wait, until the kernels are started.
        let mut waits = Vec::with_capacity(read.len() + 2);
        for (slot, numbers) in read {
            let (address, wait) = numbers.device_ptr(&stream);
            memories.push(Memory { slot: *slot, address, bytes: numbers.len() * size_of::<N>() });
            waits.push(wait);
        }
        if let Some((Made { slot, len }, numbers)) = &scratch {
            let (address, wait) = numbers.device_ptr(&stream);
            memories.push(Memory { slot: *slot, address, bytes: len * size_of::<f32>() });
            waits.push(wait);
        }
        let (address, wait) = made.device_ptr_mut(&stream);
        memories.push(Memory { slot: result.slot, address, bytes: result.len * size_of::<N>() });
        waits.push(wait);
        for launch in launches {
            start(device, launch, &memories)?;
        }
    }
    Ok(made)
}

fn start(device: &CudaDevice, launch: &Launch, memories: &[Memory]) -> Result<()> {
    let mut addresses = Vec::with_capacity(launch.arguments.len());
    for argument in &launch.arguments {
        let Argument::Memory { slot, bytes } = *argument else {
            addresses.push(0);
            continue;
        };
        match memories.iter().find(|memory| memory.slot == slot) {
            Some(memory) if memory.bytes >= bytes && memory.address.is_multiple_of(ALIGNMENT) => {
                addresses.push(memory.address);
            }
            other => bail!("{} wants {bytes} bytes in {slot}, not {other:?}", launch.kernel),
        }
    }
    let kernel = device.get_or_load_custom_func(&launch.kernel, launch.module.name(), launch.module.ptx())?;
    if launch.block_bytes as usize > BLOCK_BYTES_MAX {
        let bytes = i32::try_from(launch.block_bytes).map_err(candle_core::Error::wrap)?;
        kernel.set_attribute(CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes).w()?;
    }
    let mut builder = kernel.builder();
    for (argument, address) in launch.arguments.iter().zip(&addresses) {
        match argument {
            Argument::Memory { .. } | Argument::Null => builder.arg(address),
            Argument::Int(int) => builder.arg(int),
            Argument::Float(float) => builder.arg(float),
        };
    }
    let [grid_dim, block_dim] = [launch.grid, launch.block].map(|[x, y, z]| (x, y, z));
    let config = LaunchConfig { grid_dim, block_dim, shared_mem_bytes: launch.block_bytes };
    // SAFETY: a launch has the arguments of its kernel, which reads and writes no more of each memory than the launch says,
    // and that much is there. What is written was made for it.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}
