//! The tensors of a safetensors file: eight bytes with the length of a header, the header as JSON, the numbers.

use half::{bf16, f16};
use serde_json::Value;

use super::DecoderError;

/// Most bytes of a decoder's file; TAESD's has 2.4 MB in f16.
pub const FILE_BYTES_MAX: usize = 32 << 20;

/// An opened file; nothing but its header is read yet.
pub(super) struct File<'a> {
    header: Value,
    numbers: &'a [u8],
}

impl<'a> File<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, DecoderError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(DecoderError::TooLarge(bytes.len()));
        }
        let (length, rest) = bytes.split_first_chunk().ok_or(DecoderError::NoFile)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| DecoderError::NoFile)?;
        let (header, numbers) = rest.split_at_checked(length).ok_or(DecoderError::NoFile)?;
        let header = str::from_utf8(header).map_err(|_| DecoderError::NoFile)?;
        let header = serde_json::from_str(header).map_err(|_| DecoderError::NoFile)?;
        Ok(Self { header, numbers })
    }

    /// A text of the file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.get("__metadata__")?.get(key)?.as_str()
    }

    /// The numbers of a tensor that must have these sides, as f32.
    pub(super) fn tensor(&self, name: &str, sides: &[usize]) -> Result<Vec<f32>, DecoderError> {
        let entry = self.header.get(name).ok_or_else(|| DecoderError::Missing(name.to_owned()))?;
        let list = |key: &str| entry.get(key)?.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<_>>>();
        let shape = list("shape").ok_or(DecoderError::NoFile)?;
        if !shape.iter().eq(sides.iter().map(|&side| side as u64).collect::<Vec<_>>().iter()) {
            return Err(DecoderError::Sides { name: name.to_owned(), found: shape, expected: sides.to_vec() });
        }
        let dtype = entry.get("dtype").and_then(Value::as_str).unwrap_or_default();
        let size_bytes = match dtype {
            "F32" => 4,
            "F16" | "BF16" => 2,
            other => return Err(DecoderError::Dtype { name: name.to_owned(), found: other.to_owned() }),
        };
        let bytes = match list("data_offsets").as_deref() {
            Some(&[from, to]) => self.numbers.get(from as usize..to as usize),
            _ => None,
        };
        let count: usize = sides.iter().product();
        let bytes = bytes.filter(|bytes| bytes.len() == count * size_bytes).ok_or(DecoderError::NoFile)?;
        let pairs = || bytes.as_chunks::<2>().0.iter();
        Ok(match dtype {
            "F32" => bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)).collect(),
            "F16" => pairs().map(|&two| f16::from_le_bytes(two).to_f32()).collect(),
            _ => pairs().map(|&two| bf16::from_le_bytes(two).to_f32()).collect(),
        })
    }
}
