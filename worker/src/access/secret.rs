//! Fresh secrets, and the hashes by which they are known again.
//!
//! A secret made here has 256 random bits. Nobody finds it by trying, so SHA-256 at rest is enough: a slow hash
//! guards short passwords against whoever stole the hashes, and would here only make every request slow.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sd_protocol::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// What a secret is for; its first letters, so that people and scanners of leaked text know it when they see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// Opens the worker.
    Token,
    /// Opens one request.
    Ticket,
    /// Opens one job for reading.
    Share,
}

impl SecretKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Token => "sdw_",
            Self::Ticket => "sdt_",
            Self::Share => "sds_",
        }
    }
}

/// The system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness(#[source] getrandom::Error);

/// A secret that nobody has seen: letters, digits, `-` and `_`.
///
/// # Errors
/// When the system has no randomness.
pub fn fresh(kind: SecretKind) -> Result<Secret, NoRandomness> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(Secret::new(format!("{}{}", kind.prefix(), BASE64_URL_SAFE_NO_PAD.encode(bytes))))
}

/// SHA-256 of a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of `text`.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether the two are equal, in a time that does not tell where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// A text is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no SHA-256 in 64 hexadecimal digits; `sd-worker token NAME` prints one")]
pub struct NoHash;

impl FromStr for SecretHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return Err(NoHash);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| NoHash)?;
        }
        Ok(Self(bytes))
    }
}
