//! Picture files, named by their content, and the room that is kept for a full disk.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sd_protocol::ImageFormat;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// Room for the last words of jobs whose pictures found the disk full.
const BALLAST_BYTES: usize = 1 << 20;

/// Where the picture of that content lies under `folder`.
pub(super) fn image_path(folder: &Path, sha256: &str, format: ImageFormat) -> PathBuf {
    folder.join(format!("{sha256}.{}", format.extension()))
}

/// Where the thumbnail of that picture lies under `folder`: beside it, and gone with it.
pub(super) fn thumbnail_path(folder: &Path, sha256: &str) -> PathBuf {
    folder.join(format!("{sha256}.thumbnail.jpg"))
}

/// Removes the picture of that content, then its thumbnail.
pub(super) fn remove(folder: &Path, sha256: &str) -> io::Result<()> {
    let paths = ImageFormat::ALL.map(|format| image_path(folder, sha256, format));
    // Where there is none, the first name tells so.
    fs::remove_file(paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]))?;
    match fs::remove_file(thumbnail_path(folder, sha256)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// SHA-256 of a file in hexadecimal digits: its name, and its `ETag`.
pub(super) fn content_name(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file to `path`: whole or not at all, and there after a power cut.
pub(super) fn save(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The name is in the folder, and a folder is written by itself.
    File::open(folder)?.sync_all()
}

/// Removes the files of `folder` that are no picture or thumbnail of `known`: what a crash left between a file and its row.
pub(super) fn sweep(folder: &Path, known: &HashSet<String>) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let content = name.split('.').next().unwrap_or_default();
        if path.is_file() && !known.contains(content) {
            fs::remove_file(&path)?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// A file that gives its room back when the disk is full, so that jobs can still be told that they failed.
#[derive(Debug)]
pub(super) struct Ballast(PathBuf);

impl Ballast {
    /// Ballast in the file `path`, which is filled now if the disk allows it.
    pub(super) fn new(path: PathBuf) -> Self {
        let ballast = Self(path);
        ballast.restore();
        ballast
    }

    /// Gives the room back; whether there was any.
    pub(super) fn drop_it(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|file| file.len() > 0) && fs::remove_file(&self.0).is_ok()
    }

    /// Takes the room again where it was given back and the disk has it.
    pub(super) fn restore(&self) {
        if fs::metadata(&self.0).is_ok_and(|file| file.len() as usize == BALLAST_BYTES) {
            return;
        }
        // Written out, because a hole in a file keeps no room.
        if let Err(error) = fs::write(&self.0, vec![0x5d; BALLAST_BYTES]) {
            tracing::warn!(path = %self.0.display(), error = &error as &dyn std::error::Error, "the disk is full");
        }
    }
}
