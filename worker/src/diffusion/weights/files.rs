//! Where the files of a model lie.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::LoadError;
use super::header::{self, Header};

/// The files of one model in the diffusers layout, named by paths with `/` relative to `model_index.json`.
#[derive(Clone, Debug)]
pub struct ModelFiles(Source);

#[derive(Clone, Debug)]
enum Source {
    Folder(PathBuf),
    Embedded(&'static [EmbeddedFile]),
}

/// A file inside the binary.
#[derive(Clone, Copy)]
pub struct EmbeddedFile {
    /// Path with `/` relative to `model_index.json`.
    pub path: &'static str,
    /// All of it.
    pub bytes: &'static [u8],
}

impl std::fmt::Debug for EmbeddedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.path, self.bytes.len())
    }
}

/// The bytes of a weights file.
pub(super) enum Bytes {
    Mapped(memmap2::Mmap),
    Embedded(&'static [u8]),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}

impl ModelFiles {
    /// A folder on disk that holds a `model_index.json`.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self(Source::Folder(path.into()))
    }

    /// Files inside the binary.
    pub const fn embedded(files: &'static [EmbeddedFile]) -> Self {
        Self(Source::Embedded(files))
    }

    /// How messages name the file at `path`.
    pub fn name(&self, path: &str) -> String {
        match &self.0 {
            Source::Folder(folder) => folder.join(path).display().to_string(),
            Source::Embedded(_) => format!("built-in model: {path}"),
        }
    }

    /// Whether there is a file at `path`.
    pub fn contains(&self, path: &str) -> bool {
        match &self.0 {
            Source::Folder(folder) => folder.join(path).is_file(),
            Source::Embedded(files) => files.iter().any(|file| file.path == path),
        }
    }

    /// The bytes of a small file: configurations and vocabularies, never weights.
    ///
    /// # Errors
    /// When the file is missing or cannot be read.
    pub fn read(&self, path: &str) -> Result<Cow<'static, [u8]>, LoadError> {
        match &self.0 {
            Source::Folder(folder) => {
                std::fs::read(folder.join(path)).map(Cow::Owned).map_err(|error| self.io_error(path, error))
            }
            Source::Embedded(_) => self.embedded_bytes(path).map(Cow::Borrowed),
        }
    }

    /// The value of a JSON file.
    ///
    /// # Errors
    /// When the file is missing, cannot be read or is no such JSON.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, LoadError> {
        serde_json::from_slice(&self.read(path)?).map_err(|source| LoadError::Json { file: self.name(path), source })
    }

    /// The value of a JSON file that need not be there.
    ///
    /// # Errors
    /// When the file is there, and cannot be read or is no such JSON.
    pub fn json_if_present<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, LoadError> {
        if self.contains(path) { self.json(path).map(Some) } else { Ok(None) }
    }

    /// Checks the header of a safetensors file, then makes its bytes readable.
    pub(super) fn safetensors(&self, path: &str) -> Result<(Header, Bytes), LoadError> {
        let invalid = |reason| LoadError::Header { file: self.name(path), reason };
        match &self.0 {
            Source::Embedded(_) => {
                let bytes = self.embedded_bytes(path)?;
                Ok((Header::read(bytes, bytes.len() as u64).map_err(invalid)?, Bytes::Embedded(bytes)))
            }
            Source::Folder(folder) => {
                let failed = |error| self.io_error(path, error);
                let mut file = File::open(folder.join(path)).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                let header = Header::read((&mut file).take(header::BYTES_MAX), length).map_err(invalid)?;
                // SAFETY: the map is read-only and private to this load. Its one danger is that somebody shortens
                // the file before the tensors are copied out, which ends the process with SIGBUS; model files are
                // not written while a worker loads them.
                let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
                if (map.len() as u64) < length {
                    return Err(invalid("it became shorter while it was opened".into()));
                }
                Ok((header, Bytes::Mapped(map)))
            }
        }
    }

    fn embedded_bytes(&self, path: &str) -> Result<&'static [u8], LoadError> {
        let found = match &self.0 {
            Source::Embedded(files) => files.iter().find(|file| file.path == path),
            Source::Folder(_) => None,
        };
        found.map(|file| file.bytes).ok_or_else(|| LoadError::Missing { file: self.name(path) })
    }

    fn io_error(&self, path: &str, source: std::io::Error) -> LoadError {
        let file = self.name(path);
        match source.kind() {
            ErrorKind::NotFound => LoadError::Missing { file },
            _ => LoadError::Read { file, source },
        }
    }
}
