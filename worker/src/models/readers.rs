//! The tokenizers of all models, read when somebody first asks how a prompt is read: a model need not be loaded for that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_protocol::limits::TOKENIZERS_KEPT_MAX;

use super::LoadError;
use crate::diffusion::families::PromptReader;
use crate::diffusion::weights::ModelFiles;

/// The tokenizers of all models; those of the [`TOKENIZERS_KEPT_MAX`] that were used last are in memory. They belong to
/// no loaded model, and a model that is loaded has its own.
#[derive(Debug, Default)]
pub struct PromptReaders {
    files: BTreeMap<String, ModelFiles>,
    embeddings: Vec<(String, PathBuf)>,
    /// The one used last at the end.
    kept: Mutex<Vec<(String, Arc<PromptReader>)>>,
}

impl PromptReaders {
    /// Tokenizers of models by name; prompts may call `embeddings` by their names.
    pub fn new(
        models: impl IntoIterator<Item = (String, ModelFiles)>,
        embeddings: impl IntoIterator<Item = (String, PathBuf)>,
    ) -> Self {
        Self {
            files: models.into_iter().collect(),
            embeddings: embeddings.into_iter().collect(),
            kept: Mutex::default(),
        }
    }

    /// The tokenizers of a model. Blocks on the disk where they are not at hand.
    ///
    /// # Errors
    /// When there is no such model, or its files are not here or cannot be used.
    pub fn get(&self, name: &str) -> Result<Arc<PromptReader>, LoadError> {
        if let Some(reader) = self.take_up(name) {
            return Ok(reader);
        }
        let files = self.files.get(name).ok_or_else(|| LoadError::Unknown(name.into()))?;
        // Outside the lock: whoever asks for another model meanwhile does not wait.
        let reader = PromptReader::load(files, &self.embeddings)
            .map_err(|source| LoadError::Files { name: name.into(), source: Box::new(source) })?;
        if let Some(reader) = self.take_up(name) {
            return Ok(reader);
        }
        let reader = Arc::new(reader);
        let mut kept = self.kept();
        if kept.len() == TOKENIZERS_KEPT_MAX {
            kept.remove(0);
        }
        kept.push((name.to_owned(), Arc::clone(&reader)));
        Ok(reader)
    }

    fn take_up(&self, name: &str) -> Option<Arc<PromptReader>> {
        let mut kept = self.kept();
        let at = kept.iter().position(|(other, _)| other == name)?;
        let used = kept.remove(at);
        let reader = Arc::clone(&used.1);
        kept.push(used);
        Some(reader)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(String, Arc<PromptReader>)>> {
        // The list is whole at every point where this code could panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
