//! Tensors by name, in the layers that the networks hold.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::LoadError;
use super::files::Bytes;
use super::header::TensorEntry;
use super::kept::{KeptLayers, Layer, Layers, Patches};
use crate::diffusion::ops::{Conv2d, GroupNorm, LayerNorm, Linear, Padding};

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
    /// The files that [`TensorEntry::file`] counts; what was read from them is kept.
    Files { parts: Vec<Part>, layers: RefCell<Layers> },
    /// A network that was loaded before.
    Kept { layers: Arc<Layers>, patches: Patches },
}

/// One file of the weights.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

impl Weights {
    /// Weights in `parts`, which messages call `file`.
    pub(super) fn of_files(file: String, tensors: Tensors, parts: Vec<Part>) -> Self {
        Self { file, tensors: Arc::new(tensors), source: Source::Files { parts, layers: RefCell::default() } }
    }

    /// Whether there is a tensor of this full name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All names with the sides of their tensors, in no order.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// Closes the files and keeps what the network loaded from them.
    pub fn keep(self) -> KeptLayers {
        let layers = match self.source {
            Source::Files { layers, .. } => Arc::new(layers.into_inner()),
            Source::Kept { layers, .. } => layers,
        };
        KeptLayers { file: self.file, tensors: self.tensors, layers }
    }

    /// The tensor `name` of `shape` from its file.
    fn read(&self, name: &str, shape: &[usize], device: &Device, dtype: DType) -> Result<Tensor, LoadError> {
        let tensor = || name.to_owned();
        let (Some(entry), Source::Files { parts, .. }) = (self.tensors.get(name), &self.source) else {
            let file = self.file.clone();
            return Err(LoadError::MissingTensor { file, tensor: tensor(), expected: shape.into() });
        };
        let Part { name: file, bytes } = &parts[entry.file];
        if entry.shape != shape {
            let (found, file) = (entry.shape.clone(), file.clone());
            return Err(LoadError::TensorShape { file, tensor: tensor(), found, expected: shape.into() });
        }
        entry.load(file, name, bytes, device, dtype)
    }

    /// What `make` reads from the file; or, where the file was closed, what it made at `path` when the network was
    /// loaded, patched.
    fn layer(&self, path: &str, make: impl FnOnce() -> Result<Layer, LoadError>) -> Result<Layer, LoadError> {
        match &self.source {
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
            let weight = self.read("weight", &[outputs, inputs, kernel, kernel])?;
            let bias = self.read("bias", &[outputs])?;
            let conv = Conv2d::new(&weight, Some(bias), stride, padding).map_err(|error| self.failed(error))?;
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
            let bias = has_bias.then(|| self.read("bias", &[outputs])).transpose()?;
            let weight = self.read("weight", &[outputs, inputs])?;
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
