//! Tensors by name, in the layers that the networks hold.

use candle_core::{DType, Device, Tensor};

use super::files::Bytes;
use super::header::{Header, TensorEntry};
use super::{LoadError, ModelFiles};
use crate::diffusion::ops::{Conv2d, GroupNorm, LayerNorm, Linear};

/// The weights of one network.
pub struct Weights {
    file: String,
    header: Header,
    bytes: Bytes,
}

impl Weights {
    /// Opens `{folder}/{stem}.safetensors`, or its `.fp16` variant where only that is there.
    ///
    /// # Errors
    /// When there is no such file, only one that cannot be read, or its header is wrong.
    pub fn open(files: &ModelFiles, folder: &str, stem: &str) -> Result<Self, LoadError> {
        for variant in ["", ".fp16"] {
            let path = format!("{folder}/{stem}{variant}.safetensors");
            if files.contains(&path) {
                let (header, bytes) = files.safetensors(&path)?;
                return Ok(Self { file: files.name(&path), header, bytes });
            }
        }
        Err(unreadable(files, folder, stem))
    }

    /// Whether there is a tensor of this full name.
    pub fn contains(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    fn load(&self, name: &str, entry: &TensorEntry, device: &Device) -> Result<Tensor, LoadError> {
        let dtype = match entry.dtype {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            found => return Err(LoadError::TensorDtype { file: self.file.clone(), tensor: name.into(), found }),
        };
        // The header check put every range inside the file.
        Tensor::from_raw_buffer(&self.bytes[entry.range.clone()], dtype, &entry.shape, device)
            .and_then(|tensor| tensor.to_dtype(DType::F32))
            .map_err(|source| LoadError::Tensor { file: self.file.clone(), source })
    }
}

/// Why none of the weights of a network can be read.
fn unreadable(files: &ModelFiles, folder: &str, stem: &str) -> LoadError {
    let sharded = format!("{folder}/{stem}.safetensors.index.json");
    if files.contains(&sharded) {
        return LoadError::Format {
            file: files.name(&sharded),
            found: "the index of weights that are split over several files",
            advice: "save the model again with a `max_shard_size` above its size",
        };
    }
    for pickle in [format!("{folder}/{stem}.bin"), format!("{folder}/pytorch_model.bin")] {
        if files.contains(&pickle) {
            return LoadError::Format {
                file: files.name(&pickle),
                found: "a pickle, which can run any code when it is opened",
                advice: "save the model again with `safe_serialization=True`",
            };
        }
    }
    LoadError::Missing { file: files.name(&format!("{folder}/{stem}.safetensors")) }
}

/// A place in the tree of names of a file, where a module finds its tensors.
pub struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
    device: &'a Device,
}

impl<'a> Scope<'a> {
    /// The root of the tree.
    pub fn root(weights: &'a Weights, device: &'a Device) -> Self {
        Self { weights, prefix: String::new(), device }
    }

    /// The place `name` below this one; dots descend further.
    pub fn sub(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..*self }
    }

    /// Whether a tensor `name` is here.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains(&format!("{}{name}", self.prefix))
    }

    /// The tensor `name`, in f32 on the device.
    ///
    /// # Errors
    /// When it is missing, has another shape, or the device refuses it.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let tensor = format!("{}{name}", self.prefix);
        let file = || self.weights.file.clone();
        let Some(entry) = self.weights.header.tensors.get(&tensor) else {
            return Err(LoadError::MissingTensor { file: file(), tensor, expected: shape.into() });
        };
        if entry.shape != shape {
            let found = entry.shape.clone();
            return Err(LoadError::TensorShape { file: file(), tensor, found, expected: shape.into() });
        }
        self.weights.load(&tensor, entry, self.device)
    }

    /// A square convolution with bias.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn conv2d(&self, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Result<Conv2d, LoadError> {
        let weight = self.tensor("weight", &[outputs, inputs, kernel, kernel])?;
        let bias = self.tensor("bias", &[outputs])?;
        Conv2d::new(&weight, Some(bias), stride, kernel / 2).map_err(|error| self.failed(error))
    }

    /// A matrix with bias.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn linear(&self, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let bias = self.tensor("bias", &[outputs])?;
        Linear::new(&self.tensor("weight", &[outputs, inputs])?, Some(bias)).map_err(|error| self.failed(error))
    }

    /// A matrix without bias.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn linear_no_bias(&self, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        Linear::new(&self.tensor("weight", &[outputs, inputs])?, None).map_err(|error| self.failed(error))
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

    fn failed(&self, source: candle_core::Error) -> LoadError {
        LoadError::Tensor { file: self.weights.file.clone(), source }
    }
}
