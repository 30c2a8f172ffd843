//! Numbers on their way to the machine's memory while the GPU goes on.

use candle_core::{Device, Result, Tensor};
use sd_cuda_kernels::gpu;

use crate::diffusion::ops::immediate;

/// A way to the machine's memory from a GPU, or from a CPU beside it.
#[derive(Debug)]
pub enum Arrivals {
    /// From a GPU.
    Gpu(gpu::Arrivals),
    /// From elsewhere.
    Immediate(immediate::Arrivals),
}

/// Numbers on their way.
#[derive(Debug)]
pub enum Arrival {
    /// From a GPU.
    Gpu(gpu::Arrival),
    /// From elsewhere.
    Immediate(immediate::Arrival),
}

impl Arrivals {
    /// From `device`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(match device {
            Device::Cuda(gpu) => Self::Gpu(gpu::Arrivals::new(gpu)?),
            _ => Self::Immediate(immediate::Arrivals::new(device)?),
        })
    }

    /// How many may be on their way while the device goes on: what it is told next, it is told before it is done.
    pub fn ahead(&self) -> usize {
        match self {
            Self::Gpu(_) => 1,
            Self::Immediate(arrivals) => arrivals.ahead(),
        }
    }

    /// Sends `x`, f32, as soon as it is computed.
    ///
    /// # Errors
    /// What the driver says.
    pub fn expect(&self, x: &Tensor) -> Result<Arrival> {
        Ok(match self {
            Self::Gpu(arrivals) => Arrival::Gpu(arrivals.expect(x)?),
            Self::Immediate(arrivals) => Arrival::Immediate(arrivals.expect(x)?),
        })
    }
}

impl Arrival {
    /// Waits until everything is computed that the device was told before this.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn wait(&self) -> Result<()> {
        match self {
            Self::Gpu(arrival) => arrival.wait(),
            Self::Immediate(arrival) => arrival.wait(),
        }
    }

    /// Waits for the numbers.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        match self {
            Self::Gpu(arrival) => arrival.numbers(),
            Self::Immediate(arrival) => arrival.numbers(),
        }
    }
}
