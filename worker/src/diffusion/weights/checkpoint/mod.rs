//! A single `.safetensors` file in the original layout (CompVis' latent-diffusion, Stability's generative-models),
//! presented as a folder in the diffusers layout.
//!
//! | module | what it holds |
//! |---|---|
//! | [`kind`] | which model a file is, told by its tensors, and that model's published configuration |
//! | `names` | the original names of the networks' tensors → those of diffusers |
//! | `clip` | CLIP's vocabulary, which such a file lacks |
//!
//! # Invariants
//! * Only the header is read to open a checkpoint; its tensors are neither moved nor copied for their new names. A
//!   fused projection is three ranges of bytes, a 1 × 1 convolution a matrix by its shape alone, and only OpenCLIP's
//!   text projection is marked to be transposed while it is loaded.
//! * The rules follow diffusers' `from_single_file`; exponential moving averages (`model_ema.`) are left out, as there.

mod clip;
pub mod kind;
mod names;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use self::kind::Kind;
use self::names::Layout;
use super::LoadError;
use super::files::EmbeddedFile;
use super::header::{Header, TensorEntry};

/// An opened checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) path: PathBuf,
    configs: Configs,
}

/// Where everything but the weights comes from.
#[derive(Clone, Debug)]
enum Configs {
    Published(&'static Kind),
    /// Diffusers' `from_single_file(config=…)`.
    Folder(PathBuf),
}

/// A value that the checkpoint's tensors put into a configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Amendment {
    /// The configuration.
    pub(super) file: &'static str,
    /// Its key.
    pub(super) key: &'static str,
    /// What the key is, whatever the file says.
    pub(super) value: serde_json::Value,
}

/// Where the tensors of each folder are, by the beginnings of their original names.
const COMPONENTS: &[(&str, &str, Layout)] = &[
    ("unet", "model.diffusion_model.", Layout::Unet),
    ("vae", "first_stage_model.", Layout::Vae),
    ("vae", "vae.", Layout::Vae),
    ("text_encoder", "cond_stage_model.transformer.", Layout::Clip),
    ("text_encoder", "cond_stage_model.model.", Layout::OpenClip),
    ("text_encoder", "conditioner.embedders.0.transformer.", Layout::Clip),
    ("text_encoder_2", "conditioner.embedders.1.model.", Layout::OpenClip),
    ("text_encoder_2", "conditioner.embedders.0.model.", Layout::OpenClip),
];

impl Checkpoint {
    /// Finds out what the file at `path` with this `header` is; the second value is what its tensors say about the
    /// configuration.
    ///
    /// # Errors
    /// [`LoadError::UnknownCheckpoint`].
    pub(super) fn new(path: &Path, header: &Header) -> Result<(Self, Vec<Amendment>), LoadError> {
        let (kind, amendments) = kind::recognize(header)
            .map_err(|reason| LoadError::UnknownCheckpoint { file: path.display().to_string(), reason })?;
        Ok((Self { path: path.into(), configs: Configs::Published(kind) }, amendments))
    }

    /// The file at `path` with the configuration in `folder`.
    pub(super) fn with_configs(path: &Path, folder: &Path) -> Self {
        Self { path: path.into(), configs: Configs::Folder(folder.into()) }
    }

    /// What else changes when the operator says what the network predicts.
    pub(super) fn amendment_for(&self, prediction_type: &str) -> Option<Amendment> {
        match &self.configs {
            Configs::Published(kind) => kind::amendment_for(kind, prediction_type),
            Configs::Folder(_) => None,
        }
    }

    /// How messages name a file of the presented folder.
    pub(super) fn name(&self, file: &str) -> String {
        match &self.configs {
            Configs::Folder(folder) => folder.join(file).display().to_string(),
            Configs::Published(kind) => {
                format!("{} (published configuration of {}: {file})", self.path.display(), kind.name)
            }
        }
    }

    /// Whether the presented folder has this file; weights are not among its files.
    pub(super) fn contains(&self, file: &str) -> bool {
        match &self.configs {
            Configs::Folder(folder) => folder.join(file).is_file(),
            Configs::Published(kind) => embedded(kind, file).is_some() || clip::is_file(kind, file),
        }
    }

    /// A small file of the presented folder.
    pub(super) fn read(&self, file: &str) -> std::io::Result<Cow<'static, [u8]>> {
        match &self.configs {
            Configs::Folder(folder) => std::fs::read(folder.join(file)).map(Cow::Owned),
            Configs::Published(kind) => match embedded(kind, file) {
                Some(found) => Ok(Cow::Borrowed(found.bytes)),
                None if clip::is_file(kind, file) => Ok(Cow::Owned(clip::read(file))),
                None => Err(std::io::ErrorKind::NotFound.into()),
            },
        }
    }
}

fn embedded(kind: &Kind, path: &str) -> Option<&'static EmbeddedFile> {
    kind.files.iter().find(|file| file.path == path)
}

/// The tensors of `folder` (`unet`, `vae`, `text_encoder`, `text_encoder_2`) under the names that diffusers gives
/// them; nothing when the file holds none.
pub(super) fn tensors(header: &Header, folder: &str) -> Option<HashMap<String, TensorEntry>> {
    // As in diffusers, of two spellings that are both there the later one counts.
    let (_, prefix, layout) = COMPONENTS.iter().rev().find(|(component, prefix, _)| {
        *component == folder && header.tensors.keys().any(|name| name.starts_with(prefix))
    })?;
    let own = || header.tensors.iter().filter_map(|(name, entry)| Some((name.strip_prefix(prefix)?, entry)));
    let names = layout.names(own().map(|(name, _)| name));
    Some(own().flat_map(|(name, entry)| names.place(name, entry)).collect())
}

#[cfg(test)]
mod tests;
