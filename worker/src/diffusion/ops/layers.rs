//! Weights in the layout that the operations read, made once when a model is loaded.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use sd_kernels::{Kernels, PackedMatrix, SharedBytes, Stored, WinogradMatrix};

use super::cpu::{Number, numbers};

/// A matrix that activations are multiplied with, `[in, out]`. A copy shares its memory.
#[derive(Clone, Debug)]
pub(super) enum Weight {
    /// For GPUs and [`reference`](super::reference): `[out, in]`, as tensor cores and cuDNN read it.
    Columns(Tensor),
    /// For [`cpu`](super::cpu).
    Packed(Packed),
}

/// A matrix on the CPU, in the form that [`cpu`](super::cpu) reads it in.
#[derive(Clone, Debug)]
pub enum Packed {
    /// f32
    F32(Arc<PackedMatrix<f32>>),
    /// bf16
    Bf16(Arc<PackedMatrix<bf16>>),
    /// f32, of a convolution with fewer multiplications.
    Winograd(Arc<WinogradMatrix>),
}

impl Packed {
    /// Whether a convolution does with fewer multiplications.
    fn is_turned([outputs, inputs, kernel, stride]: [usize; 4], device: &Device, dtype: DType) -> bool {
        let is_dense = [kernel, stride] == [3, 1];
        is_dense && device.is_cpu() && dtype == DType::F32 && WinogradMatrix::pays(inputs, outputs)
    }

    /// Packs `weight`, `[out, in · kernel · kernel]`, or says that it is of another type or device.
    fn new(weight: &Tensor, kernel: usize, stride: usize) -> Result<Option<Self>> {
        fn packed<N: Number>(weight: &[N], [outputs, depth]: [usize; 2], taps: usize) -> Arc<PackedMatrix<N>> {
            Arc::new(N::pack(weight, outputs, depth, taps))
        }
        if !weight.device().is_cpu() {
            return Ok(None);
        }
        let (outputs, depth) = weight.dims2()?;
        let taps = kernel * kernel;
        let inputs = depth / taps;
        let weight = weight.contiguous()?;
        if Self::is_turned([outputs, inputs, kernel, stride], weight.device(), weight.dtype()) {
            return Ok(Some(Self::Winograd(Arc::new(WinogradMatrix::new(&numbers(&weight)?, outputs, inputs)))));
        }
        Ok(match weight.dtype() {
            DType::F32 => Some(Self::F32(packed(&numbers(&weight)?, [outputs, depth], taps))),
            DType::BF16 => Some(Self::Bf16(packed(&numbers(&weight)?, [outputs, depth], taps))),
            _ => None,
        })
    }

    /// Packs a weight of `sides`, `[out, in, kernel, stride]`, for `dtype`, from where a file holds it; nothing for other
    /// types.
    ///
    /// # Panics
    /// When the weight has another size.
    pub fn of_stored(weight: Stored, sides: [usize; 4], dtype: DType) -> Option<Self> {
        let [outputs, inputs, kernel, _] = sides;
        let (taps, depth) = (kernel * kernel, inputs * kernel * kernel);
        if Self::is_turned(sides, &Device::Cpu, dtype) {
            return Some(Self::Winograd(Arc::new(WinogradMatrix::of_stored(weight, outputs, inputs))));
        }
        match dtype {
            DType::F32 => Some(Self::F32(Arc::new(f32::pack_stored(weight, outputs, depth, taps)))),
            DType::BF16 => Some(Self::Bf16(Arc::new(bf16::pack_stored(weight, outputs, depth, taps)))),
            _ => None,
        }
    }

    /// What [`Self::bytes`] were, one after the other, of a weight of `sides`, `[out, in, kernel, stride]`, for `dtype`,
    /// where they are there from `start`.
    pub fn of_packed(bytes: SharedBytes, start: usize, sides: [usize; 4], dtype: DType) -> Option<Self> {
        let [outputs, inputs, kernel, _] = sides;
        let (taps, depth) = (kernel * kernel, inputs * kernel * kernel);
        if Self::is_turned(sides, &Device::Cpu, dtype) {
            let matrix = WinogradMatrix::of_packed(&bytes, start, outputs, inputs)?;
            return Some(Self::Winograd(Arc::new(matrix)));
        }
        match dtype {
            DType::F32 => PackedMatrix::of_packed(bytes, start, outputs, depth, taps).map(|it| Self::F32(Arc::new(it))),
            DType::BF16 => {
                PackedMatrix::of_packed(bytes, start, outputs, depth, taps).map(|it| Self::Bf16(Arc::new(it)))
            }
            _ => None,
        }
    }

    /// The matrix as it lies in memory, in the order that [`Self::layout`] names: pieces of multiples of 64 bytes.
    pub fn bytes(&self) -> Vec<&[u8]> {
        match self {
            Self::F32(matrix) => vec![matrix.bytes()],
            Self::Bf16(matrix) => vec![matrix.bytes()],
            Self::Winograd(matrix) => matrix.bytes().to_vec(),
        }
    }

    /// How many [`Self::bytes`] there are.
    pub fn len_bytes(&self) -> usize {
        self.bytes().iter().map(|piece| piece.len()).sum()
    }

    /// Tells one order of numbers in memory from another; nothing for types that are not packed.
    pub fn layout(dtype: DType) -> Option<String> {
        match dtype {
            DType::F32 => Some(format!("{}; {}", PackedMatrix::<f32>::layout(), WinogradMatrix::layout())),
            DType::BF16 => Some(PackedMatrix::<bf16>::layout()),
            _ => None,
        }
    }

    /// `[in, out]`
    pub(super) fn dims(&self) -> (usize, usize) {
        match self {
            Self::F32(matrix) => (matrix.depth(), matrix.columns()),
            Self::Bf16(matrix) => (matrix.depth(), matrix.columns()),
            Self::Winograd(matrix) => (9 * matrix.channels(), matrix.columns()),
        }
    }

    fn rows(&self) -> Result<Tensor> {
        match self {
            Self::F32(matrix) => Tensor::from_vec(matrix.to_rows(), self.dims(), &Device::Cpu),
            Self::Bf16(matrix) => Tensor::from_vec(matrix.to_rows(), self.dims(), &Device::Cpu),
            Self::Winograd(matrix) => Tensor::from_vec(matrix.to_rows(), self.dims(), &Device::Cpu),
        }
    }

    fn plus(&self, delta: &[f32]) -> Self {
        match self {
            Self::F32(matrix) => Self::F32(Arc::new(f32::plus(matrix, delta))),
            Self::Bf16(matrix) => Self::Bf16(Arc::new(bf16::plus(matrix, delta))),
            Self::Winograd(matrix) => Self::Winograd(Arc::new(matrix.plus(delta))),
        }
    }
}

impl Weight {
    /// Lays out `weight`, `[out, in · kernel · kernel]` as torch stores it with the taps of an input side by side. Here the
    /// inputs of a tap stand side by side.
    fn new(weight: &Tensor, kernel: usize, stride: usize) -> Result<Self> {
        if let Some(packed) = Packed::new(weight, kernel, stride)? {
            return Ok(Self::Packed(packed));
        }
        let (outputs, depth) = weight.dims2()?;
        let taps = kernel * kernel;
        let by_tap = weight.reshape((outputs, depth / taps, taps))?.transpose(1, 2)?;
        Ok(Self::Columns(by_tap.reshape((outputs, depth))?.contiguous()?))
    }

    /// `[in, out]`
    fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Columns(columns) => columns.dims2().map(|(outputs, inputs)| (inputs, outputs)),
            Self::Packed(packed) => Ok(packed.dims()),
        }
    }

    fn packed(&self) -> Option<&Packed> {
        match self {
            Self::Columns(_) => None,
            Self::Packed(packed) => Some(packed),
        }
    }

    /// The matrix as it is multiplied with a row; one that is packed is copied.
    pub(super) fn rows(&self) -> Result<Tensor> {
        match self {
            Self::Columns(columns) => columns.t(),
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// The sum with `delta`, `[in, out]` f32, made in f32.
    fn plus(&self, delta: &Tensor) -> Result<Self> {
        match self {
            Self::Columns(columns) => {
                let sum = columns.to_dtype(DType::F32)?.add(&delta.t()?)?;
                Ok(Self::Columns(sum.to_dtype(columns.dtype())?))
            }
            Self::Packed(packed) => {
                let delta = delta.contiguous()?;
                if delta.dims2()? != packed.dims() {
                    candle_core::bail!("a difference of {:?} is not of {packed:?}", delta.dims())
                }
                Ok(Self::Packed(packed.plus(&numbers(&delta)?)))
            }
        }
    }
}

/// A 2D convolution. A copy shares its memory.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[kernel · kernel · in, out]`, rows ordered (y, x, channel), as patches of a channels-last picture are.
    pub(super) weight: Weight,
    /// `[out]`
    pub(super) bias: Option<Tensor>,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: Padding,
}

/// Rows and columns of zeros around a picture.
#[derive(Clone, Copy, Debug)]
pub struct Padding {
    /// Above and on the left.
    pub before: usize,
    /// Below and on the right.
    pub behind: usize,
}

impl Padding {
    /// As much as keeps the size of a picture under a `kernel` of odd side and stride 1.
    pub const fn same(kernel: usize) -> Self {
        Self { before: kernel / 2, behind: kernel / 2 }
    }
}

impl Conv2d {
    /// Lays out `weight`, `[out, in, kernel, kernel]` as torch stores it.
    ///
    /// # Errors
    /// When the shape is another one.
    pub fn new(weight: &Tensor, bias: Option<Tensor>, stride: usize, padding: Padding) -> Result<Self> {
        let (out, channels, kernel, kernel_x) = weight.dims4()?;
        if kernel != kernel_x {
            candle_core::bail!("a square kernel is expected, not {kernel}×{kernel_x}")
        }
        let weight = Weight::new(&weight.reshape((out, channels * kernel * kernel))?, kernel, stride)?;
        Ok(Self { weight, bias, kernel, stride, padding })
    }

    /// With a weight that is laid out, for a square of `kernel`.
    pub fn of_packed(weight: Packed, kernel: usize, bias: Option<Tensor>, stride: usize, padding: Padding) -> Self {
        Self { weight: Weight::Packed(weight), bias, kernel, stride, padding }
    }

    /// The weight as kernels read it, where it is so.
    pub fn packed(&self) -> Option<&Packed> {
        self.weight.packed()
    }

    /// How many numbers a convolution of this size keeps in place of those of its weight, on `device` in `dtype`.
    pub fn kept_numbers([outputs, inputs, kernel, stride]: [usize; 4], device: &Device, dtype: DType) -> usize {
        let is_turned = Packed::is_turned([outputs, inputs, kernel, stride], device, dtype);
        outputs * inputs * if is_turned { WinogradMatrix::POINTS } else { kernel * kernel }
    }

    /// The shape of the weight as torch stores it: `[out, in, kernel, kernel]`.
    ///
    /// # Errors
    /// Never, for a convolution that was made.
    pub fn shape(&self) -> Result<[usize; 4]> {
        let (rows, out) = self.weight.dims()?;
        Ok([out, rows / (self.kernel * self.kernel), self.kernel, self.kernel])
    }

    /// The convolution with `up · down` added to its weight: `up` is `[out, rank]`, `down` `[rank, in · kernel · kernel]`
    /// in torch's order, both f32. The sum is made in f32.
    ///
    /// Only the two small matrices are laid out anew, so that the cost is one product of the weight's size.
    ///
    /// # Errors
    /// When the shapes are other ones or memory runs out.
    pub fn plus_low_rank(&self, up: &Tensor, down: &Tensor) -> Result<Self> {
        let [_, inputs, kernel, _] = self.shape()?;
        let rank = down.dim(0)?;
        let down = down.reshape((rank, inputs, kernel, kernel))?.permute((2, 3, 1, 0))?;
        let delta = down.reshape((kernel * kernel * inputs, rank))?.matmul(&up.t()?)?;
        Ok(Self { weight: self.weight.plus(&delta)?, ..self.clone() })
    }
}

/// A matrix product over the last dimension. A copy shares its memory.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[in, out]`
    pub(super) weight: Weight,
    /// `[out]`
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    /// Lays out `weight`, `[out, in]` as torch stores it.
    ///
    /// # Errors
    /// When the shape is another one.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { weight: Weight::new(weight, 1, 1)?, bias })
    }

    /// With a weight that is laid out.
    pub fn of_packed(weight: Packed, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::Packed(weight), bias }
    }

    /// The weight as kernels read it, where it is so.
    pub fn packed(&self) -> Option<&Packed> {
        self.weight.packed()
    }

    /// The shape of the weight as torch stores it: `[out, in]`.
    ///
    /// # Errors
    /// Never, for a layer that was made.
    pub fn shape(&self) -> Result<[usize; 2]> {
        let (inputs, outputs) = self.weight.dims()?;
        Ok([outputs, inputs])
    }

    /// The layer with `up · down` added to its weight: `up` is `[out, rank]`, `down` `[rank, in]`, both f32. The sum
    /// is made in f32.
    ///
    /// # Errors
    /// When the shapes are other ones or memory runs out.
    pub fn plus_low_rank(&self, up: &Tensor, down: &Tensor) -> Result<Self> {
        let delta = down.t()?.matmul(&up.t()?)?;
        Ok(Self { weight: self.weight.plus(&delta)?, bias: self.bias.clone() })
    }
}

/// Normalisation over groups of channels and all positions.
#[derive(Debug)]
pub struct GroupNorm {
    /// `[channels]`
    pub(super) weight: Tensor,
    /// `[channels]`
    pub(super) bias: Tensor,
    pub(super) groups: usize,
    pub(super) eps: f64,
}

impl GroupNorm {
    /// `groups` divides the channels of `weight` and `bias`, both `[channels]`.
    ///
    /// # Errors
    /// When it does not.
    pub fn new(weight: Tensor, bias: Tensor, groups: usize, eps: f64) -> Result<Self> {
        let channels = weight.dims1()?;
        if groups == 0 || !channels.is_multiple_of(groups) {
            candle_core::bail!("{channels} channels do not fall into {groups} groups")
        }
        Ok(Self { weight, bias, groups, eps })
    }
}

/// Normalisation over the last dimension.
#[derive(Debug)]
pub struct LayerNorm {
    /// `[channels]`
    pub(super) weight: Tensor,
    /// `[channels]`
    pub(super) bias: Tensor,
    pub(super) eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias` are `[channels]`.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }
}
