//! The tokens that open the worker: hashes with names and quotas, from a file and from the environment.
//!
//! ```toml
//! [tokens.alice]
//! sha256 = "…"                      # 64 hexadecimal digits, as `sd-worker token alice` prints them
//! queued-jobs = 8                   # this and all below may be left out
//! running-jobs = 1
//! pixels-per-hour = 500_000_000
//! upload-bytes-per-hour = 1_000_000_000
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sd_protocol::{Quota, Secret};
use serde::Deserialize;

use super::secret::{NoHash, SecretHash};

/// Name of the credential whose token is in the environment.
pub const ENVIRONMENT_NAME: &str = "default";
/// Shortest token from the environment, in characters: shorter ones can be found by trying.
pub const TOKEN_CHARS_MIN: usize = 16;
/// Longest name of a credential, in characters of `[A-Za-z0-9_.-]`.
pub const NAME_CHARS_MAX: usize = 64;

/// Every token that opens the worker; none on an open one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials(Vec<Credential>);

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Whose jobs are those that are submitted with it.
    pub name: Arc<str>,
    /// What its holder may use.
    pub quota: Quota,
    hash: SecretHash,
}

/// Why tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The token file cannot be read.
    #[error("{path}: the token file cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The token file is not what it should be. The line itself is left out: it may hold a token by mistake.
    #[error("{path}: line {line}: {message}; `sd-worker token NAME` prints what goes into a token file")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// An entry without a usable hash.
    #[error("{path}: the sha256 of {name:?}")]
    Hash {
        /// Which file.
        path: PathBuf,
        /// Whose.
        name: String,
        /// Why.
        source: NoHash,
    },
    /// A token file that would leave the worker open.
    #[error("{0}: names no token; `sd-worker token NAME` prints one")]
    None(PathBuf),
    /// A name that would be hard to read in a log.
    #[error("{0:?} is no name of a token; it has 1 to {NAME_CHARS_MAX} characters of A-Z a-z 0-9 _ . -")]
    Name(String),
    /// Two credentials of one name.
    #[error("the token file names {ENVIRONMENT_NAME:?}, as which SD_WORKER_TOKEN is known; rename the one in the file")]
    NameTaken,
    /// Two names for one token.
    #[error("{0:?} and {1:?} have the same token; give each its own")]
    TokenTaken(String, String),
    /// The token in the environment is too easy to find.
    #[error(
        "SD_WORKER_TOKEN is no token of at least {TOKEN_CHARS_MIN} visible ASCII characters; `sd-worker token NAME` \
         prints one"
    )]
    Weak,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tokens: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    sha256: String,
    queued_jobs: Option<u32>,
    running_jobs: Option<u32>,
    pixels_per_hour: Option<u64>,
    upload_bytes_per_hour: Option<u64>,
}

impl Credentials {
    /// The tokens of `file` and the one of the environment.
    ///
    /// # Errors
    /// The first thing that is wrong, with the way out; nothing in it is a secret.
    pub fn read(file: Option<&Path>, environment: Option<&Secret>) -> Result<Self, CredentialsError> {
        let mut credentials = Self::default();
        if let Some(path) = file {
            credentials.read_file(path)?;
        }
        if let Some(token) = environment {
            let text = token.reveal();
            if text.len() < TOKEN_CHARS_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(CredentialsError::Weak);
            }
            if credentials.0.iter().any(|known| &*known.name == ENVIRONMENT_NAME) {
                return Err(CredentialsError::NameTaken);
            }
            let (name, hash) = (ENVIRONMENT_NAME.into(), SecretHash::of(text));
            credentials.add(Credential { name, hash, quota: Quota::default() })?;
        }
        Ok(credentials)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), CredentialsError> {
        let named = || path.to_owned();
        let text = std::fs::read_to_string(path).map_err(|source| CredentialsError::Read { path: named(), source })?;
        let file: File = toml::from_str(&text).map_err(|fault| {
            let before = fault.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            CredentialsError::Parse { path: named(), line, message: fault.message().to_owned() }
        })?;
        if file.tokens.is_empty() {
            return Err(CredentialsError::None(named()));
        }
        for (name, entry) in file.tokens {
            check_name(&name)?;
            let hash = entry.sha256.parse().map_err(|source| CredentialsError::Hash {
                path: named(),
                name: name.clone(),
                source,
            })?;
            let quota = Quota {
                queued_jobs: entry.queued_jobs,
                running_jobs: entry.running_jobs,
                pixels_per_hour: entry.pixels_per_hour,
                upload_bytes_per_hour: entry.upload_bytes_per_hour,
            };
            self.add(Credential { name: name.into(), hash, quota })?;
        }
        Ok(())
    }

    fn add(&mut self, credential: Credential) -> Result<(), CredentialsError> {
        if let Some(known) = self.0.iter().find(|known| known.hash == credential.hash) {
            return Err(CredentialsError::TokenTaken(known.name.to_string(), credential.name.to_string()));
        }
        self.0.push(credential);
        Ok(())
    }

    /// Whether there is no token, so that anyone is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every credential.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.0.iter()
    }

    /// Whose token that is. Looks at every credential, so that the time does not tell how near a guess came.
    pub fn find(&self, token: &str) -> Option<&Credential> {
        let hash = SecretHash::of(token);
        self.0.iter().fold(None, |found, known| if known.hash.matches(&hash) { Some(known) } else { found })
    }
}

/// What goes into a token file for `token`.
///
/// # Errors
/// When `name` is no name of a credential.
pub fn file_entry(name: &str, token: &Secret) -> Result<String, CredentialsError> {
    check_name(name)?;
    // A dot would nest the table.
    let key = if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
    Ok(format!("[tokens.{key}]\nsha256 = \"{}\"\n", SecretHash::of(token.reveal())))
}

fn check_name(name: &str) -> Result<(), CredentialsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(CredentialsError::Name(name.to_owned()))
}
