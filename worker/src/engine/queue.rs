//! The bounded queue in front of the engine. Unlike a channel it can be looked into: a waiting job knows its
//! position and leaves at once when it is canceled.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sd_protocol::{Event, JobId};

use super::picture::JobPicture;
use crate::diffusion::GenerationSpec;
use crate::jobs::JobCell;

/// A job on its way to the engine.
#[derive(Debug)]
pub struct Job {
    /// Who waits for it.
    pub cell: Arc<JobCell>,
    /// Which model draws it.
    pub model: String,
    /// What is drawn.
    pub spec: GenerationSpec,
    /// Which model draws the part after [`GenerationSpec::denoising_end`].
    pub refiner: Option<String>,
    /// What it starts from; noise where there is none.
    pub picture: Option<JobPicture>,
}

/// Jobs that wait, first come, first served.
#[derive(Debug)]
pub struct JobQueue {
    capacity: usize,
    state: Mutex<QueueState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Job>,
    reserved: usize,
    closed: bool,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// As many jobs wait as may.
    #[error("{0} jobs are waiting, which is as many as may; try again later")]
    Full(usize),
    /// The worker stops.
    #[error("the worker is shutting down")]
    Closed,
}

/// The queue takes no more jobs and has none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueClosed;

/// A place in the queue, kept free while its job is being stored. Dropping it gives the place back.
#[derive(Debug)]
pub struct Slot {
    queue: Arc<JobQueue>,
}

impl JobQueue {
    /// A queue for so many jobs.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default(), arrived: Condvar::new() })
    }

    /// Keeps a place free.
    ///
    /// # Errors
    /// When the queue is full or closed.
    pub fn reserve(self: &Arc<Self>) -> Result<Slot, ReserveError> {
        let mut state = self.state();
        if state.closed {
            return Err(ReserveError::Closed);
        }
        if state.waiting.len() + state.reserved >= self.capacity {
            return Err(ReserveError::Full(state.waiting.len()));
        }
        state.reserved += 1;
        Ok(Slot { queue: Arc::clone(self) })
    }

    /// Waits for the next job.
    ///
    /// # Errors
    /// When the queue is closed; what still waited was taken out by [`close`](Self::close).
    pub fn take(&self) -> Result<Job, QueueClosed> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                tell_positions(&state.waiting);
                return Ok(job);
            }
            if state.closed {
                return Err(QueueClosed);
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a waiting job out; `None` when it does not wait here.
    pub fn remove(&self, id: &JobId) -> Option<Job> {
        let mut state = self.state();
        let at = state.waiting.iter().position(|job| job.cell.id() == id)?;
        let job = state.waiting.remove(at);
        tell_positions(&state.waiting);
        job
    }

    /// Takes no more jobs; those that still wait are returned.
    pub fn close(&self) -> Vec<Job> {
        let mut state = self.state();
        state.closed = true;
        self.arrived.notify_all();
        state.waiting.drain(..).collect()
    }

    /// Whether no more jobs come.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        // The deque is whole at every point where this code could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Puts the job into the kept place; a queue that was closed meanwhile hands it back.
    ///
    /// # Errors
    /// The job, when the queue is closed.
    pub fn fill(self, job: Job) -> Result<(), Box<Job>> {
        let mut state = self.queue.state();
        if state.closed {
            return Err(Box::new(job));
        }
        job.cell.update(Event::Queued { position: state.waiting.len() as u32 });
        state.waiting.push_back(job);
        self.queue.arrived.notify_one();
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.state().reserved -= 1;
    }
}

fn tell_positions(waiting: &VecDeque<Job>) {
    for (position, job) in waiting.iter().enumerate() {
        job.cell.update(Event::Queued { position: position as u32 });
    }
}
