//! The wish to stop, shared between whoever may cancel a job and the networks that compute it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that only ever goes from unset to set. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the computation to stop at its next block.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether someone asked.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// What a network calls between its blocks.
    ///
    /// # Errors
    /// [`Halt::Canceled`] once the token is set, so that `?` unwinds the network.
    pub fn checkpoint(&self) -> Result<(), Halt> {
        if self.is_canceled() { Err(Halt::Canceled) } else { Ok(()) }
    }
}

/// Why a network stopped before its last block. The pipeline turns `Canceled` into an outcome; it never leaves it as
/// an error.
#[derive(Debug)]
pub enum Halt {
    /// The token was set.
    Canceled,
    /// A tensor operation failed.
    Tensor(candle_core::Error),
}

impl From<candle_core::Error> for Halt {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error)
    }
}
