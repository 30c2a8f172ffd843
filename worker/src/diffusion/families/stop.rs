//! Why a generation ends early.

use crate::diffusion::cancel::Halt;
use crate::diffusion::pipeline::GenerateError;

/// Why a generation ends early. Canceled is an outcome, and only the boundary of the pipeline may say so.
pub(super) enum Stop {
    Canceled,
    Failed(GenerateError),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Canceled => Self::Canceled,
            Halt::Tensor(error) => Self::Failed(error.into()),
        }
    }
}

impl<E: Into<GenerateError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
