//! Any safetensors file, for adapters and embeddings: small files whose names say what they are.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::files::Bytes;
use super::header::{Header, TensorEntry};
use super::{LoadError, ModelFiles};

/// An open file.
pub struct TensorFile {
    file: String,
    header: Header,
    bytes: Bytes,
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
        let file = files.safetensors(path)?;
        let bytes = file.map()?;
        Ok(Self { file: files.name(path), header: file.header, bytes })
    }

    /// How messages name the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The names of all tensors, in no order.
    pub fn names(&self) -> Vec<&str> {
        self.header.tensors.keys().map(String::as_str).collect()
    }

    /// What the writer said about the file.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.header.metadata
    }

    /// The tensor `name` as f32 on `device`, in whatever shape it has.
    ///
    /// # Errors
    /// When it is missing, of a type that weights do not have, or the device refuses it.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor, LoadError> {
        self.entry(name)?.load(&self.file, name, &self.bytes, device, DType::F32)
    }

    /// The one number of the tensor `name`, which may be an integer.
    ///
    /// # Errors
    /// When it is missing, holds more or less than one number, or is of a type that settings do not have.
    pub fn number(&self, name: &str) -> Result<f64, LoadError> {
        let entry = self.entry(name)?;
        if entry.shape.iter().product::<usize>() != 1 {
            let (found, expected) = (entry.shape.clone(), Vec::new());
            return Err(LoadError::TensorShape { file: self.file.clone(), tensor: name.into(), found, expected });
        }
        if let Ok(bytes) = self.bytes[entry.range.clone()].try_into() {
            match entry.dtype {
                "F64" => return Ok(f64::from_le_bytes(bytes)),
                "I64" => return Ok(i64::from_le_bytes(bytes) as f64),
                _ => {}
            }
        }
        let number = entry.load(&self.file, name, &self.bytes, &Device::Cpu, DType::F32)?;
        let number = number.flatten_all().and_then(|number| number.to_vec1::<f32>());
        let number = number.map_err(|source| LoadError::Tensor { file: self.file.clone(), source })?;
        Ok(f64::from(number[0]))
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry, LoadError> {
        self.header.tensors.get(name).ok_or_else(|| LoadError::MissingTensor {
            file: self.file.clone(),
            tensor: name.into(),
            expected: Vec::new(),
        })
    }
}

impl TensorEntry {
    /// Copies the tensor out of the bytes of its file, to `device` in `dtype`.
    pub(super) fn load(
        &self,
        file: &str,
        name: &str,
        bytes: &[u8],
        device: &Device,
        dtype: DType,
    ) -> Result<Tensor, LoadError> {
        let stored = match self.dtype {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            found => return Err(LoadError::TensorDtype { file: file.into(), tensor: name.into(), found }),
        };
        // The header check put every range inside its file.
        let bytes = &bytes[self.range.clone()];
        let read = |shape: &[usize]| Tensor::from_raw_buffer(bytes, stored, shape, device);
        let tensor = match *self.shape.as_slice() {
            [rows, columns] if self.is_transposed => read(&[columns, rows]).and_then(|tensor| tensor.t()?.contiguous()),
            _ => read(&self.shape),
        };
        tensor
            .and_then(|tensor| tensor.to_dtype(dtype))
            .map_err(|source| LoadError::Tensor { file: file.into(), source })
    }
}
