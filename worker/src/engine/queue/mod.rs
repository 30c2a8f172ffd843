//! The bounded queue in front of the engine. Unlike a channel it can be looked into: a waiting job knows its
//! position and leaves at once when it is canceled.

mod turns;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_protocol::{JobId, Quota};

use self::turns::Turns;
use super::picture::JobPicture;
use crate::access::quota::Charge;
use crate::diffusion::GenerationSpec;
use crate::jobs::JobCell;

/// When to knock again at a full queue of which nothing is known yet.
const PACE_UNKNOWN: Duration = Duration::from_secs(2);
/// Weight of the newest job in the pace of the queue.
const PACE_SMOOTHING: f64 = 0.3;

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
    /// What its owner may use.
    pub quota: Quota,
    /// What it costs its owner; given back where the job leaves before it is drawn.
    pub charge: Charge,
}

impl Job {
    /// What it costs the engine, in steps times px: enough to share it fairly.
    fn work(&self) -> u64 {
        self.spec.pixels() * u64::from(self.spec.steps)
    }
}

/// Jobs that wait. Credentials take turns; of one credential, the more urgent and then the older goes first.
#[derive(Debug)]
pub struct JobQueue {
    capacity: usize,
    state: Mutex<QueueState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Turns<Job>,
    /// Owners of the places that are kept free.
    reserved: Vec<Option<Arc<str>>>,
    /// Owners of the jobs that are being drawn.
    drawn: Vec<Option<Arc<str>>>,
    closed: bool,
    /// Time from one job to the next while jobs wait.
    pace: Option<Duration>,
    taken_at: Option<Instant>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// As many jobs wait as may.
    #[error("{waiting} jobs are waiting, which is as many as may; try again later")]
    Full {
        /// Jobs that wait.
        waiting: usize,
        /// Time in which one of them is likely to leave.
        retry_after: Duration,
    },
    /// As many jobs of one owner wait as may.
    #[error("{waiting} of your jobs are waiting, which is as many as this credential may have; try again later")]
    QuotaFull {
        /// Jobs of that owner that wait.
        waiting: usize,
        /// Time in which one of them is likely to leave.
        retry_after: Duration,
    },
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
    owner: Option<Arc<str>>,
}

/// The time in which a job is drawn. Dropping it lets the next job of the same owner go, where its quota made it wait.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<JobQueue>,
    owner: Option<Arc<str>>,
}

impl JobQueue {
    /// A queue for so many jobs.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default(), arrived: Condvar::new() })
    }

    /// Keeps a place free for a job of `owner`; also that of a waiting job whose place the new one `takes`.
    ///
    /// # Errors
    /// When the queue or the quota is full, or the queue is closed.
    pub fn reserve(
        self: &Arc<Self>,
        owner: Option<&str>,
        quota: Quota,
        takes: impl Fn(&Job) -> bool,
    ) -> Result<Slot, ReserveError> {
        let owner = owner.map(Arc::from);
        let mut state = self.state();
        match state.room(self.capacity).and_then(|()| state.room_of(owner.as_ref(), quota)) {
            Err(ReserveError::Closed) => return Err(ReserveError::Closed),
            Err(full) if !state.waiting.in_order().into_iter().any(takes) => return Err(full),
            _ => state.reserved.push(owner.clone()),
        }
        Ok(Slot { queue: Arc::clone(self), owner })
    }

    /// Puts back the jobs of an earlier life of the worker, room or not: they were accepted. None is taken before all are
    /// there, so that the most urgent goes first.
    ///
    /// # Errors
    /// When the queue is closed.
    pub fn restore(&self, jobs: Vec<Job>) -> Result<(), QueueClosed> {
        let mut state = self.state();
        for job in jobs {
            state.put(job).map_err(|_| QueueClosed)?;
        }
        drop(state);
        self.arrived.notify_all();
        Ok(())
    }

    /// Waits for the next job that its owner's quota lets go, and calls `idle` once where none came for `patience`. The
    /// job's cost is not given back any more.
    ///
    /// # Errors
    /// When the queue is closed; what still waited was taken out by [`close`](Self::close).
    pub fn take(self: &Arc<Self>, patience: Duration, idle: impl FnOnce()) -> Result<(Job, Turn), QueueClosed> {
        let mut idle = Some(idle);
        let mut state = self.state();
        loop {
            if let Some((mut job, owner)) = state.next() {
                state.count_pace();
                state.tell_positions();
                drop(state);
                job.charge.keep();
                return Ok((job, Turn { queue: Arc::clone(self), owner }));
            }
            if state.closed {
                return Err(QueueClosed);
            }
            // Time without jobs says nothing about their pace.
            state.taken_at = None;
            let patience = if idle.is_some() { patience } else { Duration::MAX };
            let waited = self.arrived.wait_timeout(state, patience);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if let Some(idle) = idle.take_if(|_| timeout.timed_out()) {
                drop(state);
                idle();
                state = self.state();
            }
        }
    }

    /// Takes a waiting job out; `None` when it does not wait here.
    pub fn remove(&self, id: &JobId) -> Option<Job> {
        let mut state = self.state();
        let job = state.waiting.remove(|job| job.cell.id() == id)?;
        state.tell_positions();
        Some(job)
    }

    /// Gives a waiting job another priority, as if it had always had it; `false` when it does not wait here.
    pub fn set_priority(&self, id: &JobId, priority: i32) -> bool {
        let mut state = self.state();
        let waits = state.waiting.set_priority(|job| job.cell.id() == id, priority);
        if waits {
            state.tell_positions();
        }
        waits
    }

    /// Takes no more jobs; those that still wait are returned.
    pub fn close(&self) -> Vec<Job> {
        let mut state = self.state();
        state.closed = true;
        self.arrived.notify_all();
        state.waiting.drain()
    }

    /// Whether no more jobs come.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Whether a job would find room now.
    ///
    /// # Errors
    /// When the queue is full or closed.
    pub fn room(&self) -> Result<(), ReserveError> {
        self.state().room(self.capacity)
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
        // The turns are whole at every point where this code could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn room(&self, capacity: usize) -> Result<(), ReserveError> {
        let waiting = self.waiting.len();
        if self.closed {
            Err(ReserveError::Closed)
        } else if waiting + self.reserved.len() >= capacity {
            Err(ReserveError::Full { waiting, retry_after: self.pace.unwrap_or(PACE_UNKNOWN) })
        } else {
            Ok(())
        }
    }

    fn room_of(&self, owner: Option<&Arc<str>>, quota: Quota) -> Result<(), ReserveError> {
        let waiting = self.waiting.len_of(owner);
        let reserved = self.reserved.iter().filter(|other| other.as_ref() == owner).count();
        if quota.queued_jobs.is_some_and(|most| waiting + reserved >= most as usize) {
            return Err(ReserveError::QuotaFull { waiting, retry_after: self.pace.unwrap_or(PACE_UNKNOWN) });
        }
        Ok(())
    }

    fn next(&mut self) -> Option<(Job, Option<Arc<str>>)> {
        let drawn = &self.drawn;
        let job = self.waiting.pop(|job| {
            let of_owner = || drawn.iter().filter(|owner| owner.as_deref() == job.cell.owner()).count();
            job.quota.running_jobs.is_none_or(|most| of_owner() < most as usize)
        })?;
        let owner: Option<Arc<str>> = job.cell.owner().map(Arc::from);
        self.drawn.push(owner.clone());
        Some((job, owner))
    }

    fn put(&mut self, job: Job) -> Result<(), Box<Job>> {
        if self.closed {
            return Err(Box::new(job));
        }
        let owner = job.cell.owner().map(Arc::from);
        let priority = job.cell.view().request.priority.unwrap_or(0);
        self.waiting.push(owner, priority, job.work(), job);
        self.tell_positions();
        Ok(())
    }

    fn count_pace(&mut self) {
        let now = Instant::now();
        if let Some(before) = self.taken_at.replace(now) {
            let newest = now - before;
            self.pace = Some(
                self.pace.map_or(newest, |pace| pace.mul_f64(1.0 - PACE_SMOOTHING) + newest.mul_f64(PACE_SMOOTHING)),
            );
        }
    }

    fn tell_positions(&self) {
        for (position, job) in (0..).zip(self.waiting.in_order()) {
            job.cell.move_to(position);
        }
    }
}

impl Slot {
    /// Puts the job into the kept place; a queue that was closed meanwhile hands it back.
    ///
    /// # Errors
    /// The job, when the queue is closed.
    pub fn fill(self, job: Job) -> Result<(), Box<Job>> {
        self.queue.state().put(job)?;
        self.queue.arrived.notify_one();
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        leave(&mut self.queue.state().reserved, &self.owner);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        leave(&mut self.queue.state().drawn, &self.owner);
        self.queue.arrived.notify_one();
    }
}

/// Takes one of an owner's entries out.
fn leave(owners: &mut Vec<Option<Arc<str>>>, owner: &Option<Arc<str>>) {
    if let Some(at) = owners.iter().position(|other| other == owner) {
        owners.swap_remove(at);
    }
}

#[cfg(test)]
mod tests;
