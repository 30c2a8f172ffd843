//! Reading a `config.json`: a setting that changes the computation is understood or refused by name and value.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{LoadError, ModelFiles};

/// A setting that is understood with some values only: its key, and those values as JSON texts. In a list every
/// element must be one of them.
pub type Settled = (&'static str, &'static [&'static str]);

/// Reads the configuration at `path`, after checking the `settled` keys that it has.
///
/// Keys that neither `T` nor `settled` name are ignored: diffusers ignores what its own classes do not know.
///
/// # Errors
/// [`LoadError::Unsupported`] for the first setting with another value; the errors of [`ModelFiles::json`].
pub fn read<T: DeserializeOwned>(files: &ModelFiles, path: &str, settled: &[Settled]) -> Result<T, LoadError> {
    // Python writes a bound that is not there as a bare -Infinity, which is no JSON.
    let text = String::from_utf8_lossy(&files.read(path)?).replace("-Infinity", "null");
    let not_json = |source| LoadError::Json { file: files.name(path), source };
    let raw: Map<String, Value> = serde_json::from_str(&text).map_err(not_json)?;
    for (key, supported) in settled {
        let allowed = |value: &Value| supported.contains(&value.to_string().as_str());
        let fine = match raw.get(*key) {
            None => true,
            Some(Value::Array(values)) => values.iter().all(allowed),
            Some(value) => allowed(value),
        };
        if !fine {
            return Err(unsupported(files, path, key, &raw[*key], &supported.join(" or ")));
        }
    }
    serde_json::from_str(&text).map_err(not_json)
}

/// The refusal of a setting.
pub fn unsupported(
    files: &ModelFiles,
    path: &str,
    key: &str,
    value: &dyn std::fmt::Display,
    supported: &str,
) -> LoadError {
    LoadError::Unsupported {
        file: files.name(path),
        key: key.into(),
        value: value.to_string(),
        supported: supported.into(),
    }
}

/// A setting that is one value for all blocks, or a list with one for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum PerBlock<T> {
    /// For all blocks.
    Same(T),
    /// For each block, from the finest resolution.
    Each(Vec<T>),
    /// Something else, such as a list of lists: no setting, kept for a refusal to name its key.
    Other(Value),
}

impl<T: std::fmt::Debug> std::fmt::Display for PerBlock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Same(value) => write!(f, "{value:?}"),
            Self::Each(values) => write!(f, "{values:?}"),
            Self::Other(other) => write!(f, "{other}"),
        }
    }
}

impl<T: Copy> PerBlock<T> {
    /// The values of all `blocks`, or nothing when a list has another length.
    pub fn resolve(&self, blocks: usize) -> Option<Vec<T>> {
        match self {
            Self::Same(value) => Some(vec![*value; blocks]),
            Self::Each(values) => (values.len() == blocks).then(|| values.clone()),
            Self::Other(_) => None,
        }
    }
}
