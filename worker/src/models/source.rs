//! `NAME=WHERE[?OPTION=VALUE&…]` and what it means.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::LoadError;
use super::hub::{Hub, HubId};
use crate::diffusion::weights::{LoadError as FilesError, ModelFiles};

/// A model as the operator names it: a catalogue name, and where its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    /// Name in the catalogue.
    pub name: String,
    /// A folder in the diffusers layout, a `.safetensors` file in the original layout, an id on the Hugging Face hub
    /// such as `owner/name` or `owner/name@revision`, or such a file there: `owner/name/file.safetensors@revision`.
    pub location: String,
    /// What the operator says about the files.
    pub options: ModelOptions,
}

/// What the operator says about a model's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelOptions {
    /// `variant`: the middle of the names of the weights that are preferred, such as `fp16`.
    pub variant: Option<String>,
    /// `prediction_type`: what the network predicts, where the configuration is wrong or a single file cannot tell.
    pub prediction_type: Option<String>,
    /// `config`: a folder in the diffusers layout with the configuration and tokenizer of a single file.
    pub config: Option<PathBuf>,
    /// `preview_decoder`: a folder with an `AutoencoderTiny` (TAESD) for previews, instead of the model's own.
    pub preview_decoder: Option<PathBuf>,
}

/// Values of `prediction_type`, as diffusers' schedulers know them.
const PREDICTION_TYPES: [&str; 3] = ["epsilon", "v_prediction", "sample"];

/// What is wrong with `NAME=WHERE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// No name or no location.
    #[error("{0:?} is not NAME=WHERE, such as sd15=/models/sd15.safetensors or sd15=owner/name")]
    Form(String),
    /// Something after the `?` that is no option.
    #[error(
        "{0:?} is none of the options variant=…, config=FOLDER, preview_decoder=FOLDER and \
         prediction_type=epsilon|v_prediction|sample"
    )]
    Option(String),
}

impl FromStr for ModelSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let (source, options) = text.split_once('?').unwrap_or((text, ""));
        match source.split_once('=') {
            Some((name, location)) if !name.trim().is_empty() && !location.trim().is_empty() => {
                Ok(Self { name: name.trim().into(), location: location.trim().into(), options: options.parse()? })
            }
            _ => Err(InvalidSource::Form(text.into())),
        }
    }
}

impl FromStr for ModelOptions {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let mut options = Self::default();
        for option in text.split('&').map(str::trim).filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("variant", variant)) if !variant.is_empty() => options.variant = Some(variant.into()),
                Some(("config", folder)) if !folder.is_empty() => options.config = Some(folder.into()),
                Some(("preview_decoder", folder)) if !folder.is_empty() => {
                    options.preview_decoder = Some(folder.into());
                }
                Some(("prediction_type", kind)) if PREDICTION_TYPES.contains(&kind) => {
                    options.prediction_type = Some(kind.into());
                }
                _ => return Err(InvalidSource::Option(option.into())),
            }
        }
        Ok(options)
    }
}

/// Where the files of a model are.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The files that are here, enough for the catalogue.
    pub(super) files: ModelFiles,
    /// Where the weights come from, if they are not here.
    pub(super) remote: Option<Remote>,
}

/// The rest of a model on the hub.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) hub: Hub,
    pub(super) id: HubId,
    /// Where its files are in the cache.
    pub(super) folder: PathBuf,
}

impl ModelSource {
    /// The files behind the name; of a model on the hub, those that the catalogue needs are downloaded.
    ///
    /// # Errors
    /// When there is no such folder or file, the file is no model, or the hub does not deliver.
    pub(super) async fn resolve(&self, hub: impl FnOnce() -> Result<Hub, LoadError>) -> Result<Resolved, LoadError> {
        let path = Path::new(&self.location);
        let is_file_name = path.extension().is_some_and(|ending| FILE_ENDINGS.iter().any(|known| ending == *known));
        if path.is_dir() {
            return Ok(Resolved { files: self.with_options(ModelFiles::folder(path)), remote: None });
        }
        // A name of a file is one on the hub only where it has a repository before it.
        let id = self.location.parse::<HubId>().ok().filter(|id| id.file().is_some() || !is_file_name);
        if path.is_file() || (is_file_name && id.is_none()) {
            Ok(Resolved { files: self.with_options(self.checkpoint(path)?), remote: None })
        } else if let Some(id) = id {
            let hub = hub()?;
            let (files, folder) = self.on_the_hub(&hub, &id).await?;
            Ok(Resolved { files: self.with_options(files), remote: Some(Remote { hub, id, folder }) })
        } else {
            Err(LoadError::NotFound { name: self.name.clone(), location: self.location.clone() })
        }
    }

    /// What the hub has of `id` so far, and the folder that the rest will come to.
    async fn on_the_hub(&self, hub: &Hub, id: &HubId) -> Result<(ModelFiles, PathBuf), LoadError> {
        let failed = |source| self.not_delivered(source);
        let Some(file) = id.file() else {
            let folder = hub.small_files(id).await.map_err(failed)?;
            return Ok((ModelFiles::folder(&folder), folder));
        };
        let (folder, start) = hub.single_file(id, file).await.map_err(failed)?;
        let path = folder.join(file);
        let files = match start {
            None => self.checkpoint(&path)?,
            Some(start) => {
                let configs = self.options.config.as_deref();
                let opened = ModelFiles::checkpoint_to_come(&path, &start.bytes, start.size_bytes, configs);
                opened.map_err(|error| self.unusable(error))?
            }
        };
        Ok((files, folder))
    }

    /// The error of a download.
    pub(super) fn not_delivered(&self, source: super::hub::HubError) -> LoadError {
        LoadError::Hub { name: self.name.clone(), id: self.location.clone(), source: Box::new(source) }
    }

    fn checkpoint(&self, path: &Path) -> Result<ModelFiles, LoadError> {
        let opened = match &self.options.config {
            Some(folder) => ModelFiles::checkpoint_with_configs(path, folder),
            None => ModelFiles::checkpoint(path),
        };
        opened.map_err(|error| self.unusable(error))
    }

    fn unusable(&self, error: FilesError) -> LoadError {
        LoadError::Files { name: self.name.clone(), source: Box::new(error) }
    }

    fn with_options(&self, files: ModelFiles) -> ModelFiles {
        let files = files.with_variant(self.options.variant.clone());
        match &self.options.prediction_type {
            Some(prediction) => files.with_prediction_type(prediction),
            None => files,
        }
    }
}

/// Endings by which a location is a file, even where none is found: no hub id is meant then.
const FILE_ENDINGS: [&str; 6] = ["safetensors", "ckpt", "pt", "pth", "bin", "pkl"];

#[cfg(test)]
mod tests;
