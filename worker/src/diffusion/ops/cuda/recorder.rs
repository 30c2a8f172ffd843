//! What a GPU was told for inputs of some shapes, told again at once: one call of the driver in place of hundreds.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, TensorId};
use sd_cuda_kernels::gpu;

use crate::diffusion::cancel::Halt;
use crate::diffusion::ops::immediate;
use crate::diffusion::placement::is_out_of_memory;

/// Shapes that stay recorded.
const RECORDINGS_MAX: usize = 4;

/// Notes what a GPU is told for inputs of some shapes, and tells it again at once: CUDA graphs.
#[derive(Debug, Default)]
pub struct Recorder {
    known: Mutex<Vec<Known>>,
    elsewhere: immediate::Recorder,
}

/// Inputs of some shapes.
#[derive(Debug)]
struct Known {
    shapes: Vec<(Shape, DType)>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Computed once, so that kernels are loaded and plans are made; this came out.
    Met(Shape, DType),
    /// Noted.
    Recorded(Recorded),
    /// Not to be noted.
    Refused,
}

/// A recording, with the memory that it reads and writes.
#[derive(Debug)]
struct Recorded {
    recording: gpu::Recording,
    inputs: Vec<Tensor>,
    /// What was copied into `inputs` last.
    holds: Vec<TensorId>,
    output: Tensor,
}

impl Recorder {
    /// What `work` makes of `inputs`, f32, f16 or bf16 on one device. The same has to be told of inputs of the same shapes,
    /// whatever is in them.
    ///
    /// # Errors
    /// Those of `work`, and what the driver says.
    pub fn run(
        &self,
        inputs: &[Tensor],
        work: impl Fn(&[Tensor]) -> std::result::Result<Tensor, Halt>,
    ) -> std::result::Result<Tensor, Halt> {
        let Some(Device::Cuda(device)) = inputs.first().map(Tensor::device) else {
            return self.elsewhere.run(inputs, work);
        };
        let shapes: Vec<_> = inputs.iter().map(|input| (input.shape().clone(), input.dtype())).collect();
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = all.iter().position(|known| known.shapes == shapes) else {
            // The same uploads as when it is noted.
            let uploads = device.enable_cuda_graph_htod_cache();
            let output = work(inputs)?;
            drop(uploads);
            all.push(Known { shapes, state: State::Met(output.shape().clone(), output.dtype()) });
            if all.len() > RECORDINGS_MAX {
                all.remove(0);
            }
            return Ok(output);
        };
        // The last is what was used last.
        let mut known = all.remove(at);
        if let State::Met(shape, dtype) = &known.state {
            match Recorded::new(inputs, (shape, *dtype), device, &work) {
                Ok(recorded) => known.state = State::Recorded(recorded),
                Err(Halt::Canceled) => {
                    all.push(known);
                    return Err(Halt::Canceled);
                }
                Err(Halt::Tensor(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "no CUDA graph of a step; steps take longer"
                    );
                    known.state = State::Refused;
                }
            }
        }
        let replayed = match &mut known.state {
            State::Recorded(recorded) => Some(recorded.replay(inputs)),
            State::Met(..) | State::Refused => None,
        };
        let output = match replayed {
            Some(Err(error)) if is_out_of_memory(&error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no memory for a CUDA graph; steps take longer"
                );
                // What it holds may be all that lacks.
                known.state = State::Refused;
                gpu::give_back(device)?;
                work(inputs)
            }
            Some(replayed) => replayed.map_err(Halt::from),
            None => work(inputs),
        };
        all.push(known);
        output
    }
}

impl Recorded {
    fn new(
        inputs: &[Tensor],
        (shape, dtype): (&Shape, DType),
        device: &candle_core::CudaDevice,
        work: &impl Fn(&[Tensor]) -> std::result::Result<Tensor, Halt>,
    ) -> std::result::Result<Self, Halt> {
        let holds = inputs.iter().map(Tensor::id).collect();
        let inputs = inputs.iter().map(Tensor::force_contiguous).collect::<Result<Vec<_>>>()?;
        let output = Tensor::zeros(shape, dtype, inputs[0].device())?;
        let recording = gpu::record(device, || Ok::<_, Halt>(output.slice_set(&work(&inputs)?, 0, 0)?))?;
        // A recording has memory of its own, and that of the first time is in its way.
        gpu::give_back(device)?;
        Ok(Self { recording, inputs, holds, output })
    }

    fn replay(&mut self, inputs: &[Tensor]) -> Result<Tensor> {
        for ((held, holds), input) in self.inputs.iter().zip(&mut self.holds).zip(inputs) {
            if *holds != input.id() {
                held.slice_set(&input.contiguous()?, 0, 0)?;
                *holds = input.id();
            }
        }
        self.recording.replay()?;
        self.output.force_contiguous()
    }
}
