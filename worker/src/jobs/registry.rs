//! All jobs: those that are alive in memory, the others in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_protocol::limits::FINISHED_JOBS_MAX;
use sd_protocol::{ErrorBody, ErrorCode, Event, EventFrame, JobId, JobRequest, JobState, JobView};
use uuid::Uuid;

use super::cell::JobCell;
use super::now_ms;
use super::store::{Store, StoreError};

/// All jobs of a worker.
#[derive(Debug)]
pub struct Registry {
    store: Arc<Store>,
    alive: Mutex<HashMap<JobId, Arc<JobCell>>>,
}

/// A job that passed every check.
#[derive(Debug)]
pub struct NewJob {
    /// The request as the client wrote it: what a repeated submit is compared with.
    pub submitted: JobRequest,
    /// The request as it was understood.
    pub understood: JobRequest,
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
    New(Arc<JobCell>),
    /// The job that the same id and request made before.
    Known(Arc<JobCell>),
}

impl Registry {
    /// Takes over a store; what the last process left unfinished fails as `interrupted`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let error = ErrorBody::new(
            ErrorCode::Interrupted,
            "the worker stopped while this job was waiting or running; submit it again",
        );
        let interrupted = store.interrupt_unfinished(&error)?;
        if interrupted > 0 {
            tracing::warn!(jobs = interrupted, "jobs of the last run ended as interrupted");
        }
        Ok(Self { store: Arc::new(store), alive: Mutex::default() })
    }

    /// Where pictures go.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Stores a job as `queued`. Blocks on the disk.
    ///
    /// # Errors
    /// On a conflicting id, or when the store fails; nothing is left behind then.
    pub fn accept(&self, job: NewJob) -> Result<Accepted, AcceptError> {
        let id = job.submitted.id.clone().unwrap_or_else(fresh_id);
        let view = JobView {
            id: id.clone(),
            state: JobState::Queued,
            queue_position: None,
            step: 0,
            steps: job.steps,
            created_at_ms: now_ms(),
            started_at_ms: None,
            finished_at_ms: None,
            images: Vec::new(),
            timings: None,
            warnings: Vec::new(),
            error: None,
            last_seq: 1,
            stream_url: format!("/v1/jobs/{id}/stream"),
            request: JobRequest { id: Some(id.clone()), ..job.understood },
        };
        let first = EventFrame { job: id.clone(), seq: Some(1), event: Event::Queued { position: 0 } };
        // Held across the insert, so that a second submit of the same id finds the cell and not a gap.
        let mut alive = self.alive();
        if self.store.insert(&job.submitted, &view, &first)? {
            let cell = Arc::new(JobCell::new(Arc::clone(&self.store), view, vec![first]));
            alive.retain(|_, cell| !cell.is_terminal() || Arc::strong_count(cell) > 1);
            alive.insert(id, Arc::clone(&cell));
            return Ok(Accepted::New(cell));
        }
        drop(alive);
        let known = self.repeated(&job.submitted)?.ok_or(AcceptError::IdConflict(id))?;
        Ok(Accepted::Known(known))
    }

    /// The job that an earlier submit of the same id and request made. Blocks on the disk.
    ///
    /// # Errors
    /// When the id belongs to another request, or the store cannot be read.
    pub fn repeated(&self, submitted: &JobRequest) -> Result<Option<Arc<JobCell>>, AcceptError> {
        let Some(id) = &submitted.id else { return Ok(None) };
        match self.store.submitted(id)? {
            None => Ok(None),
            Some(holder) if holder == *submitted => Ok(self.find(id)?),
            Some(_) => Err(AcceptError::IdConflict(id.clone())),
        }
    }

    /// A job by name. Blocks on the disk when it ended long ago.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(&self, id: &JobId) -> Result<Option<Arc<JobCell>>, StoreError> {
        if let Some(cell) = self.alive().get(id) {
            return Ok(Some(Arc::clone(cell)));
        }
        let stored = self.store.job(id)?;
        Ok(stored.map(|(view, log)| Arc::new(JobCell::new(Arc::clone(&self.store), view, log))))
    }

    /// Jobs from the newest; live ones as they stand this moment. Blocks on the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(
        &self,
        state: Option<JobState>,
        before: Option<(u64, &str)>,
        limit: u32,
    ) -> Result<Vec<JobView>, StoreError> {
        let stored = self.store.list(state, before, limit)?;
        let alive = self.alive();
        Ok(stored.into_iter().map(|view| alive.get(&view.id).map_or(view, |cell| cell.view())).collect())
    }

    /// Whether a job is known and has not ended.
    pub fn is_unfinished(&self, id: &JobId) -> bool {
        self.alive().get(id).is_some_and(|cell| !cell.is_terminal())
    }

    /// Every job that has not ended.
    pub fn unfinished(&self) -> Vec<Arc<JobCell>> {
        self.alive().values().filter(|cell| !cell.is_terminal()).cloned().collect()
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

    /// Removes the oldest ended jobs beyond [`FINISHED_JOBS_MAX`]. Blocks on the disk.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn retain_newest(&self) -> Result<(), StoreError> {
        for id in self.store.expired(FINISHED_JOBS_MAX)? {
            self.alive().remove(&id);
            self.store.remove(&id)?;
        }
        Ok(())
    }

    fn alive(&self) -> MutexGuard<'_, HashMap<JobId, Arc<JobCell>>> {
        // Only whole inserts and removals happen under this lock.
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new id that sorts by time.
fn fresh_id() -> JobId {
    JobId::parse(Uuid::now_v7().to_string()).expect("a UUID is 36 characters of the id alphabet")
}
