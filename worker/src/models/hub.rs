//! Downloads from the Hugging Face hub into its shared cache. `HF_TOKEN`, `HF_ENDPOINT` and `HF_HOME` mean what
//! they mean everywhere.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::{HFClient, HFError};

/// What a Stable Diffusion pipeline in the diffusers layout consists of; half-precision copies, training
/// checkpoints and safety checkers stay on the hub.
const WANTED: [&str; 4] = [
    "*.json",
    "{scheduler,tokenizer,text_encoder,unet,vae}/*.json",
    "tokenizer/merges.txt",
    "{text_encoder,unet,vae}/*.safetensors",
];
const UNWANTED: [&str; 3] = ["*.fp16.*", "*non_ema*", "*safety_checker*"];

/// Whether `text` can be the owner or the name in a hub id.
pub fn is_id_part(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(is_word)
}

/// Brings the newest revision here and returns its folder; without a connection, the one that is here.
///
/// # Errors
/// When the hub does not deliver and nothing is cached.
pub async fn download(client: &HFClient, model: &str, owner: &str, repository: &str) -> Result<PathBuf, HFError> {
    let remote = client.model(owner, repository);
    let patterns = |list: &[&str]| list.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
    let fetched = remote
        .snapshot_download()
        .allow_patterns(patterns(&WANTED))
        .ignore_patterns(patterns(&UNWANTED))
        .progress(DownloadLog::new(model))
        .send()
        .await;
    let error = match fetched {
        Ok(folder) => return Ok(folder),
        Err(error) => error,
    };
    match remote.snapshot_download().local_files_only(true).send().await {
        Ok(folder) => {
            tracing::warn!(
                model,
                error = &error as &dyn std::error::Error,
                "the hub is out of reach; using the cached files"
            );
            Ok(folder)
        }
        Err(_) => Err(error),
    }
}

/// Logs how far a download is, about once a second.
struct DownloadLog {
    model: String,
    state: Mutex<DownloadState>,
}

struct DownloadState {
    total_bytes: u64,
    bytes_by_file: HashMap<String, u64>,
    logged_at: Instant,
}

impl DownloadLog {
    fn new(model: &str) -> Self {
        let state = DownloadState { total_bytes: 0, bytes_by_file: HashMap::new(), logged_at: Instant::now() };
        Self { model: model.into(), state: Mutex::new(state) }
    }

    fn log(&self, done_bytes: u64, total_bytes: u64) {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        tracing::info!(
            model = self.model,
            done_mb = megabytes(done_bytes),
            total_mb = megabytes(total_bytes),
            "downloading"
        );
    }
}

impl ProgressHandler for DownloadLog {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            DownloadEvent::Start { total_bytes, .. } => {
                state.total_bytes = *total_bytes;
                self.log(0, *total_bytes);
            }
            DownloadEvent::Progress { files } => {
                for file in files {
                    state.bytes_by_file.insert(file.filename.clone(), file.bytes_completed);
                }
                if state.logged_at.elapsed() >= Duration::from_secs(1) {
                    state.logged_at = Instant::now();
                    self.log(state.bytes_by_file.values().sum(), state.total_bytes);
                }
            }
            DownloadEvent::AggregateProgress { bytes_completed, total_bytes, .. } => {
                if state.logged_at.elapsed() >= Duration::from_secs(1) {
                    state.logged_at = Instant::now();
                    self.log(*bytes_completed, *total_bytes);
                }
            }
            DownloadEvent::Complete => self.log(state.total_bytes, state.total_bytes),
        }
    }
}

#[cfg(test)]
mod tests;
