//! What may be changed about a job that was accepted.

use std::sync::Arc;

use sd_protocol::{ErrorBody, ErrorCode, JobChange, JobState};

use super::{Service, blocking, storage_error};
use crate::access::Caller;
use crate::jobs::{ChangeError, JobCell};

impl Service {
    /// Changes all that `change` names, or nothing.
    ///
    /// # Errors
    /// As [`find`](Self::find); `not_waiting` when a priority is named and the job does not wait; `storage_full`.
    pub async fn change(&self, caller: &Caller, id: &str, change: JobChange) -> Result<Arc<JobCell>, ErrorBody> {
        let cell = self.find(caller, id).await?;
        let (queue, changing) = (Arc::clone(&self.queue), Arc::clone(&cell));
        let changed = blocking(move || {
            let reorder = |priority| queue.set_priority(changing.id(), priority);
            match changing.change(change, reorder) {
                Ok(()) => Ok(true),
                Err(ChangeError::Departed) => Ok(false),
                Err(ChangeError::NotWaiting(state)) => Err(not_waiting(state)),
                Err(ChangeError::Store(error)) => Err(storage_error(&error)),
            }
        });
        // Whatever became of the job since it was found is told as for any job that is not there.
        if changed.await? { Ok(cell) } else { self.find(caller, id).await }
    }
}

fn not_waiting(state: JobState) -> ErrorBody {
    let is = match state {
        JobState::Queued => "the engine has just taken the job",
        JobState::Running => "the job is being drawn",
        JobState::Succeeded | JobState::Failed | JobState::Canceled | JobState::Superseded => "the job has ended",
    };
    ErrorBody::new(ErrorCode::NotWaiting, format!("{is}; only one that waits can change its place in the queue"))
}
