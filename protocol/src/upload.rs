//! Pictures that clients bring.
//!
//! On a socket an `upload` frame announces one, then binary frames of kind 4 carry it in order: the 32-byte header of
//! [`crate::binary`] with the tag of the upload in place of a handle and zeros behind it, then bytes of the file. Bit 0
//! of the flags marks the last chunk.

use serde::{Deserialize, Serialize};

use crate::PROTOCOL_VERSION;
use crate::binary::{DecodeError, FLAG_LAST, HEADER_BYTES, MAGIC};
use crate::limits::BINARY_BYTES_MAX;

/// The fourth byte of an upload chunk.
pub const UPLOAD_CHUNK_KIND: u8 = 4;
/// Bytes of the file in a chunk at most.
pub const CHUNK_BYTES_MAX: usize = BINARY_BYTES_MAX - HEADER_BYTES;

/// What the worker says about an upload: the body of `POST /v1/uploads`, and in `uploaded`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UploadView {
    /// SHA-256 of the file, in lower-case hexadecimal digits: what `image` and `mask` of a job name.
    pub id: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// px, as the picture stands upright.
    pub width: u32,
    /// px, as the picture stands upright.
    pub height: u32,
}

/// A part of a file on its way to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadChunk<'a> {
    /// The tag of the `upload` frame.
    pub tag: u32,
    /// Whether this is the last one.
    pub last: bool,
    /// The bytes that follow those of the chunk before.
    pub payload: &'a [u8],
}

impl<'a> UploadChunk<'a> {
    /// The chunks of a file, in order; at least one.
    pub fn split(tag: u32, file: &'a [u8]) -> impl Iterator<Item = Self> {
        let count = file.len().div_ceil(CHUNK_BYTES_MAX).max(1);
        (1..=count).map(move |number| {
            let start = (number - 1) * CHUNK_BYTES_MAX;
            let end = file.len().min(number * CHUNK_BYTES_MAX);
            Self { tag, last: number == count, payload: &file[start..end] }
        })
    }

    /// The binary frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2] = PROTOCOL_VERSION;
        bytes[3] = UPLOAD_CHUNK_KIND;
        bytes[4..8].copy_from_slice(&self.tag.to_le_bytes());
        bytes[22..24].copy_from_slice(&(if self.last { FLAG_LAST } else { 0 }).to_le_bytes());
        bytes.extend(self.payload);
        bytes
    }

    /// Reads a binary frame from a client. Fields that mean nothing here are passed over.
    ///
    /// # Errors
    /// The first thing that makes `frame` no upload chunk of this version.
    pub fn decode(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, payload) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(DecodeError::TooShort(frame.len()))?;
        if header[0..2] != MAGIC {
            return Err(DecodeError::Magic);
        }
        if header[2] != PROTOCOL_VERSION {
            return Err(DecodeError::Version(header[2]));
        }
        if header[3] != UPLOAD_CHUNK_KIND {
            return Err(DecodeError::Kind(header[3]));
        }
        let tag = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let last = u16::from_le_bytes([header[22], header[23]]) & FLAG_LAST != 0;
        Ok(Self { tag, last, payload })
    }
}
