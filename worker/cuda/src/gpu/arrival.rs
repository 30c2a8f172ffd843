//! Copies to the machine's memory, beside what is computed.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, PinnedHostSlice};
use candle_core::{CudaDevice, Result, Storage, Tensor, bail};

/// A way from a GPU to the machine's memory that nothing computed has to wait for.
#[derive(Debug)]
pub struct Arrivals {
    beside: Arc<CudaStream>,
    spare: Spare,
}

/// Memory that nobody reads any more; something may still be on its way into it.
type Spare = Arc<Mutex<Vec<PinnedHostSlice<f32>>>>;

/// Numbers on their way. Dropped, it waits for nothing.
#[derive(Debug)]
pub struct Arrival {
    /// Nothing while it is dropped.
    numbers: Option<PinnedHostSlice<f32>>,
    computed: CudaEvent,
    copied: CudaEvent,
    computes: Arc<CudaStream>,
    spare: Spare,
    _from: Tensor,
}

impl Arrivals {
    /// Beside the stream of `device`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        Ok(Self { beside: device.cuda_stream().context().new_stream().w()?, spare: Spare::default() })
    }

    /// Sends `x`, f32 on the GPU, as soon as it is computed.
    ///
    /// # Errors
    /// What the driver says.
    pub fn expect(&self, x: &Tensor) -> Result<Arrival> {
        let x = x.contiguous()?;
        let len = x.elem_count();
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A copy is as long as what it is copied into.
        let mut numbers = match spare.filter(|spare| spare.len() == len) {
            Some(spare) => spare,
            // SAFETY: it is written before it is read.
            None => unsafe { self.beside.context().alloc_pinned_with_flags(len, 0) }.w()?,
        };
        let (computes, computed) = {
            let (storage, layout) = x.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else { bail!("a tensor is not on the GPU") };
            let computes = storage.device.cuda_stream();
            let computed = computes.record_event(None).w()?;
            self.beside.wait(&computed).w()?;
            let start = layout.start_offset();
            let from = storage.as_cuda_slice::<f32>()?.slice(start..start + len);
            self.beside.memcpy_dtoh(&from, &mut numbers).w()?;
            (computes, computed)
        };
        let copied = self.beside.record_event(None).w()?;
        let spare = Arc::clone(&self.spare);
        Ok(Arrival { numbers: Some(numbers), computed, copied, computes, spare, _from: x })
    }
}

impl Arrival {
    /// Waits until everything is computed that the device was told before this.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn wait(&self) -> Result<()> {
        self.computed.synchronize().w()
    }

    /// Waits for the numbers.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        let Some(numbers) = &self.numbers else { bail!("these numbers were given back") };
        self.copied.synchronize().w()?;
        Ok(numbers.as_slice().w()?.to_vec())
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // What is computed next may be given the memory that is copied from.
        if let Err(error) = self.computes.wait(&self.copied) {
            tracing::error!(%error, "a GPU does not wait for a copy");
        }
        if let Some(numbers) = self.numbers.take() {
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(numbers);
        }
    }
}
