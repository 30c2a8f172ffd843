//! Latents that somebody wants as pictures, on their way to whoever makes them.
//!
//! The newest wins: of one job and kind, one snapshot waits, and a newer one takes its place. So a maker that is slower
//! than the steps leaves steps out, and nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sd_protocol::limits::PREVIEW_ASKS_MAX;
use sd_protocol::{PictureFrame, PreviewMode};

use super::cell::{JobCell, LatentSnapshot};

/// A kind of preview picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum PictureKind {
    /// The linear map at the size of the latent, as PNG.
    Rgb,
    /// As near to the final picture as the model's preview decoder comes, as JPEG.
    Jpeg,
}

impl PictureKind {
    /// How many there are.
    pub(super) const COUNT: usize = 2;

    /// What a viewer of that mode is shown, where it is pictures.
    pub fn of(mode: PreviewMode) -> Option<Self> {
        match mode {
            PreviewMode::Rgb => Some(Self::Rgb),
            PreviewMode::Jpeg => Some(Self::Jpeg),
            PreviewMode::Latent | PreviewMode::None => None,
        }
    }
}

/// Pictures of all images of a batch after one step.
#[derive(Debug)]
pub struct PreviewPictures {
    /// Steps done.
    pub step: u32,
    /// One for each image.
    pub frames: Vec<PictureFrame>,
}

/// A snapshot that somebody wants as pictures.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its job, unless nobody cares about that any more.
    pub job: Weak<JobCell>,
    /// As what.
    pub kind: PictureKind,
    /// The snapshot.
    pub snapshot: Arc<LatentSnapshot>,
}

/// What is asked for and not made yet.
#[derive(Debug, Default)]
pub struct PictureQueue {
    state: Mutex<QueueState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Ask>,
    is_closed: bool,
}

/// What a maker finds.
#[derive(Debug)]
pub enum Taken {
    /// Something to make.
    Ask(Ask),
    /// Nobody asked for a while.
    Idle,
    /// Nothing more will come.
    Closed,
}

impl PictureQueue {
    /// Asks for pictures. Where too many wait it is passed over, and the next snapshot may find room.
    pub(super) fn ask(&self, ask: Ask) {
        let mut state = self.state();
        if state.is_closed {
            return;
        }
        let is_same = |waiting: &&mut Ask| waiting.kind == ask.kind && waiting.job.ptr_eq(&ask.job);
        let has_room = state.waiting.len() < PREVIEW_ASKS_MAX;
        match state.waiting.iter_mut().find(is_same) {
            Some(waiting) => *waiting = ask,
            None if has_room => state.waiting.push_back(ask),
            None => return,
        }
        self.arrived.notify_one();
    }

    /// Waits for the oldest ask, for so long. Blocks.
    pub fn take(&self, patience: Duration) -> Taken {
        let is_quiet = |state: &mut QueueState| state.waiting.is_empty() && !state.is_closed;
        let waited = self.arrived.wait_timeout_while(self.state(), patience, is_quiet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return Taken::Closed;
        }
        state.waiting.pop_front().map_or(Taken::Idle, Taken::Ask)
    }

    /// Ends it: what waits is not made.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.waiting.clear();
        self.arrived.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
