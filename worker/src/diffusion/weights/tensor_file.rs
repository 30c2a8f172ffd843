//! Any safetensors file, for adapters and embeddings: files whose names say what they are.

use std::cell::OnceCell;
use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::files::{Bytes, CheckedFile};
use super::header::TensorEntry;
use super::{LoadError, ModelFiles};
use crate::diffusion::ops::Stored;

/// A file whose header is right. It is mapped when the first tensor is read.
pub struct TensorFile {
    file: CheckedFile,
    bytes: OnceCell<Bytes>,
}

impl std::fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TensorFile").field(&self.file.name).finish()
    }
}

impl TensorFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When it is missing, is a pickle, cannot be read, or its header is wrong.
    pub fn open(files: &ModelFiles, path: &str) -> Result<Self, LoadError> {
        if [".pt", ".bin", ".ckpt", ".pth"].iter().any(|pickle| path.ends_with(pickle)) {
            return Err(LoadError::Format {
                file: files.name(path),
                found: "a pickle, which can run any code when it is opened",
                advice: "convert it to safetensors",
            });
        }
        Ok(Self { file: files.safetensors(path)?, bytes: OnceCell::new() })
    }

    /// How messages name the file.
    pub fn file(&self) -> &str {
        &self.file.name
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.file.header.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// What the writer said about the file.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.file.header.metadata
    }

    /// The shape of the tensor `name`, by the header alone.
    ///
    /// # Errors
    /// When it is missing, or of a type that weights do not have.
    pub fn shape(&self, name: &str) -> Result<&[usize], LoadError> {
        let entry = self.entry(name)?;
        entry.weight_dtype(self.file(), name)?;
        Ok(&entry.shape)
    }

    /// The tensor `name` as f32 on `device`, in whatever shape it has.
    ///
    /// # Errors
    /// When it is missing, of a type that weights do not have, the file cannot be mapped, or the device refuses it.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor, LoadError> {
        self.entry(name)?.load(self.file(), name, self.bytes()?, device, DType::F32)
    }

    /// Whether the tensor `name` is one number that [`number`](Self::number) can read, by the header alone.
    ///
    /// # Errors
    /// When it is missing, holds more or less than one number, or is of a type that settings do not have.
    pub fn check_number(&self, name: &str) -> Result<(), LoadError> {
        let entry = self.entry(name)?;
        if entry.shape.iter().product::<usize>() != 1 {
            let (found, expected) = (entry.shape.clone(), Vec::new());
            return Err(LoadError::TensorShape { file: self.file().into(), tensor: name.into(), found, expected });
        }
        if ["F64", "I64"].contains(&entry.dtype) { Ok(()) } else { entry.weight_dtype(self.file(), name).map(drop) }
    }

    /// The one number of the tensor `name`, which may be an integer.
    ///
    /// # Errors
    /// Those of [`check_number`](Self::check_number), or when the file cannot be mapped.
    pub fn number(&self, name: &str) -> Result<f64, LoadError> {
        self.check_number(name)?;
        let (entry, all) = (self.entry(name)?, self.bytes()?);
        if let Ok(bytes) = all[entry.range.clone()].try_into() {
            match entry.dtype {
                "F64" => return Ok(f64::from_le_bytes(bytes)),
                "I64" => return Ok(i64::from_le_bytes(bytes) as f64),
                _ => {}
            }
        }
        let number = entry.load(self.file(), name, all, &Device::Cpu, DType::F32)?;
        let number = number.flatten_all().and_then(|number| number.to_vec1::<f32>());
        let number = number.map_err(|source| LoadError::Tensor { file: self.file().into(), source })?;
        Ok(f64::from(number[0]))
    }

    fn bytes(&self) -> Result<&[u8], LoadError> {
        if let Some(bytes) = self.bytes.get() {
            return Ok(bytes);
        }
        let mapped = self.file.map()?;
        Ok(self.bytes.get_or_init(|| mapped))
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry, LoadError> {
        self.file.header.tensors.get(name).ok_or_else(|| LoadError::MissingTensor {
            file: self.file().into(),
            tensor: name.into(),
            expected: Vec::new(),
        })
    }
}

impl TensorEntry {
    /// The type of the tensor `name` of `file`, where it is one that weights have.
    pub(super) fn weight_dtype(&self, file: &str, name: &str) -> Result<DType, LoadError> {
        match self.dtype {
            "F32" => Ok(DType::F32),
            "F16" => Ok(DType::F16),
            "BF16" => Ok(DType::BF16),
            found => Err(LoadError::TensorDtype { file: file.into(), tensor: name.into(), found }),
        }
    }

    /// The numbers of the tensor `name` of `file` in the bytes of that.
    pub(super) fn stored<'a>(&self, file: &str, name: &str, bytes: &'a [u8]) -> Result<Stored<'a>, LoadError> {
        // The header check put every range inside its file.
        let bytes = &bytes[self.range.clone()];
        Ok(match self.weight_dtype(file, name)? {
            DType::F16 => Stored::F16(bytes),
            DType::BF16 => Stored::Bf16(bytes),
            _ => Stored::F32(bytes),
        })
    }

    /// Copies the tensor out of the bytes of its file, to `device` in `dtype`.
    pub(super) fn load(
        &self,
        file: &str,
        name: &str,
        bytes: &[u8],
        device: &Device,
        dtype: DType,
    ) -> Result<Tensor, LoadError> {
        let (stored, found) = (self.stored(file, name, bytes)?, self.weight_dtype(file, name)?);
        let bytes = &bytes[self.range.clone()];
        let read = |shape: &[usize]| match dtype {
            // candle converts on one thread, and a vocabulary is large.
            DType::F32 if device.is_cpu() => Tensor::from_vec(stored.to_numbers::<f32>(), shape, device),
            DType::BF16 if device.is_cpu() => Tensor::from_vec(stored.to_numbers::<bf16>(), shape, device),
            _ => Tensor::from_raw_buffer(bytes, found, shape, device),
        };
        let tensor = match *self.shape.as_slice() {
            [rows, columns] if self.is_transposed => read(&[columns, rows]).and_then(|tensor| tensor.t()?.contiguous()),
            _ => read(&self.shape),
        };
        tensor
            .and_then(|tensor| tensor.to_dtype(dtype))
            .map_err(|source| LoadError::Tensor { file: file.into(), source })
    }
}
