//! Operations as launches of [`sd_cuda_kernels`], products of cuBLASLt and convolutions of cuDNN. Each function takes the type of the numbers, and
//! goes through [`reference`](mod@super::super::reference) where sizes are beyond the kernels.

use candle_core::cuda_backend::cudarc::driver::{CudaView, DeviceRepr};
use candle_core::cuda_backend::{CudaDType, CudaStorage};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor};
use half::{bf16, f16};
use sd_cuda_kernels::gpu::{self, Convolution, Factors, Made, Product};
use sd_cuda_kernels::patches::Patches;
use sd_cuda_kernels::{Launch, Number, attention, ending, norm};
use sd_kernels::Window;

use crate::diffusion::ops::layers::Weight;
use crate::diffusion::ops::{
    Activation, Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, SCRATCH_BYTES_MAX, reference, shapes,
};

/// Bytes that numbers begin at a multiple of, so that several are read at a time.
const ALIGNMENT: usize = 16;

/// Most places of a window of which patches are made where cuDNN is at hand: with so few, a product keeps more of a GPU busy
/// than cuDNN's kernels, and adds what follows.
const PATCHES_MAX: usize = 256;

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
            read.push((*slot, numbers::<N>((on_gpu(storage)?, layout))?));
        }
        let result = Made { slot: self.slot, len: self.shape.elem_count() };
        let made = gpu::run(&storage.device, self.launches, &read, self.scratch, result)?;
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

/// A convolution of a picture that is seen at another size.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn conv2d(number: Number, x: &Tensor, conv: &Conv2d, seen: [usize; 2], ending: Ending) -> Result<Tensor> {
    let (window, dims) = shapes::convolution(x, conv, seen)?;
    if [window.kernel, window.stride] == [1, 1] && window.padding == [0, 0] && seen == window.size {
        return product(number, x, (&conv.weight, conv.bias.as_ref()), dims, ending);
    }
    let rows = dims[0] * dims[1] * dims[2];
    if rows > PATCHES_MAX
        && let Some(sums) = by_cudnn(number, x, conv, window, &dims)?
    {
        return finished(&sums, &dims, conv.bias.as_ref(), ending, number);
    }
    match by_patches(number, x, conv, window, dims, ending)? {
        Some(made) => Ok(made),
        None => reference::upsample_conv2d(x, conv, seen, ending),
    }
}

/// The sums of a convolution that cuDNN knows; where the picture is seen at another size, it is grown before.
fn by_cudnn(number: Number, x: &Tensor, conv: &Conv2d, window: Window, dims: &[usize]) -> Result<Option<Tensor>> {
    let Window { batch, size, seen, channels, .. } = window;
    let Some(convolution) = Convolution::new(Window { size: seen, ..window }, dims[3]) else { return Ok(None) };
    let columns = conv.weight.rows()?.t()?;
    if !gpu::computes(x.device().as_cuda_device()?, convolution, number) {
        return Ok(None);
    }
    let x = if seen == size {
        aligned(x)?
    } else {
        // Every pixel of the grown picture is a patch of one.
        let pixels = Window { kernel: 1, stride: 1, padding: [0, 0], ..window };
        let Some(launch) = (Patches { window: pixels, rows: [0, seen[0]] }).launch(number) else { return Ok(None) };
        Kernels::run(&[launch], &[(Patches::X, x)], None, Patches::Y, (batch, seen[0], seen[1], channels))?
    };
    let convolved = Convolved { convolution, number, shape: dims.into() };
    x.apply_op2_no_bwd(&aligned(&columns)?, &convolved).map(Some)
}

/// A convolution as a product of its patches, a strip of rows at a time; the grown picture exists nowhere.
fn by_patches(
    number: Number,
    x: &Tensor,
    conv: &Conv2d,
    window: Window,
    dims: Vec<usize>,
    ending: Ending,
) -> Result<Option<Tensor>> {
    let depth = window.kernel * window.kernel * window.channels;
    let [batch, out_height, out_width, outputs] = dims[..] else { candle_core::bail!("a picture has four dimensions") };
    let row_bytes = batch * out_width * depth * x.dtype().size_in_bytes();
    let strip = (SCRATCH_BYTES_MAX / row_bytes).clamp(1, out_height);
    let patches = |rows: [usize; 2]| {
        let Some(launch) = (Patches { window, rows }).launch(number) else { return Ok(None) };
        let shape = (batch, rows[1], out_width, depth);
        Kernels::run(&[launch], &[(Patches::X, x)], None, Patches::Y, shape).map(Some)
    };
    if strip == out_height {
        let Some(patches) = patches([0, out_height])? else { return Ok(None) };
        return product(number, &patches, (&conv.weight, conv.bias.as_ref()), dims, ending).map(Some);
    }
    let mut strips = Vec::with_capacity(out_height.div_ceil(strip));
    for first in (0..out_height).step_by(strip) {
        let rows = [first, strip.min(out_height - first)];
        let Some(patches) = patches(rows)? else { return Ok(None) };
        let dims = vec![batch, rows[1], out_width, outputs];
        strips.push(product(number, &patches, (&conv.weight, None), dims, Ending::default())?);
    }
    finished(&Tensor::cat(&strips, 1)?, &dims, conv.bias.as_ref(), ending, number).map(Some)
}

/// A convolution of a picture with weights, `[out, kernel · kernel · in]`.
struct Convolved {
    convolution: Convolution,
    number: Number,
    shape: Shape,
}

impl Convolved {
    fn made<N: CudaDType + DeviceRepr>(
        &self,
        [x, weight]: [(&CudaStorage, &Layout); 2],
    ) -> Result<(CudaStorage, Shape)> {
        let device = &x.0.device;
        let made = gpu::convolve(device, self.convolution, self.number, &numbers::<N>(x)?, &numbers::<N>(weight)?)?;
        Ok((CudaStorage::wrap_cuda_slice(made, device.clone()), self.shape.clone()))
    }
}

/// The numbers of a contiguous tensor.
fn numbers<'a, N: CudaDType>((storage, layout): (&'a CudaStorage, &Layout)) -> Result<CudaView<'a, N>> {
    let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("a tensor is not contiguous") };
    Ok(storage.as_cuda_slice::<N>()?.slice(start..end))
}

impl CustomOp2 for Convolved {
    fn name(&self) -> &'static str {
        "cuDNN convolution"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("cuDNN is for GPUs")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let read = [(x, x_layout), (weight, weight_layout)];
        match self.number {
            Number::F32 => self.made::<f32>(read),
            Number::F16 => self.made::<f16>(read),
            Number::Bf16 => self.made::<bf16>(read),
        }
    }
}

/// A product over the last dimension.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub(super) fn linear(number: Number, x: &Tensor, linear: &Linear, ending: Ending) -> Result<Tensor> {
    let dims = shapes::product(x, linear)?;
    product(number, x, (&linear.weight, linear.bias.as_ref()), dims, ending)
}

/// A product of `dims`. A bias and a residual are added by what multiplies, where nothing else is done to it.
fn product(
    number: Number,
    x: &Tensor,
    (weight, bias): (&Weight, Option<&Tensor>),
    dims: Vec<usize>,
    ending: Ending,
) -> Result<Tensor> {
    let is_sum = ending.shift.is_none() && ending.activation == Activation::Identity;
    let (added, left) = if is_sum { ((bias, ending.residual), None) } else { ((None, None), Some(ending)) };
    if is_sum {
        shapes::ended(&dims, ending)?;
    }
    let weight = weight.rows()?.t()?;
    let (outputs, inputs) = weight.dims2()?;
    let (has_bias, has_residual) = (added.0.is_some(), added.1.is_some());
    let product = Product { rows: x.elem_count() / inputs.max(1), inputs, outputs, has_bias, has_residual };
    if !gpu::multiplies(x.device().as_cuda_device()?, product, number)? {
        let sums = x.reshape(((), inputs))?.matmul(&weight.t()?)?;
        return finished(&sums, &dims, bias, ending, number);
    }
    let of = |tensor: Option<&Tensor>| tensor.map(aligned).transpose();
    let (bias_added, residual) = (of(added.0)?, of(added.1)?);
    let multiplied = Multiplied { product, number, weight: aligned(&weight)?, bias: bias_added, residual, dims: &dims };
    let sums = aligned(x)?.apply_op1_no_bwd(&multiplied)?;
    match left {
        Some(ending) => finished(&sums, &dims, bias, ending, number),
        None => Ok(sums),
    }
}

/// A product with what is added to it.
struct Multiplied<'a> {
    product: Product,
    number: Number,
    weight: Tensor,
    bias: Option<Tensor>,
    residual: Option<Tensor>,
    dims: &'a [usize],
}

impl Multiplied<'_> {
    fn made<N: CudaDType + DeviceRepr>(&self, x: (&CudaStorage, &Layout)) -> Result<(CudaStorage, Shape)> {
        let device = &x.0.device;
        let read = [Some(&self.weight), self.bias.as_ref(), self.residual.as_ref()];
        let stored = read.map(|tensor| tensor.map(Tensor::storage_and_layout));
        let of = |at: usize| match &stored[at] {
            Some((storage, layout)) => Ok(Some(numbers::<N>((on_gpu(storage)?, layout))?)),
            None => Ok::<_, candle_core::Error>(None),
        };
        let Some(weight) = of(0)? else { candle_core::bail!("a product has a weight") };
        let factors = Factors { x: numbers::<N>(x)?, weight, bias: of(1)?, residual: of(2)? };
        let made = gpu::multiply(device, self.product, self.number, &factors)?;
        Ok((CudaStorage::wrap_cuda_slice(made, device.clone()), self.dims.into()))
    }
}

impl CustomOp1 for Multiplied<'_> {
    fn name(&self) -> &'static str {
        "cuBLASLt product"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("cuBLASLt is for GPUs")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.number {
            Number::F32 => self.made::<f32>((x, layout)),
            Number::F16 => self.made::<f16>((x, layout)),
            Number::Bf16 => self.made::<bf16>((x, layout)),
        }
    }
}

fn on_gpu(storage: &Storage) -> Result<&CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => candle_core::bail!("a tensor is not on the GPU"),
    }
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
