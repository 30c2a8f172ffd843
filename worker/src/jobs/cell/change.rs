//! What is changed about a job after it was accepted.

use std::sync::PoisonError;

use sd_protocol::{JobChange, JobState};

use super::JobCell;
use crate::jobs::StoreError;

/// Why a job stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Its place in the queue is asked for, and it has none.
    #[error("the job does not wait: it is {}", .0.as_str())]
    NotWaiting(JobState),
    /// It left meanwhile.
    #[error("the job has left")]
    Departed,
    /// The store failed.
    #[error("the change could not be stored")]
    Store(#[from] StoreError),
}

impl JobCell {
    /// Changes all that `change` names, or nothing. `reorder` gives the job another priority where it waits, and says
    /// whether it does. Blocks on the disk.
    ///
    /// # Errors
    /// When the job has no place in the queue to change, has left, or cannot be stored.
    pub fn change(&self, change: JobChange, reorder: impl Fn(i32) -> bool) -> Result<(), ChangeError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut view, unstored) = {
            let state = self.state();
            (state.view.clone(), state.log[state.stored..].to_vec())
        };
        let before = view.request.priority;
        // The queue decides whether the job still waits; whoever takes it a moment later finds it changed.
        if let Some(priority) = change.priority {
            // First, so that whoever sees the new order sees what made it.
            self.state().view.request.priority = Some(priority);
            if !reorder(priority) {
                self.state().view.request.priority = before;
                return Err(ChangeError::NotWaiting(view.state));
            }
            view.request.priority = Some(priority);
        }
        view.favorite = change.favorite.unwrap_or(view.favorite);
        let stored = self.store.change(&view, &unstored);
        if !matches!(stored, Ok(true)) && change.priority.is_some() {
            self.state().view.request.priority = before;
            // Where it was taken meanwhile, nothing is left to undo.
            reorder(before.unwrap_or(0));
        }
        if !stored? {
            return Err(ChangeError::Departed);
        }
        let mut state = self.state();
        state.stored = state.log.len();
        // What else the view says may have moved on meanwhile.
        state.view.request.priority = view.request.priority;
        state.view.favorite = view.favorite;
        Ok(())
    }
}
