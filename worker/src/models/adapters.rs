//! LoRAs and textual-inversion embeddings: files that change what a model draws, by name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Everything that changes what models draw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterSet {
    /// LoRAs.
    pub loras: Adapters,
    /// Textual-inversion embeddings.
    pub embeddings: Adapters,
}

/// The safetensors files of a folder, by their names without the ending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapters(BTreeMap<String, PathBuf>);

/// A folder that cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be listed", folder.display())]
pub struct UnreadableFolder {
    folder: PathBuf,
    source: io::Error,
}

impl Adapters {
    /// Lists `folders` and the folders in them. Of two files with one name, the first folder's is taken; within a
    /// folder, the first in alphabetical order of paths.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn scan(folders: &[PathBuf]) -> Result<Self, UnreadableFolder> {
        let mut found = Self::default();
        for folder in folders {
            found.add(folder)?;
        }
        Ok(found)
    }

    fn add(&mut self, folder: &Path) -> Result<(), UnreadableFolder> {
        let failed = |source| UnreadableFolder { folder: folder.into(), source };
        let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.add(&path)?;
            } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"))
                && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
            {
                self.0.entry(name.to_owned()).or_insert(path);
            }
        }
        Ok(())
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All names with the places of their files.
    pub fn files(&self) -> impl Iterator<Item = (String, PathBuf)> {
        self.0.iter().map(|(name, path)| (name.clone(), path.clone()))
    }

    /// Where the file of this name lies.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_stems() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("styles")).unwrap();
        for file in
            ["ink.safetensors", "styles/Ukiyo-e v2.SAFETENSORS", "styles/ink.safetensors", "notes.txt", "old.pt"]
        {
            std::fs::write(path(file), []).unwrap();
        }
        let adapters = Adapters::scan(&[folder.path().into()]).unwrap();
        assert_eq!(adapters.names().collect::<Vec<_>>(), ["Ukiyo-e v2", "ink"]);
        assert_eq!(adapters.path("ink"), Some(path("ink.safetensors").as_path()));
        assert_eq!(adapters.path("old"), None);
        let missing = Adapters::scan(&[path("gone")]).unwrap_err();
        assert!(missing.to_string().ends_with("gone cannot be listed"), "{missing}");
    }
}
