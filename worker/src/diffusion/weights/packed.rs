//! Matrices in the order in which the CPU's kernels read them, kept in a file beside the weights and mapped at the next
//! start, when nothing is left to convert and to lay out.
//!
//! The file is a safetensors file, one `U8` tensor for each matrix, and says which weights it was made of: their names,
//! sizes and times of change. Whoever changes them has it made anew.

use std::cell::OnceCell;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use candle_core::DType;
use sd_kernels::SharedBytes;
use serde_json::{Map, json};

use super::files::{self, CheckedFile};
use super::header::Header;
use crate::diffusion::CancelToken;
use crate::diffusion::ops::Packed;

/// Names what a file was made of.
const MADE_OF: &str = "made_of";
/// Matrices begin at a multiple of this, as vectors like it.
const ALIGNMENT: usize = 64;

/// Takes the files that are worth writing, as whoever writes them must not keep a model waiting.
pub type PackingSender = Sender<Packing>;

/// The packed weights of a network that is being loaded.
pub(super) struct Beside {
    /// Name and place of the file, without its ending.
    stem: PathBuf,
    /// Of the weights.
    identities: String,
    packings: PackingSender,
    /// Known when the first matrix is asked for.
    opened: OnceCell<Option<(PackedPlace, Option<PackedFile>)>>,
}

/// A packed file: where it lies, and what it must be made of.
#[derive(Clone, Debug)]
struct PackedPlace {
    path: PathBuf,
    made_of: String,
}

/// A packed file that is mapped.
struct PackedFile {
    bytes: Arc<memmap2::Mmap>,
    header: Header,
}

/// A packed file that is to be written.
#[derive(Debug)]
pub struct Packing {
    place: PackedPlace,
    matrices: Vec<(String, Packed)>,
}

impl Beside {
    /// Those of `network`, whose weights are in `files`; nothing where they are not on a disk.
    pub(super) fn of(files: &[CheckedFile], network: &str, packings: &PackingSender) -> Option<Self> {
        let first = files.first()?.path()?;
        let name = format!("{}.{network}", first.file_name()?.to_string_lossy());
        let identities = files.iter().map(CheckedFile::identity).collect::<Option<Vec<_>>>()?.join("; ");
        let (stem, packings) = (first.with_file_name(name), packings.clone());
        Some(Self { stem, identities, packings, opened: OnceCell::new() })
    }

    /// The matrix `name` for `dtype`, where it is there in those sides, `[out, in, kernel, stride]`.
    pub(super) fn matrix(&self, name: &str, sides: [usize; 4], dtype: DType) -> Option<Packed> {
        let opened = self.opened.get_or_init(|| {
            let path = self.stem.with_added_extension(format!("{}.packed", dtype.as_str()));
            let place = PackedPlace { path, made_of: format!("{}; {}", Packed::layout(dtype)?, self.identities) };
            let file = place.open();
            Some((place, file))
        });
        let (_, file) = opened.as_ref()?;
        file.as_ref()?.matrix(name, sides, dtype)
    }

    /// Hands over what `matrices` tells, where it was asked for and there is no file.
    pub(super) fn keep<I>(&self, matrices: impl FnOnce() -> I)
    where
        I: Iterator<Item = (String, Packed)>,
    {
        let Some(Some((place, None))) = self.opened.get() else { return };
        let packing = Packing { place: place.clone(), matrices: matrices().collect() };
        if self.packings.send(packing).is_err() {
            tracing::debug!(path = %place.path.display(), "nobody writes packed weights any more");
        }
    }
}

impl PackedPlace {
    /// Maps the file; nothing where there is none, or one that does not fit any more.
    fn open(&self) -> Option<PackedFile> {
        let path = self.path.display();
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%path, error = &error as &dyn std::error::Error, "packed weights cannot be opened");
                return None;
            }
        };
        let opened = file.metadata().map_err(|error| error.to_string()).and_then(|metadata| {
            let header = Header::read(&mut file, metadata.len())?;
            let bytes = files::map(&file).map_err(|error| error.to_string())?;
            if bytes.len() as u64 != metadata.len() {
                return Err("it became shorter while it was opened".into());
            }
            Ok(PackedFile { bytes: Arc::new(bytes), header })
        });
        match opened {
            Ok(packed) if packed.header.metadata.get(MADE_OF) == Some(&self.made_of) => Some(packed),
            Ok(_) => {
                tracing::info!(%path, "packed weights are of other files or another worker, and are made anew");
                None
            }
            Err(reason) => {
                tracing::warn!(%path, reason, "packed weights are damaged and made anew");
                None
            }
        }
    }
}

impl PackedFile {
    /// The matrix `name`, where it is here in those sides, `[out, in, kernel, stride]`.
    fn matrix(&self, name: &str, sides: [usize; 4], dtype: DType) -> Option<Packed> {
        let entry = self.header.tensors.get(name)?;
        let bytes: SharedBytes = Arc::<memmap2::Mmap>::clone(&self.bytes);
        let matrix = Packed::of_packed(bytes, entry.range.start, sides, dtype)?;
        (matrix.len_bytes() == entry.range.len()).then_some(matrix)
    }
}

impl Packing {
    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Writes the file beside its place, and puts it there when it is on the disk. Says whether it is there: it is not
    /// where it was canceled meanwhile, and nothing is left behind.
    ///
    /// # Errors
    /// Those of the file system, after which nothing is left behind.
    pub fn write(&self, cancel: &CancelToken) -> std::io::Result<bool> {
        if cancel.is_canceled() {
            return Ok(false);
        }
        let folder = self.path().parent().unwrap_or(Path::new("."));
        let mut file = BufWriter::new(new_file().tempfile_in(folder)?);
        file.write_all(&self.header())?;
        for (_, matrix) in &self.matrices {
            if cancel.is_canceled() {
                return Ok(false);
            }
            matrix.bytes().into_iter().try_for_each(|piece| file.write_all(piece))?;
        }
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(self.path())?;
        Ok(true)
    }

    fn header(&self) -> Vec<u8> {
        let mut tensors = Map::new();
        tensors.insert("__metadata__".into(), json!({ MADE_OF: self.place.made_of }));
        let mut end = 0;
        for (name, matrix) in &self.matrices {
            let (start, len) = (end, matrix.len_bytes());
            end += len;
            tensors.insert(name.clone(), json!({"dtype": "U8", "shape": [len], "data_offsets": [start, end]}));
        }
        let mut json = serde_json::Value::Object(tensors).to_string().into_bytes();
        // The format allows spaces behind the JSON.
        json.resize((8 + json.len()).next_multiple_of(ALIGNMENT) - 8, b' ');
        [&(json.len() as u64).to_le_bytes(), json.as_slice()].concat()
    }
}

/// A file that is not finished, which whoever may read the folder's other new files may read as well.
fn new_file() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".packed.part").permissions(Permissions::from_mode(0o666));
    builder
}
