//! Tensors by name, in the layers that the networks hold.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::LoadError;
use super::files::Bytes;
use super::header::TensorEntry;
use super::kept::{KeptLayers, Layer, Layers, Patches};
use super::packed::Beside;
use crate::diffusion::ops::{Conv2d, GroupNorm, LayerNorm, Linear, Packed, Padding, Stored};

/// The weights of one network.
pub struct Weights {
    /// How messages name the whole.
    pub(super) file: String,
    /// By the names of diffusers.
    pub(super) tensors: Arc<Tensors>,
    pub(super) source: Source,
}

/// Where tensors lie, by the names of diffusers.
pub(super) type Tensors = HashMap<String, TensorEntry>;

/// Where layers come from.
pub(super) enum Source {
    /// Headers alone, of files that messages call `names`: what is asked for is compared with them and counted, and
    /// tensors without memory of their own stand in for it.
    Headers { names: Vec<String>, numbers: Cell<u64> },
    /// The files that [`TensorEntry::file`] counts; what was read from them is kept.
    Files { parts: Vec<Part>, layers: RefCell<Layers>, beside: Option<Box<Beside>> },
    /// A network that was loaded before.
    Kept { layers: Arc<Layers>, patches: Patches },
}

/// One file of the weights.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

impl Weights {
    /// Weights in `parts`, which messages call `file`; packed ones may lie beside them.
    pub(super) fn of_files(file: String, tensors: Tensors, parts: Vec<Part>, beside: Option<Box<Beside>>) -> Self {
        Self { file, tensors: Arc::new(tensors), source: Source::Files { parts, layers: RefCell::default(), beside } }
    }

    /// Headers of files that messages call `names`, of weights that they call `file`.
    pub(super) fn of_headers(file: String, tensors: Tensors, names: Vec<String>) -> Self {
        Self { file, tensors: Arc::new(tensors), source: Source::Headers { names, numbers: Cell::new(0) } }
    }

    /// How many numbers the layers that were asked for keep, where only the headers are there.
    pub(super) fn numbers_kept(&self) -> u64 {
        match &self.source {
            Source::Headers { numbers, .. } => numbers.get(),
            Source::Files { .. } | Source::Kept { .. } => 0,
        }
    }

    /// Whether there is a tensor of this full name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All names with the sides of their tensors, in no order.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// Closes the files and keeps what the network loaded from them: here, and packed beside the files where that is asked
    /// for.
    pub fn keep(self) -> KeptLayers {
        let layers = match self.source {
            Source::Headers { .. } => Arc::default(),
            Source::Files { layers, beside, .. } => {
                let layers = layers.into_inner();
                if let Some(beside) = beside {
                    beside.keep(|| {
                        layers.iter().filter_map(|(path, layer)| Some((path.clone(), layer.packed()?.clone())))
                    });
                }
                Arc::new(layers)
            }
            Source::Kept { layers, .. } => layers,
        };
        KeptLayers { file: self.file, tensors: self.tensors, layers }
    }

    /// Where the tensor `name` of `shape` lies, and how messages name its file.
    fn find(&self, name: &str, shape: &[usize]) -> Result<(&TensorEntry, &str), LoadError> {
        let missing = || {
            let (file, tensor) = (self.file.clone(), name.to_owned());
            LoadError::MissingTensor { file, tensor, expected: shape.into() }
        };
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        let file = match &self.source {
            Source::Headers { names, .. } => &names[entry.file],
            Source::Files { parts, .. } => &parts[entry.file].name,
            Source::Kept { .. } => return Err(missing()),
        };
        if entry.shape != shape {
            let (file, tensor, found) = (file.clone(), name.to_owned(), entry.shape.clone());
            return Err(LoadError::TensorShape { file, tensor, found, expected: shape.into() });
        }
        Ok((entry, file))
    }

    /// The tensor `name` of `shape` from its file.
    fn read(&self, name: &str, shape: &[usize], device: &Device, dtype: DType) -> Result<Tensor, LoadError> {
        let (entry, file) = self.find(name, shape)?;
        match &self.source {
            Source::Files { parts, .. } => entry.load(file, name, &parts[entry.file].bytes, device, dtype),
            Source::Headers { numbers, .. } => {
                entry.weight_dtype(file, name)?;
                // The header check multiplied the sides of every tensor without overflow.
                numbers.set(numbers.get() + shape.iter().product::<usize>() as u64);
                stand_in(shape, dtype).map_err(|source| LoadError::Tensor { file: file.to_owned(), source })
            }
            Source::Kept { .. } => unreachable!("nothing is found in a file that was closed"),
        }
    }

    /// The bytes of the tensor `name` of `shape`, where they are in a file in the order in which torch has them.
    fn stored(&self, name: &str, shape: &[usize]) -> Result<Option<Stored<'_>>, LoadError> {
        let Source::Files { parts, .. } = &self.source else { return Ok(None) };
        let (entry, file) = self.find(name, shape)?;
        let stored = entry.stored(file, name, &parts[entry.file].bytes)?;
        Ok((!entry.is_transposed).then_some(stored))
    }

    /// What `make` reads from the headers or the file; or, where the file was closed, what it made at `path` when the network was
    /// loaded, patched.
    fn layer(&self, path: &str, make: impl FnOnce() -> Result<Layer, LoadError>) -> Result<Layer, LoadError> {
        match &self.source {
            Source::Headers { .. } => make(),
            Source::Files { layers, .. } => {
                let layer = make()?;
                layers.borrow_mut().insert(path.to_owned(), layer.clone());
                Ok(layer)
            }
            Source::Kept { layers, patches } => match layers.get(path) {
                Some(layer) => {
                    patches.applied(path, layer).map_err(|source| LoadError::Tensor { file: self.file.clone(), source })
                }
                None => make(),
            },
        }
    }
}

/// A tensor of `shape` that is one zero, seen from everywhere.
fn stand_in(shape: &[usize], dtype: DType) -> candle_core::Result<Tensor> {
    Tensor::zeros((), dtype, &Device::Cpu)?.broadcast_as(shape)
}

/// A place in the tree of names of a file, where a module finds its tensors.
pub struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
    device: &'a Device,
    dtype: DType,
}

impl<'a> Scope<'a> {
    /// The root of the tree. Tensors are brought to `device` in `dtype`, whatever the file holds.
    pub fn root(weights: &'a Weights, device: &'a Device, dtype: DType) -> Self {
        Self { weights, prefix: String::new(), device, dtype }
    }

    /// Where the tensors go.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// What they are there.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The place `name` below this one; dots descend further.
    pub fn sub(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..*self }
    }

    /// Whether a tensor `name` is here.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains(&format!("{}{name}", self.prefix))
    }

    /// The tensor `name`, on the device.
    ///
    /// # Errors
    /// When it is missing, has another shape, or the device refuses it.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let path = format!("{}{name}", self.prefix);
        match self.weights.layer(&path, || Ok(Layer::Tensor(self.read(name, shape)?)))? {
            Layer::Tensor(tensor) => Ok(tensor),
            Layer::Linear(_) | Layer::Conv2d(_) => Err(self.failed(another_layer(&path))),
        }
    }

    /// A square convolution with bias, padded for a picture to keep its size over `stride`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn conv2d(&self, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Result<Conv2d, LoadError> {
        self.conv2d_padded(inputs, outputs, kernel, stride, Padding::same(kernel))
    }

    /// A square convolution with bias under the given padding.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn conv2d_padded(
        &self,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Result<Conv2d, LoadError> {
        let make = || {
            let shape = [outputs, inputs, kernel, kernel];
            if let Some(weight) = self.packed(&shape, [outputs, inputs, kernel, stride])? {
                let bias = self.layer_part("bias", &[outputs])?;
                return Ok(Layer::Conv2d(Conv2d::of_packed(weight, kernel, Some(bias), stride, padding)));
            }
            let weight = self.layer_part("weight", &shape)?;
            let bias = self.layer_part("bias", &[outputs])?;
            let conv = Conv2d::new(&weight, Some(bias), stride, padding).map_err(|error| self.failed(error))?;
            if let Source::Headers { numbers, .. } = &self.weights.source {
                let kept = Conv2d::kept_numbers([outputs, inputs, kernel, stride], self.device, self.dtype);
                numbers.set(numbers.get() + (kept - outputs * inputs * kernel * kernel) as u64);
            }
            Ok(Layer::Conv2d(conv))
        };
        match self.weights.layer(self.path(), make)? {
            Layer::Conv2d(conv) => Ok(conv),
            Layer::Tensor(_) | Layer::Linear(_) => Err(self.failed(another_layer(self.path()))),
        }
    }

    /// A matrix with bias.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn linear(&self, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        self.matrix(inputs, outputs, true)
    }

    /// A matrix without bias.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn linear_no_bias(&self, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        self.matrix(inputs, outputs, false)
    }

    fn matrix(&self, inputs: usize, outputs: usize, has_bias: bool) -> Result<Linear, LoadError> {
        let make = || {
            let bias = has_bias.then(|| self.layer_part("bias", &[outputs])).transpose()?;
            if let Some(weight) = self.packed(&[outputs, inputs], [outputs, inputs, 1, 1])? {
                return Ok(Layer::Linear(Linear::of_packed(weight, bias)));
            }
            let weight = self.layer_part("weight", &[outputs, inputs])?;
            Ok(Layer::Linear(Linear::new(&weight, bias).map_err(|error| self.failed(error))?))
        };
        match self.weights.layer(self.path(), make)? {
            Layer::Linear(linear) => Ok(linear),
            Layer::Tensor(_) | Layer::Conv2d(_) => Err(self.failed(another_layer(self.path()))),
        }
    }

    /// A group normalisation.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn group_norm(&self, channels: usize, groups: usize, eps: f64) -> Result<GroupNorm, LoadError> {
        let (weight, bias) = (self.tensor("weight", &[channels])?, self.tensor("bias", &[channels])?);
        GroupNorm::new(weight, bias, groups, eps).map_err(|error| self.failed(error))
    }

    /// A layer normalisation.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn layer_norm(&self, channels: usize, eps: f64) -> Result<LayerNorm, LoadError> {
        Ok(LayerNorm::new(self.tensor("weight", &[channels])?, self.tensor("bias", &[channels])?, eps))
    }

    /// The path of the module.
    fn path(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    /// The weight of the module as kernels read it, of `shape` as torch has it and of `sides`, `[out, in, kernel, stride]`:
    /// from beside the files where it lies there, or packed from where they hold it. Nothing where that is not possible.
    fn packed(&self, shape: &[usize], sides: [usize; 4]) -> Result<Option<Packed>, LoadError> {
        let Source::Files { beside, .. } = &self.weights.source else { return Ok(None) };
        if !self.device.is_cpu() {
            return Ok(None);
        }
        // What does not fit is told before it is looked for elsewhere.
        let stored = self.weights.stored(&format!("{}weight", self.prefix), shape)?;
        let kept = beside.as_ref().and_then(|beside| beside.matrix(self.path(), sides, self.dtype));
        Ok(kept.or_else(|| Packed::of_stored(stored?, sides, self.dtype)))
    }

    /// A tensor of a layer that lays out its weights anew. Of a stand-in one channel does, so that nothing large is
    /// laid out.
    fn layer_part(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let part = self.read(name, shape)?;
        match &self.weights.source {
            Source::Headers { .. } => {
                let one = (0..shape.len().min(2)).try_fold(part, |part, side| part.narrow(side, 0, 1));
                one.map_err(|source| self.failed(source))
            }
            Source::Files { .. } | Source::Kept { .. } => Ok(part),
        }
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.weights.read(&format!("{}{name}", self.prefix), shape, self.device, self.dtype)
    }

    /// The error of an operation that failed while a layer was made.
    pub fn failed(&self, source: candle_core::Error) -> LoadError {
        LoadError::Tensor { file: self.weights.file.clone(), source }
    }
}

/// A network asked for another kind of layer at `path` than when it was loaded first.
fn another_layer(path: &str) -> candle_core::Error {
    candle_core::Error::Msg(format!("{path} was loaded as another kind of layer"))
}
