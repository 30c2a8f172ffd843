//! CUDA graphs.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaGraph, CudaStream, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{Result, bail};

/// What a GPU was told, to be told again at once. It reads and writes the memory that it was recorded with.
pub struct Recording(CudaGraph);

// SAFETY: the driver lets any thread use a graph, one at a time; `replay` has it alone.
unsafe impl Send for Recording {}

/// Records what `work` tells the device, and does none of it. All memory that `work` takes is to be given back in it.
///
/// # Errors
/// Those of `work`, and what the driver says of what cannot be recorded.
pub fn record<E: From<candle_core::Error>>(
    device: &CudaDevice,
    work: impl FnOnce() -> std::result::Result<(), E>,
) -> std::result::Result<Recording, E> {
    let stream = device.cuda_stream();
    // What is uploaded for kernels of candle must be there when they start, each time.
    let _uploads = device.enable_cuda_graph_htod_cache();
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).w()?;
    let capture = Capture(Some(stream));
    let worked = work();
    let recorded = capture.end();
    worked?;
    Ok(Recording(recorded?))
}

/// A stream that notes what it is told; ended when it is dropped.
struct Capture(Option<Arc<CudaStream>>);

impl Capture {
    fn end(mut self) -> Result<CudaGraph> {
        let stream = self.0.take().expect("a capture ends once");
        match stream.end_capture(sys::CUgraphInstantiate_flags(0)).w()? {
            Some(graph) => Ok(graph),
            None => bail!("nothing was recorded"),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            // A panic is on its way, and nobody wants the graph.
            drop(stream.end_capture(sys::CUgraphInstantiate_flags(0)));
        }
    }
}

impl Recording {
    /// Tells the device all of it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn replay(&mut self) -> Result<()> {
        self.0.launch().w()
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recording")
    }
}
