//! Pictures on their way in: their bytes are counted as they arrive, all clients together.

use std::sync::Arc;

use sd_protocol::limits::{INPUT_BYTES_MAX, UPLOADS_ARRIVING_BYTES_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::InputError;

/// Memory is counted in steps of this many bytes.
const STEP_BYTES: usize = 64 << 10;

/// The memory that arriving pictures share. Clones share it.
#[derive(Clone, Debug)]
pub struct Arrivals(Arc<Semaphore>);

/// A picture of which some bytes are there. Its memory is free again when it is dropped.
#[derive(Debug)]
pub struct Arrival {
    bytes: Vec<u8>,
    arrivals: Arrivals,
    room: Option<OwnedSemaphorePermit>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UPLOADS_ARRIVING_BYTES_MAX / STEP_BYTES)))
    }
}

impl Arrivals {
    /// A picture of which nothing is there yet.
    pub fn begin(&self) -> Arrival {
        Arrival { bytes: Vec::new(), arrivals: self.clone(), room: None }
    }
}

impl Arrival {
    /// Adds the next bytes.
    ///
    /// # Errors
    /// [`InputError::TooManyBytes`], or [`InputError::Crowded`] when others take up all memory.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        let length = self.bytes.len() + bytes.len();
        if length > INPUT_BYTES_MAX {
            return Err(InputError::TooManyBytes(length as u64));
        }
        let has = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = length.div_ceil(STEP_BYTES).saturating_sub(has);
        if missing > 0 {
            let more = Arc::clone(&self.arrivals.0).try_acquire_many_owned(missing as u32);
            let more = more.map_err(|_| InputError::Crowded)?;
            match &mut self.room {
                Some(room) => room.merge(more),
                room => *room = Some(more),
            }
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
