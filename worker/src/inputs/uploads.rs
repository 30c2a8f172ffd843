//! The uploads of a worker: one file per content, named by its SHA-256, as many as fit.
//!
//! A new upload pushes out those that were longest out of use; an [`UploadLease`], which a job holds while it waits
//! and draws, keeps one in place.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sd_protocol::UploadView;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::source::is_upload_id;
use super::{ImageSource, InputError, InputImage};

/// All uploads.
#[derive(Debug)]
pub struct Uploads {
    folder: PathBuf,
    bytes_max: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    entries: HashMap<String, Entry>,
    /// Counts uses, so that the entry with the lowest count is the one longest out of use.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    last_use: u64,
    leases: usize,
}

impl Uploads {
    /// Opens or makes the uploads in `folder`, which take up at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut found = Vec::new();
        for file in fs::read_dir(folder)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if is_upload_id(&name) {
                let metadata = file.metadata()?;
                found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, metadata.len()));
            }
        }
        found.sort();
        let mut index = Index::default();
        for (_, id, bytes) in found {
            index.insert(id, bytes);
        }
        Ok(Self { folder: folder.to_owned(), bytes_max, index: Mutex::new(index) })
    }

    /// Checks and stores a picture; whole or not at all. The same content has the same id, and costs nothing twice.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// What [`InputImage::decode`] refuses, [`InputError::Full`], or [`InputError::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<UploadView, InputError> {
        let (width, height) = InputImage::decode(bytes)?.size();
        let id: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let size_bytes = bytes.len() as u64;
        let view = UploadView { id: id.clone(), bytes: size_bytes, width, height };
        if self.index().touch(&id) {
            return Ok(view);
        }
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        let mut index = self.index();
        if !index.touch(&id) {
            for leaving in index.make_room(size_bytes, self.bytes_max).ok_or(InputError::Full(self.bytes_max))? {
                if let Err(error) = fs::remove_file(self.folder.join(&leaving)) {
                    tracing::warn!(
                        upload = leaving,
                        error = &error as &dyn std::error::Error,
                        "an upload stays behind"
                    );
                }
            }
            file.persist(self.folder.join(&id)).map_err(|error| error.error)?;
            index.insert(id, size_bytes);
        }
        Ok(view)
    }

    /// Whether there is such an upload.
    pub fn contains(&self, id: &str) -> bool {
        self.index().entries.contains_key(id)
    }

    /// Holds an upload in place for a job; a picture that the request brings itself is stored first, so that a job
    /// never carries more than an id. Blocks on the disk.
    ///
    /// # Errors
    /// [`InputError::UnknownUpload`], or as [`put`](Self::put).
    pub fn lease(self: &Arc<Self>, source: &ImageSource) -> Result<UploadLease, InputError> {
        let id = match source {
            ImageSource::Upload(id) => id.clone(),
            ImageSource::Inline(bytes) => self.put(bytes)?.id,
        };
        let mut index = self.index();
        if !index.touch(&id) {
            return Err(InputError::UnknownUpload(id));
        }
        if let Some(entry) = index.entries.get_mut(&id) {
            entry.leases += 1;
        }
        drop(index);
        Ok(UploadLease { uploads: Arc::clone(self), id })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Every change under this lock is complete at each point where it could panic.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn insert(&mut self, id: String, bytes: u64) {
        self.uses += 1;
        self.entries.insert(id, Entry { bytes, last_use: self.uses, leases: 0 });
    }

    /// Whether there is such an upload; it is in use now.
    fn touch(&mut self, id: &str) -> bool {
        self.uses += 1;
        let uses = self.uses;
        self.entries.get_mut(id).map(|entry| entry.last_use = uses).is_some()
    }

    /// Takes out what has to leave for `bytes` more; `None`, and nothing leaves, when that is not enough.
    fn make_room(&mut self, bytes: u64, bytes_max: u64) -> Option<Vec<String>> {
        let mut taken: u64 = self.entries.values().map(|entry| entry.bytes).sum();
        let mut idle: Vec<_> = self.entries.iter().filter(|(_, entry)| entry.leases == 0).collect();
        idle.sort_by_key(|(_, entry)| entry.last_use);
        let mut leaving = Vec::new();
        let mut idle = idle.into_iter();
        while taken + bytes > bytes_max {
            let (id, entry) = idle.next()?;
            taken -= entry.bytes;
            leaving.push(id.clone());
        }
        for id in &leaving {
            self.entries.remove(id);
        }
        Some(leaving)
    }
}

/// Keeps an upload in place for as long as it lives.
#[derive(Debug)]
pub struct UploadLease {
    uploads: Arc<Uploads>,
    id: String,
}

impl UploadLease {
    /// The id of the upload.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its file lies.
    pub fn path(&self) -> PathBuf {
        self.uploads.folder.join(&self.id)
    }

    /// The picture. Blocks on the disk.
    ///
    /// # Errors
    /// [`InputError::Io`] when someone else removed the file, or what [`InputImage::decode`] refuses.
    pub fn read(&self) -> Result<InputImage, InputError> {
        InputImage::decode(&fs::read(self.path())?)
    }
}

impl Drop for UploadLease {
    fn drop(&mut self) {
        if let Some(entry) = self.uploads.index().entries.get_mut(&self.id) {
            entry.leases -= 1;
        }
    }
}
