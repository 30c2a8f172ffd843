//! Names of jobs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::JOB_ID_CHARS_MAX;

/// Name of a job: 1 to 64 characters of `[A-Za-z0-9_-]`, safe in a URL path and a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,64}$")))]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// Checks the alphabet and the length.
    ///
    /// # Errors
    /// A sentence that names the rule.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidJobId> {
        let text = text.into();
        let valid = (1..=JOB_ID_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if valid { Ok(Self(text)) } else { Err(InvalidJobId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An id outside the alphabet or the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job id has 1 to 64 characters of A-Z a-z 0-9 _ -")]
pub struct InvalidJobId;

impl TryFrom<String> for JobId {
    type Error = InvalidJobId;
    fn try_from(text: String) -> Result<Self, InvalidJobId> {
        Self::parse(text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
