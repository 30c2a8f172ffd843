//! Who asks.

use std::sync::Arc;

/// Who asks. On an open worker there is one caller, who sees and may do everything; on a worker with tokens each
/// credential is a caller of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller(Option<Arc<str>>);

impl Caller {
    /// The one caller of an open worker.
    pub fn anyone() -> Self {
        Self(None)
    }

    /// The holder of a credential.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self(Some(name.into()))
    }

    /// Name of the credential; none on an open worker.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether a job of `owner` is this caller's to see, to cancel and to forget. What was made before the worker had
    /// tokens belongs to nobody, and only an open worker shows it.
    pub fn may_see(&self, owner: Option<&str>) -> bool {
        self.0.is_none() || self.name() == owner
    }
}
