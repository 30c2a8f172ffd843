//! What every transport can ask of the worker, whatever bytes it came in: submit, find, list, cancel, forget, upload.
//!
//! | module | what it holds |
//! |---|---|
//! | [`submit`] | a request becomes a job, or meets the one that it became before; what happens to its lane |
//! | [`change`] | the priority of a waiting job, favourites |
//! | [`pictures`] | pictures, their thumbnails, and uploads on their way back |
//! | [`tokens`] | how a model reads a prompt |
//! | [`access`] | share links, quotas, uploads |
//! | [`life`] | from one process to the next: what a worker takes up when it starts, and leaves when it stops |
//!
//! HTTP and WebSocket handlers translate to and from these calls and nothing else, so a job behaves the same over
//! both. Every call about a job says who asks; what a caller may not see is not there. Calls that touch the disk run on
//! tokio's blocking threads.

pub mod access;
pub mod change;
pub mod life;
pub mod pictures;
pub mod submit;
pub mod tokens;

use std::sync::Arc;

use sd_protocol::limits::{THUMBNAILS_MADE_MAX, UPLOADS_DECODED_MAX};
use sd_protocol::{ErrorBody, ErrorCode, JobId, JobView, PreviewBasis};
use tokio::sync::{Semaphore, watch};

use crate::access::{Accounts, Caller};
use crate::engine::{EngineStatus, JobQueue};
use crate::inputs::Arrivals;
use crate::intake::Offer;
use crate::jobs::{Found, JobCell, JobFilter, Registry, StoreError, Wish};
use crate::metrics::{Levels, Metrics};
use crate::models::PromptReaders;
use crate::outlet;

pub use life::OnCrash;
pub use submit::{Submitted, Tie};

/// The worker as its transports see it. Clones share it.
#[derive(Clone, Debug)]
pub struct Service {
    registry: Arc<Registry>,
    queue: Arc<JobQueue>,
    offer: Arc<Offer>,
    engine: watch::Receiver<EngineStatus>,
    accounts: Arc<Accounts>,
    /// Places for pictures that are decoded at the same time.
    decoding: Arc<Semaphore>,
    /// Places for thumbnails that are made at the same time.
    thumbnailing: Arc<Semaphore>,
    arrivals: Arrivals,
    readers: Arc<PromptReaders>,
}

impl Service {
    /// Ties the parts together.
    pub fn new(
        registry: Arc<Registry>,
        queue: Arc<JobQueue>,
        offer: Arc<Offer>,
        engine: watch::Receiver<EngineStatus>,
        accounts: Arc<Accounts>,
        readers: Arc<PromptReaders>,
    ) -> Self {
        Self {
            registry,
            queue,
            offer,
            engine,
            accounts,
            decoding: Arc::new(Semaphore::new(UPLOADS_DECODED_MAX)),
            thumbnailing: Arc::new(Semaphore::new(THUMBNAILS_MADE_MAX)),
            arrivals: Arrivals::default(),
            readers,
        }
    }

    /// A job by name.
    ///
    /// # Errors
    /// `job_not_found`, `job_expired`, or `storage_failed`.
    pub async fn find(&self, caller: &Caller, id: &str) -> Result<Arc<JobCell>, ErrorBody> {
        let unknown = || {
            ErrorBody::new(
                ErrorCode::JobNotFound,
                format!("no job {id:?} here: it never was, or it was forgotten; GET /v1/jobs lists those that are"),
            )
        };
        let Ok(parsed) = JobId::parse(id) else { return Err(unknown()) };
        let (registry, caller) = (Arc::clone(&self.registry), caller.clone());
        match blocking(move || registry.find(&caller, &parsed).map_err(|error| storage_error(&error))).await? {
            Found::Job(cell) => Ok(cell),
            Found::Departed => Err(ErrorBody::new(
                ErrorCode::JobExpired,
                format!("the job {id} was one of the oldest, and left with its pictures when the worker needed room"),
            )),
            Found::Unknown => Err(unknown()),
        }
    }

    /// Whether a job is known and has not ended.
    pub fn is_unfinished(&self, id: &JobId) -> bool {
        self.registry.is_unfinished(id)
    }

    /// Jobs from the newest; `before` is the creation time and id of the last job of the page before.
    ///
    /// # Errors
    /// `storage_failed`.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: JobFilter,
        before: Option<(u64, String)>,
        limit: u32,
    ) -> Result<Vec<JobView>, ErrorBody> {
        let (registry, caller) = (Arc::clone(&self.registry), caller.clone());
        blocking(move || {
            let before = before.as_ref().map(|(ms, id)| (*ms, id.as_str()));
            registry.list(&caller, &filter, before, limit).map_err(|error| storage_error(&error))
        })
        .await
    }

    /// Ends a job: at once while it waits, at its next block while it runs, not at all when it has ended.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<Arc<JobCell>, ErrorBody> {
        let cell = self.find(caller, id).await?;
        let (service, ending) = (self.clone(), Arc::clone(&cell));
        blocking(move || {
            service.end(&ending, Wish::Cancel);
            Ok(())
        })
        .await?;
        Ok(cell)
    }

    /// Removes an ended job and its pictures.
    ///
    /// # Errors
    /// As [`find`](Self::find); `id_conflict` while the job has not ended.
    pub async fn forget(&self, caller: &Caller, id: &str) -> Result<(), ErrorBody> {
        let cell = self.find(caller, id).await?;
        let registry = Arc::clone(&self.registry);
        if blocking(move || registry.forget(&cell).map_err(|error| storage_error(&error))).await? {
            return Ok(());
        }
        Err(ErrorBody::new(ErrorCode::IdConflict, "the job has not ended; cancel it first"))
    }

    /// How the latents of a job become a rough picture.
    pub fn preview_basis(&self, job: &JobView) -> PreviewBasis {
        let model = self.offer.models.iter().find(|model| Some(&model.name) == job.request.model.as_ref());
        // A stored job may name a model that this run of the worker was not given; it has no live previews.
        outlet::preview_basis(model.unwrap_or(&self.offer.models[0]))
    }

    /// What may be asked for.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Why a job would not be taken now; nothing when it would.
    ///
    /// # Errors
    /// `loading`, `model_unavailable`, `shutting_down` or `queue_full`.
    pub fn readiness(&self) -> Result<(), ErrorBody> {
        match &*self.engine.borrow() {
            EngineStatus::Loading => Err(ErrorBody::new(ErrorCode::Loading, "the default model is being loaded")),
            EngineStatus::Failed(reason) => Err(ErrorBody::new(ErrorCode::ModelUnavailable, reason.clone())),
            EngineStatus::Stopped => Err(crate::jobs::shutting_down()),
            EngineStatus::Ready => self.queue.room().map_err(submit::reserve_error),
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.registry.metrics()
    }

    /// What is counted, with the levels of this moment, as text.
    pub fn metrics_text(&self) -> String {
        let waiting = self.queue.len();
        let running = self.registry.unfinished().len().saturating_sub(waiting);
        self.metrics().encode(Levels { waiting, running })
    }

    /// Ends a job for a reason: here where it waits, by whoever draws it where it is drawn. Blocks on the disk.
    fn end(&self, cell: &JobCell, wish: Wish) {
        cell.ask_to_end(wish);
        if let Some(job) = self.queue.remove(cell.id()) {
            job.cell.end_as_asked();
        }
    }
}

/// Runs what touches the disk where it holds up no socket.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorBody> + Send + 'static,
) -> Result<T, ErrorBody> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        tracing::error!(error = &panic as &dyn std::error::Error, "a call ended in a panic");
        Err(ErrorBody::new(ErrorCode::Internal, "the worker hit a fault of its own; the log has the reason"))
    })
}

fn storage_error(error: &StoreError) -> ErrorBody {
    tracing::error!(error = error as &dyn std::error::Error, "the store failed");
    if error.is_full() {
        return ErrorBody::new(ErrorCode::StorageFull, "the worker's disk is full; delete jobs, or make room on it");
    }
    ErrorBody::new(ErrorCode::StorageFailed, "the worker's store failed; its log has the reason")
}
