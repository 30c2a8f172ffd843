//! Where the files of a model lie.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::LoadError;
use super::checkpoint::{Amendment, Checkpoint};
use super::header::{self, Header};
use super::packed::PackingSender;

/// The files of one model in the diffusers layout, named by paths with `/` relative to `model_index.json`.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    pub(super) source: Source,
    /// Diffusers' `variant`: the middle part of the names of the weights that are preferred.
    pub(super) variant: Option<String>,
    amendments: Vec<Amendment>,
    /// Takes packed weights that are not beside the model yet; nothing where none are kept.
    pub(super) packings: Option<PackingSender>,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    Folder(PathBuf),
    Embedded(&'static [EmbeddedFile]),
    Checkpoint(Checkpoint),
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

impl ModelFiles {
    /// A folder on disk that holds a `model_index.json`.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::Folder(path.into()), variant: None, amendments: Vec::new(), packings: None }
    }

    /// Files inside the binary.
    pub const fn embedded(files: &'static [EmbeddedFile]) -> Self {
        Self { source: Source::Embedded(files), variant: None, amendments: Vec::new(), packings: None }
    }

    /// A single `.safetensors` file in the original layout, with the published configuration of the model that its
    /// tensors make it.
    ///
    /// # Errors
    /// When the file is missing, a pickle or broken, or its tensors are of no model that is known.
    pub fn checkpoint(path: &Path) -> Result<Self, LoadError> {
        refuse_pickle(path)?;
        let checked = CheckedFile::open(path)?;
        let (checkpoint, amendments) = Checkpoint::new(path, &checked.header)?;
        Ok(Self { source: Source::Checkpoint(checkpoint), variant: None, amendments, packings: None })
    }

    /// A single `.safetensors` file in the original layout, with the configurations and the tokenizer of a folder in
    /// the diffusers layout (diffusers' `from_single_file(config=…)`).
    ///
    /// # Errors
    /// When the file is missing, a pickle or broken.
    pub fn checkpoint_with_configs(path: &Path, folder: &Path) -> Result<Self, LoadError> {
        refuse_pickle(path)?;
        CheckedFile::open(path)?;
        let checkpoint = Checkpoint::with_configs(path, folder);
        Ok(Self { source: Source::Checkpoint(checkpoint), variant: None, amendments: Vec::new(), packings: None })
    }

    /// A single file as [`checkpoint`](Self::checkpoint) and [`checkpoint_with_configs`](Self::checkpoint_with_configs)
    /// have it, before it lies at `path`: `start` is its header with what stands before it, `size_bytes` its size.
    ///
    /// # Errors
    /// When the header is wrong, or its tensors are of no model that is known.
    pub fn checkpoint_to_come(
        path: &Path,
        start: &[u8],
        size_bytes: u64,
        configs: Option<&Path>,
    ) -> Result<Self, LoadError> {
        let invalid = |reason| LoadError::Header { file: path.display().to_string(), reason };
        let header = Header::read(start, size_bytes).map_err(invalid)?;
        let (checkpoint, amendments) = match configs {
            Some(folder) => (Checkpoint::with_configs(path, folder), Vec::new()),
            None => Checkpoint::new(path, &header)?,
        };
        Ok(Self { source: Source::Checkpoint(checkpoint), variant: None, amendments, packings: None })
    }

    /// Prefers weights whose names have `variant` in them, such as `fp16`.
    #[must_use]
    pub fn with_variant(mut self, variant: Option<String>) -> Self {
        self.variant = variant;
        self
    }

    /// Keeps packed weights beside the model: those that are there are mapped, and `packings` takes those that are not.
    #[must_use]
    pub fn with_packed(mut self, packings: Option<PackingSender>) -> Self {
        self.packings = packings;
        self
    }

    /// Says what the network predicts (`epsilon`, `v_prediction` or `sample`), whatever the scheduler's
    /// configuration says: single files cannot tell.
    #[must_use]
    pub fn with_prediction_type(mut self, prediction_type: &str) -> Self {
        let (file, key) = ("scheduler/scheduler_config.json", "prediction_type");
        self.amendments.push(Amendment { file, key, value: prediction_type.into() });
        if let Source::Checkpoint(checkpoint) = &self.source {
            self.amendments.extend(checkpoint.amendment_for(prediction_type));
        }
        self
    }

    /// How messages name the file at `path`.
    pub fn name(&self, path: &str) -> String {
        match &self.source {
            Source::Folder(folder) => folder.join(path).display().to_string(),
            Source::Embedded(_) => format!("built-in model: {path}"),
            Source::Checkpoint(checkpoint) => checkpoint.name(path),
        }
    }

    /// Whether there is a file at `path`.
    pub fn contains(&self, path: &str) -> bool {
        match &self.source {
            Source::Folder(folder) => folder.join(path).is_file(),
            Source::Embedded(files) => files.iter().any(|file| file.path == path),
            Source::Checkpoint(checkpoint) => checkpoint.contains(path),
        }
    }

    /// The bytes of a small file: configurations and vocabularies, never weights.
    ///
    /// # Errors
    /// When the file is missing or cannot be read.
    pub fn read(&self, path: &str) -> Result<Cow<'static, [u8]>, LoadError> {
        let bytes = match &self.source {
            Source::Folder(folder) => std::fs::read(folder.join(path)).map(Cow::Owned),
            Source::Embedded(_) => return self.embedded_bytes(path).map(Cow::Borrowed),
            Source::Checkpoint(checkpoint) => checkpoint.read(path),
        };
        let bytes = bytes.map_err(|error| io_error(self.name(path), error))?;
        if self.amendments.iter().all(|amendment| amendment.file != path) {
            return Ok(bytes);
        }
        let mut config: Map<String, Value> = self.parse(path, &bytes)?;
        for Amendment { key, value, .. } in self.amendments.iter().filter(|amendment| amendment.file == path) {
            config.insert((*key).into(), value.clone());
        }
        Ok(Cow::Owned(Value::Object(config).to_string().into_bytes()))
    }

    /// The value of a JSON file.
    ///
    /// # Errors
    /// When the file is missing, cannot be read or is no such JSON.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, LoadError> {
        self.parse(path, &self.read(path)?)
    }

    /// The value of a JSON file that need not be there.
    ///
    /// # Errors
    /// When the file is there, and cannot be read or is no such JSON.
    pub fn json_if_present<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, LoadError> {
        if self.contains(path) { self.json(path).map(Some) } else { Ok(None) }
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, LoadError> {
        serde_json::from_slice(bytes).map_err(|source| LoadError::Json { file: self.name(path), source })
    }

    /// Checks the header of a safetensors file; nothing is mapped yet.
    pub(super) fn safetensors(&self, path: &str) -> Result<CheckedFile, LoadError> {
        match &self.source {
            Source::Embedded(_) => {
                let (name, bytes) = (self.name(path), self.embedded_bytes(path)?);
                match Header::read(bytes, bytes.len() as u64) {
                    Ok(header) => Ok(CheckedFile { name, header, handle: Handle::Embedded(bytes) }),
                    Err(reason) => Err(LoadError::Header { file: name, reason }),
                }
            }
            Source::Folder(folder) => CheckedFile::open(&folder.join(path)),
            Source::Checkpoint(checkpoint) => CheckedFile::open(&checkpoint.path),
        }
    }

    fn embedded_bytes(&self, path: &str) -> Result<&'static [u8], LoadError> {
        let found = match &self.source {
            Source::Embedded(files) => files.iter().find(|file| file.path == path),
            Source::Folder(_) | Source::Checkpoint(_) => None,
        };
        found.map(|file| file.bytes).ok_or_else(|| LoadError::Missing { file: self.name(path) })
    }
}

/// Endings of files that Python unpickles.
const PICKLES: &[&str] = &["ckpt", "pt", "pth", "bin", "pkl"];

/// Refuses a pickle by its name, before it is opened.
fn refuse_pickle(path: &Path) -> Result<(), LoadError> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if !PICKLES.contains(&ending.as_str()) {
        return Ok(());
    }
    Err(LoadError::Format {
        file: path.display().to_string(),
        found: "a pickle, which can run any code when it is opened",
        advice: "convert it to .safetensors where you trust it",
    })
}

fn io_error(file: String, source: std::io::Error) -> LoadError {
    match source.kind() {
        ErrorKind::NotFound => LoadError::Missing { file },
        _ => LoadError::Read { file, source },
    }
}

/// A weights file whose header is consistent with its length.
#[derive(Debug)]
pub(super) struct CheckedFile {
    /// How messages name it.
    pub(super) name: String,
    pub(super) header: Header,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    Disk { file: File, path: PathBuf, bytes: u64 },
    Embedded(&'static [u8]),
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

impl CheckedFile {
    fn open(path: &Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        let failed = |error| io_error(name.clone(), error);
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        match Header::read((&mut file).take(header::BYTES_MAX), bytes) {
            Ok(header) => Ok(Self { name, header, handle: Handle::Disk { file, path: path.to_owned(), bytes } }),
            Err(reason) => Err(LoadError::Header { file: name, reason }),
        }
    }

    /// Where it lies on the disk.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.handle {
            Handle::Disk { path, .. } => Some(path),
            Handle::Embedded(_) => None,
        }
    }

    /// What changes when somebody writes it anew; nothing where the system does not tell, or where it is on no disk.
    pub(super) fn identity(&self) -> Option<String> {
        let Handle::Disk { file, path, bytes } = &self.handle else { return None };
        let modified = file.metadata().and_then(|metadata| metadata.modified()).ok()?;
        let modified = modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
        let name = path.file_name()?.to_string_lossy();
        Some(format!("{name} of {bytes} bytes, written at {modified} ns"))
    }

    /// Makes the bytes readable.
    pub(super) fn map(&self) -> Result<Bytes, LoadError> {
        match &self.handle {
            Handle::Embedded(bytes) => Ok(Bytes::Embedded(bytes)),
            Handle::Disk { file, bytes, .. } => {
                let map = map(file).map_err(|error| io_error(self.name.clone(), error))?;
                if (map.len() as u64) < *bytes {
                    let reason = "it became shorter while it was opened".into();
                    return Err(LoadError::Header { file: self.name.clone(), reason });
                }
                Ok(Bytes::Mapped(map))
            }
        }
    }
}

/// Makes the bytes of `file` readable.
pub(super) fn map(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is read-only. Its one danger is that somebody shortens the file while it is there, which ends the
    // process with SIGBUS: model files are not written while a worker loads them, and packed weights, which stay mapped,
    // are replaced as a whole and never written to.
    unsafe { memmap2::Mmap::map(file) }
}
