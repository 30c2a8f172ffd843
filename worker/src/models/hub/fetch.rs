//! One large file, continued where the last attempt ended; and the start of one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use hf_hub::HFRepository;
use hf_hub::repository::RepoTypeModel;
use sha2::{Digest, Sha256};

use super::{HubError, RemoteFile};
use crate::diffusion::weights::header::BYTES_MAX as HEADER_BYTES_MAX;

/// Attempts that may follow one another without a single byte arriving.
const FRUITLESS_ATTEMPTS_MAX: u32 = 3;

/// Who hears how many bytes of a file are here, and may stop the download.
pub type OnMoved<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Brings the content of `file` into the folder `blobs` of the cache, under the name that the hub gives it: the SHA-256
/// of a large file, so that a damaged one is not taken for it. An unfinished file is continued, and stays for the next
/// call when the connection breaks or `moved` stops it.
///
/// # Errors
/// When the hub stops delivering, the cache cannot be written, or `moved` says so.
pub async fn fetch(
    remote: &HFRepository<RepoTypeModel>,
    revision: Option<&str>,
    file: &RemoteFile,
    blobs: &Path,
    moved: &mut OnMoved<'_>,
) -> Result<(), HubError> {
    let mut part = PartialFile::open(blobs.join(format!("{}.incomplete", file.oid)))?;
    if part.bytes > file.size_bytes {
        part.restart()?;
    }
    let mut fruitless = 0;
    while part.bytes < file.size_bytes {
        let before = part.bytes;
        let ended = append(remote, revision, file, &mut part, moved).await;
        fruitless = if part.bytes > before { 0 } else { fruitless + 1 };
        match ended {
            Err(error @ (HubError::File { .. } | HubError::Stopped)) => return Err(error),
            Err(error) if fruitless == FRUITLESS_ATTEMPTS_MAX => return Err(error),
            Err(error) => {
                tracing::warn!(file = file.path, error = &error as &dyn std::error::Error, "a download broke off");
            }
            Ok(()) if fruitless == FRUITLESS_ATTEMPTS_MAX => {
                let (found_bytes, expected_bytes) = (part.bytes, file.size_bytes);
                return Err(HubError::CutOff { file: file.path.clone(), found_bytes, expected_bytes });
            }
            Ok(()) => {}
        }
    }
    part.keep(file, blobs)
}

/// The header of the safetensors file `file` with the eight bytes of its length, whatever the file holds beside it.
///
/// # Errors
/// When the hub does not deliver.
pub async fn header(
    remote: &HFRepository<RepoTypeModel>,
    revision: Option<&str>,
    file: &RemoteFile,
) -> Result<Vec<u8>, HubError> {
    let length = start(remote, revision, file, 8).await?;
    let Ok(length) = length.as_slice().try_into().map(u64::from_le_bytes) else { return Ok(length) };
    start(remote, revision, file, length.saturating_add(8).min(HEADER_BYTES_MAX)).await
}

/// The first `count` bytes of `file`, or all where it has fewer.
async fn start(
    remote: &HFRepository<RepoTypeModel>,
    revision: Option<&str>,
    file: &RemoteFile,
    count: u64,
) -> Result<Vec<u8>, HubError> {
    let count = count.min(file.size_bytes);
    let mut bytes = Vec::new();
    if count == 0 {
        return Ok(bytes);
    }
    let download = remote.download_file_stream().filename(file.path.as_str()).maybe_revision(revision);
    let (_, mut chunks) = download.range(0..count).send().await?;
    // A server that takes no ranges sends more, and is left when there is enough.
    while (bytes.len() as u64) < count
        && let Some(chunk) = chunks.next().await
    {
        bytes.extend_from_slice(&chunk?);
    }
    bytes.truncate(count as usize);
    Ok(bytes)
}

/// Appends what the hub sends until it stops.
async fn append(
    remote: &HFRepository<RepoTypeModel>,
    revision: Option<&str>,
    file: &RemoteFile,
    part: &mut PartialFile,
    moved: &mut OnMoved<'_>,
) -> Result<(), HubError> {
    let range = part.bytes..file.size_bytes;
    let wanted = range.end - range.start;
    let download = remote.download_file_stream().filename(file.path.as_str()).maybe_revision(revision);
    let (length, mut chunks) = download.range(range).send().await?;
    if length.is_some_and(|length| length > wanted) {
        // The server takes no ranges and sends all from the start.
        part.restart()?;
    }
    while let Some(chunk) = chunks.next().await {
        part.write(&chunk?)?;
        if moved(part.bytes).is_break() {
            return Err(HubError::Stopped);
        }
    }
    Ok(())
}

/// An unfinished download, locked against other processes.
struct PartialFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl PartialFile {
    fn open(path: PathBuf) -> Result<Self, HubError> {
        let failed = |source| HubError::File { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HubError::Busy { path }),
            // Some network file systems know no locks; the digest is checked in any case.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path, file, bytes })
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), HubError> {
        self.file.write_all(chunk).map_err(|source| HubError::File { path: self.path.clone(), source })?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(|source| HubError::File { path: self.path.clone(), source })?;
        self.bytes = 0;
        Ok(())
    }

    /// Gives the finished file the name of its content.
    fn keep(mut self, file: &RemoteFile, blobs: &Path) -> Result<(), HubError> {
        let failed = |source| HubError::File { path: self.path.clone(), source };
        let name = if file.is_large {
            self.file.rewind().map_err(failed)?;
            sha256(&mut self.file).map_err(failed)?
        } else {
            file.oid.clone()
        };
        std::fs::rename(&self.path, blobs.join(name)).map_err(failed)
    }
}

fn sha256(file: &mut File) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => digest.update(&buffer[..read]),
        }
    }
}
