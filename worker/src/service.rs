//! What every transport can ask of the worker, whatever bytes it came in: submit, find, list, cancel, forget, upload.
//!
//! HTTP and WebSocket handlers translate to and from these calls and nothing else, so a job behaves the same over
//! both. Calls that touch the disk run on tokio's blocking threads.

use std::sync::Arc;

use sd_protocol::{ErrorBody, ErrorCode, Event, JobId, JobState, JobView, PreviewBasis, PreviewOptions, UploadView};
use serde_json::Value;
use tokio::sync::watch;

use crate::engine::{EngineStatus, Job, JobQueue, ReserveError};
use crate::intake::Offer;
use crate::jobs::{AcceptError, Accepted, JobCell, Registry, StoreError};
use crate::{intake, outlet};

/// The worker as its transports see it. Clones share it.
#[derive(Clone, Debug)]
pub struct Service {
    registry: Arc<Registry>,
    queue: Arc<JobQueue>,
    offer: Arc<Offer>,
    engine: watch::Receiver<EngineStatus>,
}

/// A submit that became a job, or met the job that it had become before.
#[derive(Debug)]
pub struct Submitted {
    /// The job.
    pub cell: Arc<JobCell>,
    /// What previews the submitter wants.
    pub preview: PreviewOptions,
}

impl Service {
    /// Ties the parts together.
    pub fn new(
        registry: Arc<Registry>,
        queue: Arc<JobQueue>,
        offer: Arc<Offer>,
        engine: watch::Receiver<EngineStatus>,
    ) -> Self {
        Self { registry, queue, offer, engine }
    }

    /// Checks, stores and queues a job.
    ///
    /// # Errors
    /// `invalid_request`, `id_conflict`, `queue_full`, `shutting_down` or `storage_failed`.
    pub async fn submit(&self, job: Value) -> Result<Submitted, ErrorBody> {
        let mut valid = intake::validate(job, &self.offer)?;
        let preview = valid.preview;
        let (registry, queue) = (Arc::clone(&self.registry), Arc::clone(&self.queue));
        let cell = blocking(move || {
            let picture = valid.lease_picture(registry.store().uploads())?;
            // A repeated submit finds its job even while the queue is full.
            if let Some(cell) = registry.repeated(&valid.job.submitted).map_err(accept_error)? {
                return Ok(cell);
            }
            let slot = queue.reserve().map_err(reserve_error)?;
            let cell = match registry.accept(valid.job).map_err(accept_error)? {
                Accepted::Known(cell) => return Ok(cell),
                Accepted::New(cell) => cell,
            };
            tracing::debug!(job = %cell.id(), model = valid.model, "accepted");
            let job =
                Job { cell: Arc::clone(&cell), model: valid.model, spec: valid.spec, refiner: valid.refiner, picture };
            if let Err(job) = slot.fill(job) {
                job.cell.append(Event::Failed { error: shutting_down() });
            }
            Ok(cell)
        })
        .await?;
        Ok(Submitted { cell, preview })
    }

    /// A job by name.
    ///
    /// # Errors
    /// `job_not_found`, or `storage_failed`.
    pub async fn find(&self, id: &str) -> Result<Arc<JobCell>, ErrorBody> {
        let registry = Arc::clone(&self.registry);
        let not_found = ErrorBody::new(
            ErrorCode::JobNotFound,
            format!("no job {id:?} here: it never was, or it was forgotten; GET /v1/jobs lists those that are"),
        );
        let Ok(id) = JobId::parse(id) else { return Err(not_found) };
        blocking(move || registry.find(&id).map_err(storage_error)).await?.ok_or(not_found)
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
        state: Option<JobState>,
        before: Option<(u64, String)>,
        limit: u32,
    ) -> Result<Vec<JobView>, ErrorBody> {
        let registry = Arc::clone(&self.registry);
        blocking(move || {
            let before = before.as_ref().map(|(ms, id)| (*ms, id.as_str()));
            registry.list(state, before, limit).map_err(storage_error)
        })
        .await
    }

    /// Ends a job: at once while it waits, at its next block while it runs, not at all when it has ended.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn cancel(&self, id: &str) -> Result<Arc<JobCell>, ErrorBody> {
        let cell = self.find(id).await?;
        cell.cancel_token().cancel();
        if let Some(job) = self.queue.remove(cell.id()) {
            blocking(move || {
                job.cell.append(Event::Canceled);
                Ok(())
            })
            .await?;
        }
        Ok(cell)
    }

    /// Removes an ended job and its pictures.
    ///
    /// # Errors
    /// `job_not_found`; `id_conflict` while the job has not ended.
    pub async fn forget(&self, id: &str) -> Result<(), ErrorBody> {
        let cell = self.find(id).await?;
        let registry = Arc::clone(&self.registry);
        if blocking(move || registry.forget(&cell).map_err(storage_error)).await? {
            return Ok(());
        }
        Err(ErrorBody::new(ErrorCode::IdConflict, "the job has not ended; cancel it first"))
    }

    /// The file of a picture.
    ///
    /// # Errors
    /// `image_not_found` while there is none of that index.
    pub fn image(&self, cell: &JobCell, index: u32) -> Result<(std::path::PathBuf, String), ErrorBody> {
        let view = cell.view();
        let image = view.images.into_iter().find(|image| image.index == index).ok_or_else(|| {
            let state = view.state.as_str();
            ErrorBody::new(ErrorCode::ImageNotFound, format!("the job is {state} and has no image {index}"))
        })?;
        Ok((self.registry.store().image_path(&image.sha256), image.sha256))
    }

    /// Checks and stores a picture for jobs to come.
    ///
    /// # Errors
    /// `image_invalid`, `too_large`, `uploads_full` or `storage_failed`.
    pub async fn upload(&self, bytes: Vec<u8>) -> Result<UploadView, ErrorBody> {
        let registry = Arc::clone(&self.registry);
        blocking(move || registry.store().uploads().put(&bytes).map_err(ErrorBody::from)).await
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

    /// What the engine is up to.
    pub fn engine_status(&self) -> EngineStatus {
        self.engine.borrow().clone()
    }

    /// Takes no more jobs and ends those that wait or are being denoised with `shutting_down`; a picture that only
    /// needs decoding and storing is still finished by the engine.
    pub async fn stop_accepting(&self) {
        let waiting = self.queue.close();
        self.end(move |cell| {
            let view = cell.view();
            waiting.iter().any(|job| job.cell.id() == cell.id()) || view.step < view.steps
        })
        .await;
    }

    /// Ends whatever has not ended; for when the engine has stopped, or is given up on.
    pub async fn end_all(&self) {
        self.end(|_| true).await;
    }

    async fn end(&self, is_ended: impl Fn(&JobCell) -> bool + Send + 'static) {
        let registry = Arc::clone(&self.registry);
        let ended = blocking(move || {
            for cell in registry.unfinished().iter().filter(|cell| is_ended(cell)) {
                cell.append(Event::Failed { error: shutting_down() });
                cell.cancel_token().cancel();
            }
            Ok(())
        });
        if let Err(error) = ended.await {
            tracing::error!(error = &error as &dyn std::error::Error, "jobs could not be ended");
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

fn shutting_down() -> ErrorBody {
    ErrorBody::new(ErrorCode::ShuttingDown, "the worker is shutting down; submit again when it is back")
}

fn accept_error(error: AcceptError) -> ErrorBody {
    match error {
        AcceptError::IdConflict(_) => ErrorBody::new(ErrorCode::IdConflict, error.to_string()),
        AcceptError::Store(error) => storage_error(error),
    }
}

fn reserve_error(error: ReserveError) -> ErrorBody {
    match error {
        ReserveError::Full(_) => ErrorBody::new(ErrorCode::QueueFull, error.to_string()),
        ReserveError::Closed => shutting_down(),
    }
}

fn storage_error(error: StoreError) -> ErrorBody {
    tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
    ErrorBody::new(ErrorCode::StorageFailed, "the worker's store failed; its log has the reason")
}
