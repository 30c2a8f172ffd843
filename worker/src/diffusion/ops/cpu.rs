//! Every operation on [`sd_kernels`], for f32 and bf16 on the CPU: shapes are checked here, numbers are made there.
//!
//! Each function takes the [`Path`] that it computes on, so that tests reach all that the CPU has.

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{DType, Device, Result, Storage, Tensor, WithDType};
use half::bf16;
use sd_kernels::{Activation, Attention, Kernels, Path, Shift, winograd_conv2d};

use super::layers::Packed;
use super::{Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, reference, shapes};

/// What tensors and kernels both know.
pub(super) trait Number: Kernels + WithDType {}

impl<N: Kernels + WithDType> Number for N {}

/// Whether activations are what these operations compute with.
pub fn computes(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::BF16)
}

/// Calls a function for the type of a tensor's numbers.
macro_rules! by_dtype {
    ($x:expr, $function:ident($($argument:expr),*)) => {
        match $x.dtype() {
            DType::F32 => $function::<f32>($($argument),*),
            DType::BF16 => $function::<bf16>($($argument),*),
            other => candle_core::bail!("f32 or bf16 is expected, not {other:?}"),
        }
    };
}

/// The numbers of a tensor, where they lie.
struct Numbers<S, N> {
    storage: S,
    range: Range<usize>,
    of: PhantomData<N>,
}

/// The numbers of a contiguous tensor on the CPU, where they lie.
///
/// # Errors
/// When the tensor is another one.
pub(super) fn numbers<N: Number>(tensor: &Tensor) -> Result<impl Deref<Target = [N]>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("a tensor is not contiguous") };
    match &*storage {
        Storage::Cpu(numbers) if N::cpu_storage_as_slice(numbers).is_ok() => {
            Ok(Numbers { storage, range: start..end, of: PhantomData })
        }
        _ => candle_core::bail!("{:?} on the CPU is expected, not {:?}", N::DTYPE, tensor.dtype()),
    }
}

impl<S: Deref<Target = Storage>, N: Number> Deref for Numbers<S, N> {
    type Target = [N];

    fn deref(&self) -> &[N] {
        match &*self.storage {
            Storage::Cpu(numbers) => N::cpu_storage_as_slice(numbers).map_or(&[], |all| &all[self.range.clone()]),
            _ => &[],
        }
    }
}

/// [`conv2d_then`](super::conv2d_then).
///
/// # Errors
/// When shapes do not fit.
pub fn conv2d(path: Path, x: &Tensor, conv: &Conv2d, weight: &Packed, ending: Ending) -> Result<Tensor> {
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
    weight: &Packed,
    seen: [usize; 2],
    ending: Ending,
) -> Result<Tensor> {
    let (window, dims) = shapes::convolution(x, conv, seen)?;
    let (x, bias) = (x.contiguous()?, conv.bias.as_ref());
    match weight {
        Packed::F32(weight) => {
            let x = numbers(&x)?;
            finished(dims, bias, ending, |ending| Kernels::conv2d(path, &x, window, weight, ending))
        }
        Packed::Bf16(weight) => {
            let x = numbers(&x)?;
            finished(dims, bias, ending, |ending| Kernels::conv2d(path, &x, window, weight, ending))
        }
        Packed::Winograd(weight) => {
            let x = numbers(&x)?;
            finished(dims, bias, ending, |ending| winograd_conv2d(path, &x, window, weight, ending))
        }
    }
}

/// [`linear_then`](super::linear_then).
///
/// # Errors
/// When shapes do not fit.
pub fn linear(path: Path, x: &Tensor, linear: &Linear, weight: &Packed, ending: Ending) -> Result<Tensor> {
    let dims = shapes::product(x, linear)?;
    let (x, bias) = (x.contiguous()?, linear.bias.as_ref());
    match weight {
        Packed::F32(weight) => {
            let x = numbers(&x)?;
            finished(dims, bias, ending, |ending| Kernels::linear(path, &x, weight, ending))
        }
        Packed::Bf16(weight) => {
            let x = numbers(&x)?;
            finished(dims, bias, ending, |ending| Kernels::linear(path, &x, weight, ending))
        }
        Packed::Winograd(_) => candle_core::bail!("{weight:?} is of a convolution"),
    }
}

/// What `product` makes under the bias and the ending: a tensor of `dims`, or of half the channels where they are gated.
fn finished<N: Number>(
    dims: Vec<usize>,
    bias: Option<&Tensor>,
    ending: Ending,
    product: impl FnOnce(sd_kernels::Ending<N>) -> Vec<N>,
) -> Result<Tensor> {
    let made = shapes::ended(&dims, ending)?;
    let columns = dims.last().copied().unwrap_or(0);
    let gated = ending.activation == Activation::Geglu;
    // Kernels gate whole panels; a network of fewer channels takes the steps one by one.
    let gated_later = gated && !columns.is_multiple_of(2 * sd_kernels::PANEL);
    let later = if gated_later { ending } else { Ending::default() };
    let now = if gated_later { Ending { shift: None, ..Ending::default() } } else { ending };
    let dims = if gated_later { dims } else { made };
    let (batch, count) = (dims[0], dims.iter().product::<usize>());
    let rows = dims[..dims.len() - 1].iter().product::<usize>();
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
    shapes::channels(x, &norm.weight)?;
    by_dtype!(x, group_norm_of(path, &x.contiguous()?, norm, activation))
}

fn group_norm_of<N: Number>(path: Path, x: &Tensor, norm: &GroupNorm, activation: Activation) -> Result<Tensor> {
    let (y, weight, bias) = (numbers::<N>(x)?, numbers(&norm.weight)?, numbers(&norm.bias)?);
    let norm = sd_kernels::GroupNorm { weight: &weight, bias: &bias, groups: norm.groups, eps: norm.eps };
    let y = N::group_norm(path, &y, x.dim(0)?, norm, activation);
    Tensor::from_vec(y, x.shape(), &Device::Cpu)
}

/// [`layer_norm`](super::layer_norm).
///
/// # Errors
/// When shapes do not fit.
pub fn layer_norm(path: Path, x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    shapes::channels(x, &norm.weight)?;
    by_dtype!(x, layer_norm_of(path, &x.contiguous()?, norm))
}

fn layer_norm_of<N: Number>(path: Path, x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    let (y, weight, bias) = (numbers::<N>(x)?, numbers(&norm.weight)?, numbers(&norm.bias)?);
    let y = N::layer_norm(path, &y, &weight, &bias, norm.eps);
    Tensor::from_vec(y, x.shape(), &Device::Cpu)
}

/// [`attention`](super::attention).
///
/// # Errors
/// When shapes do not fit.
pub fn attention(path: Path, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    let shape = shapes::attention(q, k, v, heads)?;
    by_dtype!(q, attention_of(path, &q.contiguous()?, &k.contiguous()?, &v.contiguous()?, shape))
}

fn attention_of<N: Number>(path: Path, q: &Tensor, k: &Tensor, v: &Tensor, shape: Attention) -> Result<Tensor> {
    let y = N::attention(path, &numbers(q)?, &numbers(k)?, &numbers(v)?, shape);
    Tensor::from_vec(y, q.shape(), &Device::Cpu)
}

/// `activation` of every number.
///
/// # Errors
/// When the tensor is another one than [`computes`] says.
pub fn activate(path: Path, x: &Tensor, activation: Activation) -> Result<Tensor> {
    by_dtype!(x, activate_of(path, &x.contiguous()?, activation))
}

fn activate_of<N: Number>(path: Path, x: &Tensor, activation: Activation) -> Result<Tensor> {
    Tensor::from_vec(N::activate(path, &numbers(x)?, activation), x.shape(), &Device::Cpu)
}

#[cfg(test)]
mod tests;
