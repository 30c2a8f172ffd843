//! `NAME=PATH_OR_ID` and what it means.

use std::path::PathBuf;
use std::str::FromStr;

use hf_hub::HFClient;

use super::{LoadError, hub};
use crate::diffusion::weights::ModelFiles;

/// A model as the operator names it: a catalogue name and a folder or hub id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    /// Name in the catalogue.
    pub name: String,
    /// A folder in the diffusers layout, or an id such as `owner/name` on the Hugging Face hub.
    pub location: String,
}

/// What is wrong with `NAME=PATH_OR_ID`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not NAME=PATH_OR_ID, such as sd15=/models/stable-diffusion-v1-5 or sd15=owner/name")]
pub struct InvalidSource(String);

impl FromStr for ModelSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        match text.split_once('=') {
            Some((name, location)) if !name.trim().is_empty() && !location.trim().is_empty() => {
                Ok(Self { name: name.trim().into(), location: location.trim().into() })
            }
            _ => Err(InvalidSource(text.into())),
        }
    }
}

impl ModelSource {
    /// The files behind the name, downloaded if they are on the hub and not here yet.
    ///
    /// # Errors
    /// When there is no such folder and the hub has no such id, or does not deliver.
    pub async fn resolve(&self) -> Result<ModelFiles, LoadError> {
        let path = PathBuf::from(&self.location);
        if path.is_dir() {
            return Ok(ModelFiles::folder(path));
        }
        match self.location.split_once('/') {
            Some((owner, repository)) if hub::is_id_part(owner) && hub::is_id_part(repository) => {
                let failed = |source| LoadError::Hub {
                    name: self.name.clone(),
                    id: self.location.clone(),
                    source: Box::new(source),
                };
                let client = HFClient::new().map_err(failed)?;
                hub::download(&client, &self.name, owner, repository).await.map(ModelFiles::folder).map_err(failed)
            }
            _ => Err(LoadError::NotFound { name: self.name.clone(), location: self.location.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_location() {
        let parsed = "sd15 = /models/a=b".parse();
        assert_eq!(parsed, Ok(ModelSource { name: "sd15".into(), location: "/models/a=b".into() }));
        for faulty in ["sd15", "=x", "sd15="] {
            assert_eq!(faulty.parse::<ModelSource>(), Err(InvalidSource(faulty.into())));
        }
    }

    #[tokio::test]
    async fn neither_folder_nor_id() {
        let source = ModelSource { name: "a".into(), location: "/no/such/folder".into() };
        assert!(matches!(source.resolve().await, Err(LoadError::NotFound { .. })));
    }
}
