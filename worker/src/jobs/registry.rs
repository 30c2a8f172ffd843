//! All jobs: those that are alive in memory, the others in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_protocol::{Event, EventFrame, JobId, JobRequest, JobState, JobView};
use uuid::Uuid;

use super::cell::JobCell;
use super::now_ms;
use super::pictures::PictureQueue;
use super::store::{JobFilter, Lookup, Retention, Store, StoreError, StoredJob};
use crate::access::Caller;
use crate::metrics::Metrics;

/// All jobs of a worker.
#[derive(Debug)]
pub struct Registry {
    store: Arc<Store>,
    retention: Retention,
    metrics: Arc<Metrics>,
    picture_queue: Arc<PictureQueue>,
    alive: Mutex<HashMap<JobId, Arc<JobCell>>>,
}

/// A job that passed every check.
#[derive(Debug)]
pub struct NewJob {
    /// The request as the client wrote it: what a repeated submit is compared with.
    pub submitted: JobRequest,
    /// The request as it was understood.
    pub understood: JobRequest,
    /// What of it has no effect, as sentences for the user.
    pub warnings: Vec<String>,
    /// Steps that will be computed.
    pub steps: u32,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The id belongs to a job with another request.
    #[error("the id {0} belongs to a job with a different request; use a new id")]
    IdConflict(JobId),
    /// The store failed.
    #[error("the job could not be stored")]
    Store(#[from] StoreError),
}

/// What became of a submit.
#[derive(Debug)]
pub enum Accepted {
    /// A job that is new and waits for the engine.
    New {
        /// The job.
        cell: Arc<JobCell>,
        /// Older jobs of its lane that have not ended.
        lane_mates: Vec<Arc<JobCell>>,
    },
    /// The job that the same id and request made before.
    Known(Arc<JobCell>),
}

/// What is known of a name.
#[derive(Debug)]
pub enum Found {
    /// The job.
    Job(Arc<JobCell>),
    /// It was here, until retention took it.
    Departed,
    /// Nothing that this caller may see.
    Unknown,
}

impl Registry {
    /// Takes over a store. What the last process left unfinished is there for [`unfinished`](Self::unfinished).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(store: Store, retention: Retention, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        let (store, picture_queue) = (Arc::new(store), Arc::default());
        let registry = Self { store, retention, metrics, picture_queue, alive: Mutex::default() };
        for job in registry.store.unfinished()? {
            let cell = registry.cell(job);
            registry.alive().insert(cell.id().clone(), cell);
        }
        registry.retain()?;
        Ok(registry)
    }

    /// Where pictures go.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What viewers want as pictures.
    pub fn picture_queue(&self) -> &Arc<PictureQueue> {
        &self.picture_queue
    }

    /// Stores a job as `queued`. Blocks on the disk.
    ///
    /// # Errors
    /// On a conflicting id, or when the store fails; nothing is left behind then.
    pub fn accept(&self, caller: &Caller, job: NewJob) -> Result<Accepted, AcceptError> {
        let id = job.submitted.id.clone().unwrap_or_else(fresh_id);
        let view = JobView {
            id: id.clone(),
            state: JobState::Queued,
            queue_position: None,
            step: 0,
            steps: job.steps,
            favorite: false,
            created_at_ms: now_ms(),
            started_at_ms: None,
            finished_at_ms: None,
            images: Vec::new(),
            timings: None,
            warnings: job.warnings,
            error: None,
            last_seq: 1,
            stream_url: format!("/v1/jobs/{id}/stream"),
            request: JobRequest { id: Some(id.clone()), ..job.understood },
        };
        let first = EventFrame { job: id.clone(), seq: Some(1), event: Event::Queued { position: 0 } };
        // Held across the insert, so that a second submit of the same id finds the cell and not a gap, and that of two
        // jobs of a lane one is the older.
        let mut alive = self.alive();
        if self.store.insert(caller.name(), &job.submitted, &view, &first)? {
            let lane_mates = lane_mates(&alive, caller, view.request.lane.as_deref());
            let cell = self.cell(StoredJob { owner: caller.name().map(Arc::from), view, log: vec![first] });
            alive.retain(|_, cell| !cell.is_terminal() || Arc::strong_count(cell) > 1);
            alive.insert(id, Arc::clone(&cell));
            return Ok(Accepted::New { cell, lane_mates });
        }
        drop(alive);
        let known = self.repeated(caller, &job.submitted)?.ok_or(AcceptError::IdConflict(id))?;
        Ok(Accepted::Known(known))
    }

    /// The job that an earlier submit of the same id and request made. Blocks on the disk.
    ///
    /// # Errors
    /// When the id belongs to another request or to somebody else, or the store cannot be read.
    pub fn repeated(&self, caller: &Caller, submitted: &JobRequest) -> Result<Option<Arc<JobCell>>, AcceptError> {
        let Some(id) = &submitted.id else { return Ok(None) };
        match self.store.submitted(id)? {
            None => Ok(None),
            Some((owner, holder)) if holder == *submitted && caller.may_see(owner.as_deref()) => {
                Ok(match self.find(caller, id)? {
                    Found::Job(cell) => Some(cell),
                    Found::Departed | Found::Unknown => None,
                })
            }
            Some(_) => Err(AcceptError::IdConflict(id.clone())),
        }
    }

    /// A job by name, as far as `caller` may see it. Blocks on the disk when it ended long ago.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(&self, caller: &Caller, id: &JobId) -> Result<Found, StoreError> {
        // Held across the look into the store: a job that is accepted between two looks would be found there as it
        // began, and never be seen to go on.
        let alive = self.alive();
        let cell = match alive.get(id) {
            Some(cell) => Arc::clone(cell),
            None => match self.store.job(id)? {
                Lookup::Found(job) => self.cell(*job),
                Lookup::Departed { owner } if caller.may_see(owner.as_deref()) => return Ok(Found::Departed),
                Lookup::Departed { .. } | Lookup::Unknown => return Ok(Found::Unknown),
            },
        };
        Ok(if caller.may_see(cell.owner()) { Found::Job(cell) } else { Found::Unknown })
    }

    /// Jobs that `caller` may see, from the newest; live ones as they stand this moment. Blocks on the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(
        &self,
        caller: &Caller,
        filter: &JobFilter,
        before: Option<(u64, &str)>,
        limit: u32,
    ) -> Result<Vec<JobView>, StoreError> {
        let stored = self.store.list(caller.name(), filter, before, limit)?;
        let alive = self.alive();
        Ok(stored.into_iter().map(|view| alive.get(&view.id).map_or(view, |cell| cell.view())).collect())
    }

    /// Whether a job is known and has not ended.
    pub fn is_unfinished(&self, id: &JobId) -> bool {
        self.alive().get(id).is_some_and(|cell| !cell.is_terminal())
    }

    /// Every job that has not ended, oldest first.
    pub fn unfinished(&self) -> Vec<Arc<JobCell>> {
        let mut cells: Vec<_> = self.alive().values().filter(|cell| !cell.is_terminal()).cloned().collect();
        cells.sort_by_cached_key(|cell| (cell.view().created_at_ms, cell.id().clone()));
        cells
    }

    /// Removes a job that has ended, with its pictures; `false` if it has not. Blocks on the disk.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn forget(&self, cell: &JobCell) -> Result<bool, StoreError> {
        if !cell.is_terminal() {
            return Ok(false);
        }
        self.alive().remove(cell.id());
        self.store.remove(cell.id())?;
        Ok(true)
    }

    /// Removes the ended jobs that are beyond what is kept. Blocks on the disk.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn retain(&self) -> Result<(), StoreError> {
        for id in self.store.expired(&self.retention)? {
            if self.store.expire(&id)? {
                self.alive().remove(&id);
            }
        }
        Ok(())
    }

    fn cell(&self, job: StoredJob) -> Arc<JobCell> {
        let (store, metrics, pictures) = (&self.store, &self.metrics, &self.picture_queue);
        Arc::new(JobCell::new(Arc::clone(store), Arc::clone(metrics), Arc::clone(pictures), job))
    }

    fn alive(&self) -> MutexGuard<'_, HashMap<JobId, Arc<JobCell>>> {
        // Only whole inserts and removals happen under this lock.
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The jobs of a lane that have not ended.
fn lane_mates(alive: &HashMap<JobId, Arc<JobCell>>, caller: &Caller, lane: Option<&str>) -> Vec<Arc<JobCell>> {
    let Some(lane) = lane else { return Vec::new() };
    let is_mate = |cell: &&Arc<JobCell>| {
        let view = cell.view();
        !view.state.is_terminal() && cell.owner() == caller.name() && view.request.lane.as_deref() == Some(lane)
    };
    alive.values().filter(is_mate).cloned().collect()
}

/// A new id that sorts by time.
fn fresh_id() -> JobId {
    JobId::parse(Uuid::now_v7().to_string()).expect("a UUID is 36 characters of the id alphabet")
}

#[cfg(test)]
mod tests;
