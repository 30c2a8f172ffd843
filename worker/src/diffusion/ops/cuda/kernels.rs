//! Operations as launches of [`sd_cuda_kernels`] and products of cuBLAS. Each function takes the type of the numbers, and
//! goes through [`reference`](mod@super::super::reference) where sizes are beyond the kernels.

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::cuda_backend::{CudaDType, CudaStorage};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor};
use half::{bf16, f16};
use sd_cuda_kernels::patches::Patches;
use sd_cuda_kernels::{Launch, Made, Number, attention, ending, norm};

use crate::diffusion::ops::{
    Activation, Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, SCRATCH_BYTES_MAX, reference, shapes,
};

/// Bytes that numbers begin at a multiple of, so that several are read at a time.
const ALIGNMENT: usize = 16;

/// Kernels, and the tensors that they read.
struct Kernels<'a> {
    launches: &'a [Launch],
    /// By their places among what launches name.
    read: Vec<(usize, Tensor)>,
    scratch: Option<Made>,
    slot: usize,
    shape: Shape,
}

impl Kernels<'_> {
    /// What the kernels make of `read`, which are all of one type.
    fn run(
        launches: &[Launch],
        read: &[(usize, &Tensor)],
        scratch: Option<Made>,
        slot: usize,
        shape: impl Into<Shape>,
    ) -> Result<Tensor> {
        let read = read.iter().map(|(slot, tensor)| Ok((*slot, aligned(tensor)?))).collect::<Result<Vec<_>>>()?;
        let kernels = Kernels { launches, read, scratch, slot, shape: shape.into() };
        let first = kernels.read[0].1.clone();
        first.apply_op1_no_bwd(&kernels)
    }

    fn made<N: CudaDType + DeviceRepr>(&self, storage: &CudaStorage) -> Result<CudaStorage> {
        let stored: Vec<_> = self.read.iter().map(|(_, tensor)| tensor.storage_and_layout()).collect();
        let mut read = Vec::with_capacity(stored.len());
        for ((slot, _), (storage, layout)) in self.read.iter().zip(&stored) {
            let Storage::Cuda(storage) = &**storage else { candle_core::bail!("a tensor is not on the GPU") };
            let Some((start, end)) = layout.contiguous_offsets() else {
                candle_core::bail!("a tensor is not contiguous")
            };
            read.push((*slot, storage.as_cuda_slice::<N>()?.slice(start..end)));
        }
        let result = Made { slot: self.slot, len: self.shape.elem_count() };
        let made = sd_cuda_kernels::run(&storage.device, self.launches, &read, self.scratch, result)?;
        Ok(CudaStorage::wrap_cuda_slice(made, storage.device.clone()))
    }
}

impl CustomOp1 for Kernels<'_> {
    fn name(&self) -> &'static str {
        "sd kernels"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("these kernels are for GPUs")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let made = match self.read[0].1.dtype() {
            DType::F32 => self.made::<f32>(storage),
            DType::F16 => self.made::<f16>(storage),
            DType::BF16 => self.made::<bf16>(storage),
            other => candle_core::bail!("f32, f16 or bf16 is expected, not {other:?}"),
        };
        Ok((made?, self.shape.clone()))
    }
}

/// The tensor from a multiple of [`ALIGNMENT`] on, contiguous.
fn aligned(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let start = x.layout().start_offset() * x.dtype().size_in_bytes();
    if start.is_multiple_of(ALIGNMENT) { Ok(x) } else { x.force_contiguous() }
}

/// A convolution of a picture that is seen at another size; the grown picture exists nowhere.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn conv2d(number: Number, x: &Tensor, conv: &Conv2d, seen: [usize; 2], ending: Ending) -> Result<Tensor> {
    let (window, dims) = shapes::convolution(x, conv, seen)?;
    let weight = conv.weight.rows()?;
    let (depth, outputs) = weight.dims2()?;
    let is_plain = [window.kernel, window.stride] == [1, 1] && window.padding == [0, 0] && seen == window.size;
    if is_plain {
        let sums = x.reshape(((), depth))?.matmul(&weight)?;
        return finished(&sums, &dims, conv.bias.as_ref(), ending, number);
    }
    let (batch, out_height, out_width) = (dims[0], dims[1], dims[2]);
    let row_bytes = batch * out_width * depth * x.dtype().size_in_bytes();
    let strip = (SCRATCH_BYTES_MAX / row_bytes).clamp(1, out_height);
    let mut strips = Vec::with_capacity(out_height.div_ceil(strip));
    for first in (0..out_height).step_by(strip) {
        let rows = [first, strip.min(out_height - first)];
        let patches = Patches { window, rows };
        let Some(launch) = patches.launch(number) else { return reference::upsample_conv2d(x, conv, seen, ending) };
        let shape = (batch * rows[1] * out_width, depth);
        let patches = Kernels::run(&[launch], &[(Patches::X, x)], None, Patches::Y, shape)?;
        strips.push(patches.matmul(&weight)?.reshape((batch, rows[1], out_width, outputs))?);
    }
    let sums = if strips.len() == 1 { strips.swap_remove(0) } else { Tensor::cat(&strips, 1)? };
    finished(&sums, &dims, conv.bias.as_ref(), ending, number)
}

/// A product over the last dimension.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn linear(number: Number, x: &Tensor, linear: &Linear, ending: Ending) -> Result<Tensor> {
    let dims = shapes::product(x, linear)?;
    let weight = linear.weight.rows()?;
    let sums = x.reshape(((), weight.dim(0)?))?.matmul(&weight)?;
    finished(&sums, &dims, linear.bias.as_ref(), ending, number)
}

/// `sums` of `dims` under the bias and the ending.
fn finished(sums: &Tensor, dims: &[usize], bias: Option<&Tensor>, ending: Ending, number: Number) -> Result<Tensor> {
    let sums = sums.reshape(dims)?;
    let made = shapes::ended(dims, ending)?;
    let Ending { shift, residual, activation } = ending;
    if bias.is_none() && shift.is_none() && residual.is_none() && activation == Activation::Identity {
        return Ok(sums);
    }
    let columns = made[made.len() - 1];
    let kernel = ending::Ending {
        rows: dims[..dims.len() - 1].iter().product(),
        columns,
        has_bias: bias.is_some(),
        shift_items: shift.map_or(Ok(0), |shift| shift.dim(0))?,
        has_residual: residual.is_some(),
        activation,
    };
    let Some(launch) = kernel.launch(number) else {
        let biased = bias.map_or_else(|| Ok(sums.clone()), |bias| sums.broadcast_add(bias))?;
        return reference::then(biased, ending);
    };
    let slots = [ending::Ending::BIAS, ending::Ending::SHIFT, ending::Ending::RESIDUAL];
    let mut read = vec![(ending::Ending::SUMS, &sums)];
    read.extend(slots.into_iter().zip([bias, shift, residual]).filter_map(|(slot, tensor)| Some((slot, tensor?))));
    Kernels::run(&[launch], &read, None, ending::Ending::Y, made)
}

/// Group normalisation under an activation, which is the identity or SiLU.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn group_norm(number: Number, x: &Tensor, norm: &GroupNorm, activation: Activation) -> Result<Tensor> {
    let (batch, channels) = (x.dim(0)?, shapes::channels(x, &norm.weight)?);
    let positions = x.elem_count() / (batch * channels).max(1);
    let kernels = norm::GroupNorm { batch, positions, channels, groups: norm.groups, eps: norm.eps as f32, activation };
    let Some(launches) = kernels.launches(number) else {
        return match activation {
            Activation::Silu => reference::group_norm_silu(x, norm),
            _ => reference::group_norm(x, norm),
        };
    };
    let read = [(norm::GroupNorm::X, x), (norm::GroupNorm::WEIGHT, &norm.weight), (norm::GroupNorm::BIAS, &norm.bias)];
    let scratch = Made { slot: norm::GroupNorm::MOMENTS, len: kernels.moments_len() };
    Kernels::run(&launches, &read, Some(scratch), norm::GroupNorm::Y, x.shape())
}

/// Layer normalisation over the last dimension.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn layer_norm(number: Number, x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    let channels = shapes::channels(x, &norm.weight)?;
    let kernel = norm::LayerNorm { rows: x.elem_count() / channels.max(1), channels, eps: norm.eps as f32 };
    let Some(launch) = kernel.launch(number) else { return reference::layer_norm(x, norm) };
    let read = [(norm::LayerNorm::X, x), (norm::LayerNorm::WEIGHT, &norm.weight), (norm::LayerNorm::BIAS, &norm.bias)];
    Kernels::run(&[launch], &read, None, norm::LayerNorm::Y, x.shape())
}

/// Multi-head attention; scores are f32 whether they are asked to be or not.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn attention(number: Number, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    let shape = shapes::attention(q, k, v, heads)?;
    let Some(launch) = attention::launch(shape, number) else { return reference::attention(q, k, v, heads) };
    let read = [(attention::Q, q), (attention::K, k), (attention::V, v)];
    Kernels::run(&[launch], &read, None, attention::Y, q.shape())
}
