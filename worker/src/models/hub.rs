//! Models on the Hugging Face hub, downloaded into its shared cache. `HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME` and
//! `HF_HUB_OFFLINE` mean what they mean everywhere.
//!
//! | module | what it holds |
//! |---|---|
//! | [`choice`] | which of a repository's weights are wanted |
//! | [`fetch`] | one large file, continued where the last attempt ended |
//! | [`meter`] | how far it is, on a terminal and in the log |
//!
//! The small files come first, so that the catalogue is complete before gigabytes move.

pub mod choice;
pub mod fetch;
pub mod meter;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures_util::StreamExt as _;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFError};

use super::{LoadProgress, OnProgress};

/// Every small file of a pipeline in the diffusers layout.
const SMALL: [&str; 3] = [
    "*.json",
    "{scheduler,text_encoder,text_encoder_2,tokenizer,tokenizer_2,unet,vae}/*.json",
    "{tokenizer,tokenizer_2}/merges.txt",
];

/// How the operator wants the hub to be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubSettings {
    /// A file with an access token, instead of `HF_TOKEN`.
    pub token_file: Option<PathBuf>,
    /// Whether only what is in the cache counts.
    pub is_offline: bool,
}

/// A model on the hub: `owner/name`, or `owner/name/file.safetensors` for one file of it; with `@revision` at the end or
/// without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    owner: String,
    name: String,
    file: Option<String>,
    /// A branch, a tag or a commit.
    revision: Option<String>,
}

/// Not of the form `owner/name` or `owner/name/file.safetensors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHubId;

impl FromStr for HubId {
    type Err = NoHubId;

    fn from_str(text: &str) -> Result<Self, NoHubId> {
        let (id, revision) = match text.split_once('@') {
            Some((_, "")) => return Err(NoHubId),
            Some((id, revision)) => (id, Some(revision.to_owned())),
            None => (text, None),
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_word);
        // Files are named by people; what a pattern would take for more than itself is left out.
        let is_step = |step: &str| {
            let is_plain = |c: char| !c.is_control() && !"\\?*[]{}".contains(c);
            !step.is_empty() && !step.starts_with('.') && step.chars().all(is_plain)
        };
        let is_file = |file: &str| file.ends_with(".safetensors") && file.split('/').all(is_step);
        let mut parts = id.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(owner), Some(name), file) if is_part(owner) && is_part(name) && file.is_none_or(is_file) => {
                Ok(Self { owner: owner.into(), name: name.into(), file: file.map(str::to_owned), revision })
            }
            _ => Err(NoHubId),
        }
    }
}

impl HubId {
    /// The one file of the repository that is meant, where it is not the whole.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

/// Why the hub did not deliver.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub refused, or cannot be reached, and nothing is cached.
    #[error("neither the hub nor the cache gave what was asked for")]
    Hub(#[from] HFError),
    /// The cache cannot be written, or the token cannot be read.
    #[error("{path} cannot be used")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process downloads the same file.
    #[error("{path} is being downloaded by another process")]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The hub stopped before the end. What has arrived is kept, and the next attempt goes on from there.
    #[error("{file} stopped at {found_bytes} of {expected_bytes} bytes; starting again continues it")]
    CutOff {
        /// Path in the repository.
        file: String,
        /// What is here.
        found_bytes: u64,
        /// What the hub says it has.
        expected_bytes: u64,
    },
    /// A file that the repository, or offline the cache, does not have.
    #[error("{repository} has no file {file}{place}")]
    NoFile {
        /// `owner/name`
        repository: String,
        /// Path in it.
        file: String,
        /// Where it was looked for.
        place: &'static str,
    },
    /// Whoever listened to the progress had enough.
    #[error("the download was stopped; the next one goes on from there")]
    Stopped,
    /// A network whose weights would have to be unpickled.
    #[error("{folder} has pickled weights only, which can run any code when they are opened; ask for safetensors")]
    OnlyPickles {
        /// Folder of the diffusers layout.
        folder: String,
    },
}

/// The hub with its cache.
#[derive(Clone, Debug)]
pub struct Hub {
    client: HFClient,
    is_offline: bool,
}

/// A file on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Path in the repository.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Git's name for it; of a large file, that of the pointer to it.
    pub oid: String,
    /// Whether it is kept in large-file storage, where content goes by its SHA-256.
    pub is_large: bool,
}

/// The first bytes of a file of weights: all of its header, and what it says about a file of its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStart {
    /// Length and header.
    pub bytes: Vec<u8>,
    /// Of the whole file.
    pub size_bytes: u64,
}

impl Hub {
    /// Connects with the operator's token, else with that of the environment.
    ///
    /// # Errors
    /// When the token file cannot be read or the environment names no valid endpoint.
    pub fn new(settings: &HubSettings) -> Result<Self, HubError> {
        let mut builder = HFClient::builder();
        if let Some(path) = &settings.token_file {
            let token =
                std::fs::read_to_string(path).map_err(|source| HubError::File { path: path.clone(), source })?;
            builder = builder.token(token.trim());
        }
        Ok(Self::with_client(builder.build()?, settings.is_offline))
    }

    /// Uses a client that exists.
    pub fn with_client(client: HFClient, is_offline: bool) -> Self {
        Self { client, is_offline }
    }

    /// Brings the small files of the revision here and returns its folder; offline, the one that is here. A hub out
    /// of reach counts as offline where there is one.
    ///
    /// # Errors
    /// When the hub does not deliver and nothing is cached.
    pub async fn small_files(&self, id: &HubId) -> Result<PathBuf, HubError> {
        self.folder(id, &SMALL.map(str::to_owned)).await
    }

    /// The folder of the revision in which the one `file` of `id` lies or will lie; where it does not lie there yet, its
    /// start comes along.
    ///
    /// # Errors
    /// When there is no such file, or the hub does not deliver and nothing is cached.
    pub async fn single_file(&self, id: &HubId, file: &str) -> Result<(PathBuf, Option<FileStart>), HubError> {
        let folder = self.folder(id, &[]).await?;
        if folder.join(file).exists() {
            return Ok((folder, None));
        }
        let missing = |place| {
            let repository = format!("{}/{}", id.owner, id.name);
            HubError::NoFile { repository, file: file.to_owned(), place }
        };
        if self.is_offline {
            return Err(missing(" in the cache"));
        }
        let commit = commit_of(&folder);
        let listed = self.list(id, commit.as_deref()).await?;
        let found = listed.iter().find(|listed| listed.path == file).ok_or_else(|| missing(""))?;
        let remote = self.client.model(&id.owner, &id.name);
        let start = fetch::header(&remote, commit.as_deref(), found).await?;
        Ok((folder, Some(FileStart { bytes: start, size_bytes: found.size_bytes })))
    }

    /// Brings the files of the revision that match `patterns` here and returns its folder; see
    /// [`small_files`](Self::small_files).
    async fn folder(&self, id: &HubId, patterns: &[String]) -> Result<PathBuf, HubError> {
        if self.is_offline {
            return Ok(self.cached(id).await?);
        }
        let error = match self.snapshot(id, id.revision.as_deref(), patterns).await {
            Ok(folder) => return Ok(folder),
            Err(error) => error,
        };
        match self.cached(id).await {
            Ok(folder) => {
                tracing::warn!(
                    model = id.name,
                    error = &error as &dyn std::error::Error,
                    "the hub is out of reach; using the cached files"
                );
                Ok(folder)
            }
            Err(_) => Err(error.into()),
        }
    }

    /// Brings the weights that belong to the small files in `folder` here, or the one file that `id` names. Offline there is nothing to do: what is
    /// missing shows when it is opened.
    ///
    /// # Errors
    /// When the hub does not deliver, or `progress` stops it; what has arrived is kept for the next attempt.
    pub async fn weights(
        &self,
        id: &HubId,
        folder: &Path,
        variant: Option<&str>,
        progress: &mut OnProgress<'_>,
    ) -> Result<(), HubError> {
        if self.is_offline {
            return Ok(());
        }
        let commit = commit_of(folder);
        let listed = self.list(id, commit.as_deref()).await?;
        let chosen = match id.file() {
            Some(file) => listed.into_iter().filter(|listed| listed.path == file).collect(),
            None => choice::weights(&listed, variant)?,
        };
        let missing: Vec<&RemoteFile> = chosen.iter().filter(|file| !folder.join(&file.path).exists()).collect();
        let blobs = self.client.cache_dir().join(format!("models--{}--{}", id.owner, id.name)).join("blobs");
        let total_bytes = missing.iter().map(|file| file.size_bytes).sum();
        let mut before_bytes = 0;
        for file in missing {
            let mut moved = |bytes| {
                progress(&LoadProgress { file: file.path.clone(), done_bytes: before_bytes + bytes, total_bytes })
            };
            let remote = self.client.model(&id.owner, &id.name);
            fetch::fetch(&remote, commit.as_deref(), file, &blobs, &mut moved).await?;
            before_bytes += file.size_bytes;
        }
        // The content is in the cache; this compares its name with the hub's and links the files to it.
        let paths: Vec<String> = chosen.into_iter().map(|file| file.path).collect();
        self.snapshot(id, commit.as_deref(), &paths).await?;
        Ok(())
    }

    async fn cached(&self, id: &HubId) -> Result<PathBuf, HFError> {
        let remote = self.client.model(&id.owner, &id.name);
        remote.snapshot_download().maybe_revision(id.revision.clone()).local_files_only(true).send().await
    }

    async fn snapshot(&self, id: &HubId, revision: Option<&str>, patterns: &[String]) -> Result<PathBuf, HFError> {
        let remote = self.client.model(&id.owner, &id.name);
        let download = remote.snapshot_download().maybe_revision(revision.map(str::to_owned));
        download.allow_patterns(patterns.to_vec()).ignore_patterns(vec!["*safety_checker*".into()]).send().await
    }

    async fn list(&self, id: &HubId, revision: Option<&str>) -> Result<Vec<RemoteFile>, HFError> {
        let remote = self.client.model(&id.owner, &id.name);
        let entries = remote.list_tree().maybe_revision(revision.map(str::to_owned)).recursive(true).send()?;
        let mut entries = std::pin::pin!(entries);
        let mut files = Vec::new();
        while let Some(entry) = entries.next().await {
            if let RepoTreeEntry::File { oid, size, path, lfs, .. } = entry? {
                files.push(RemoteFile { path, size_bytes: size, oid, is_large: lfs.is_some() });
            }
        }
        Ok(files)
    }
}

/// The folder of a revision is named by its commit, so that weights are those of the same one.
fn commit_of(folder: &Path) -> Option<String> {
    folder.file_name().map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
