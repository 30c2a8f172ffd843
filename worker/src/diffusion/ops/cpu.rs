//! Every operation on [`sd_kernels`], for f32 on the CPU: shapes are checked here, numbers are made there.
//!
//! Each function takes the [`Path`] that it computes on, so that tests reach all that the CPU has.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, D, DType, Device, Result, Storage, Tensor};
use sd_kernels::{Activation, Attention, PackedMatrix, Path, Shift, Window};

use super::{Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, Padding, reference};

/// Whether activations are what these operations compute with.
pub fn computes(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The numbers of a tensor, where they lie.
struct Numbers<S> {
    storage: S,
    range: Range<usize>,
}

/// The numbers of a contiguous tensor of f32 on the CPU, where they lie.
///
/// # Errors
/// When the tensor is another one.
pub(super) fn numbers(tensor: &Tensor) -> Result<impl Deref<Target = [f32]>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("a tensor is not contiguous") };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Numbers { storage, range: start..end }),
        _ => candle_core::bail!("f32 on the CPU is expected, not {:?}", tensor.dtype()),
    }
}

impl<S: Deref<Target = Storage>> Deref for Numbers<S> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            _ => &[],
        }
    }
}

/// [`conv2d_then`](super::conv2d_then).
///
/// # Errors
/// When shapes do not fit.
pub fn conv2d(path: Path, x: &Tensor, conv: &Conv2d, weight: &PackedMatrix, ending: Ending) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    upsample_conv2d(path, x, conv, weight, [height, width], ending)
}

/// [`upsample_conv2d`](super::upsample_conv2d); the grown picture exists nowhere.
///
/// # Errors
/// When shapes do not fit.
pub fn upsample_conv2d(
    path: Path,
    x: &Tensor,
    conv: &Conv2d,
    weight: &PackedMatrix,
    seen: [usize; 2],
    ending: Ending,
) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let Conv2d { kernel, stride, padding: Padding { before, behind }, .. } = *conv;
    if weight.depth() != kernel * kernel * channels {
        candle_core::bail!("{} channels are expected, not {channels}", weight.depth() / (kernel * kernel))
    }
    let (size, padding) = ([height, width], [before, behind]);
    let window = Window { batch, size, seen, channels, kernel, stride, padding };
    let Some([out_height, out_width]) = window.places() else {
        candle_core::bail!("a {kernel}×{kernel} kernel does not fit into {}×{}", seen[0], seen[1])
    };
    let dims = vec![batch, out_height, out_width, weight.columns()];
    let x = x.contiguous()?;
    let x = numbers(&x)?;
    finished(dims, conv.bias.as_ref(), ending, |ending| sd_kernels::conv2d(path, &x, window, weight, ending))
}

/// [`linear_then`](super::linear_then).
///
/// # Errors
/// When shapes do not fit.
pub fn linear(path: Path, x: &Tensor, linear: &Linear, weight: &PackedMatrix, ending: Ending) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    if dims.pop() != Some(weight.depth()) {
        candle_core::bail!("{} channels are expected, not {:?}", weight.depth(), x.dims())
    }
    dims.push(weight.columns());
    let x = x.contiguous()?;
    let x = numbers(&x)?;
    finished(dims, linear.bias.as_ref(), ending, |ending| sd_kernels::linear(path, &x, weight, ending))
}

/// What `product` makes under the bias and the ending: a tensor of `dims`, or of half the channels where they are gated.
fn finished(
    mut dims: Vec<usize>,
    bias: Option<&Tensor>,
    ending: Ending,
    product: impl FnOnce(sd_kernels::Ending) -> Vec<f32>,
) -> Result<Tensor> {
    let columns = dims.last().copied().unwrap_or(0);
    let gated = ending.activation == Activation::Geglu;
    // Kernels gate whole panels; a network of fewer channels takes the steps one by one.
    let gated_later = gated && !columns.is_multiple_of(2 * sd_kernels::PANEL);
    let later = if gated_later { ending } else { Ending::default() };
    let now = if gated_later { Ending { shift: None, ..Ending::default() } } else { ending };
    if gated && !gated_later {
        *dims.last_mut().expect("a product has columns") = columns / 2;
    }
    let (batch, count) = (dims[0], dims.iter().product::<usize>());
    let rows = dims[..dims.len() - 1].iter().product::<usize>();
    if let Some(shift) = now.shift
        && !matches!(shift.dims(), &[items, width] if (items == 1 || items == batch) && width == columns)
    {
        candle_core::bail!("a shift of {:?} is not for {batch} items of {columns} channels", shift.dims())
    }
    if let Some(residual) = now.residual
        && residual.dims() != dims
    {
        candle_core::bail!("{:?} is not added to {dims:?}", residual.dims())
    }
    let (shift, residual) = (contiguous(now.shift)?, contiguous(now.residual)?);
    let [bias, shift, residual] = [bias, shift.as_ref(), residual.as_ref()].map(|x| x.map(numbers).transpose());
    let (bias, shift, residual) = (bias?, shift?, residual?);
    let sums = product(sd_kernels::Ending {
        bias: bias.as_deref(),
        shift: shift.as_deref().map(|numbers| Shift { numbers, rows: rows / batch.max(1) }),
        residual: residual.as_deref(),
        activation: now.activation,
    });
    debug_assert_eq!(sums.len(), count);
    reference::then(Tensor::from_vec(sums, dims, &Device::Cpu)?, later)
}

fn contiguous(x: Option<&Tensor>) -> Result<Option<Tensor>> {
    x.map(Tensor::contiguous).transpose()
}

/// [`group_norm`](super::group_norm), then `activation`.
///
/// # Errors
/// When shapes do not fit.
pub fn group_norm(path: Path, x: &Tensor, norm: &GroupNorm, activation: Activation) -> Result<Tensor> {
    if x.dim(D::Minus1)? != norm.weight.dim(0)? {
        candle_core::bail!("{} channels are expected, not {:?}", norm.weight.dim(0)?, x.dims())
    }
    let x = x.contiguous()?;
    let (y, weight, bias) = (numbers(&x)?, numbers(&norm.weight)?, numbers(&norm.bias)?);
    let norm = sd_kernels::GroupNorm { weight: &weight, bias: &bias, groups: norm.groups, eps: norm.eps };
    let y = sd_kernels::group_norm(path, &y, x.dim(0)?, norm, activation);
    Tensor::from_vec(y, x.shape(), &Device::Cpu)
}

/// [`layer_norm`](super::layer_norm).
///
/// # Errors
/// When shapes do not fit.
pub fn layer_norm(path: Path, x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    if x.dim(D::Minus1)? != norm.weight.dim(0)? {
        candle_core::bail!("{} channels are expected, not {:?}", norm.weight.dim(0)?, x.dims())
    }
    let x = x.contiguous()?;
    let (y, weight, bias) = (numbers(&x)?, numbers(&norm.weight)?, numbers(&norm.bias)?);
    let y = sd_kernels::layer_norm(path, &y, &weight, &bias, norm.eps);
    Tensor::from_vec(y, x.shape(), &Device::Cpu)
}

/// [`attention`](super::attention).
///
/// # Errors
/// When shapes do not fit.
pub fn attention(path: Path, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    let (batch, queries, channels) = q.dims3()?;
    let keys = k.dim(1)?;
    let Heads { count: heads, causal, .. } = heads;
    if [k.dims(), v.dims()] != [[batch, keys, channels]; 2] || keys == 0 || !channels.is_multiple_of(heads.max(1)) {
        candle_core::bail!("{heads} heads do not read {:?} by {:?} with {:?}", k.dims(), v.dims(), q.dims())
    }
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let shape = Attention { batch, queries, keys, heads, channels: channels / heads.max(1), causal };
    let y = sd_kernels::attention(path, &numbers(&q)?, &numbers(&k)?, &numbers(&v)?, shape);
    Tensor::from_vec(y, q.shape(), &Device::Cpu)
}

/// `activation` of every number.
///
/// # Errors
/// When the tensor is another one than [`computes`] says.
pub fn activate(path: Path, x: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = x.contiguous()?;
    Tensor::from_vec(sd_kernels::activate(path, &numbers(&x)?, activation), x.shape(), &Device::Cpu)
}

#[cfg(test)]
mod tests;
