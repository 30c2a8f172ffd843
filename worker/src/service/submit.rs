//! A request becomes a job, or meets the one that it became before.

use std::sync::Arc;

use sd_protocol::{ErrorBody, ErrorCode, OnDisconnect, PreviewOptions, Supersede};
use serde_json::Value;
use tokio::runtime::Handle;

use super::access::{charge, own_upload};
use super::{Service, blocking, storage_error};
use crate::access::Caller;
use crate::access::quota::Resource;
use crate::engine::{Job, ReserveError};
use crate::intake::{self, PictureRequest};
use crate::jobs::{AcceptError, Accepted, JobCell, Wish, shutting_down};

/// A submit that became a job, or met the job that it had become before.
#[derive(Debug)]
pub struct Submitted {
    /// The job.
    pub cell: Arc<JobCell>,
    /// What previews the submitter wants.
    pub preview: PreviewOptions,
    /// Ends the job with its submitter, where the submitter wants that. A submit that nobody waits for any more drops
    /// it as well.
    pub tie: Option<Tie>,
}

/// Cancels its job when it is dropped; one that has ended stays as it is.
#[derive(Debug)]
pub struct Tie {
    service: Service,
    cell: Arc<JobCell>,
    is_tied: bool,
}

impl Service {
    /// Checks, stores and queues a job, and ends those of its lane that it supersedes.
    ///
    /// # Errors
    /// `invalid_request`, `id_conflict`, `queue_full`, `quota_exceeded`, `shutting_down`, `storage_full` or `storage_failed`.
    pub async fn submit(&self, caller: &Caller, job: Value) -> Result<Submitted, ErrorBody> {
        let valid = intake::validate(job, &self.offer)?;
        let (service, caller) = (self.clone(), caller.clone());
        let place = if valid.picture.is_some() { Some(self.place_to_decode().await) } else { None };
        // All of it on one thread: whether anybody still waits for the answer changes nothing.
        blocking(move || {
            let (preview, is_tied) = (valid.preview, valid.job.understood.on_disconnect == Some(OnDisconnect::Cancel));
            let cell = service.accept(&caller, valid)?;
            drop(place);
            let tie = is_tied.then(|| Tie { service, cell: Arc::clone(&cell), is_tied: true });
            Ok(Submitted { cell, preview, tie })
        })
        .await
    }

    fn accept(&self, caller: &Caller, mut valid: intake::ValidJob) -> Result<Arc<JobCell>, ErrorBody> {
        let registry = &self.registry;
        let brought = valid.picture.as_ref().map_or([false, false], PictureRequest::brings);
        let picture = valid.lease_picture(registry.store().uploads())?;
        let leased = picture.iter().flat_map(|picture| [Some(&picture.image), picture.mask.as_ref()]);
        for (lease, _) in leased.zip(brought).filter(|(_, is_brought)| *is_brought) {
            lease.map_or(Ok(()), |lease| own_upload(registry.store(), caller, lease.id()))?;
        }
        // A repeated submit finds its job even while the queue is full.
        if let Some(cell) = registry.repeated(caller, &valid.job.submitted).map_err(accept_error)? {
            return Ok(cell);
        }
        let supersede = valid.job.understood.supersede.unwrap_or_default();
        let lane = valid.job.understood.lane.clone();
        let quota = self.quota_of(caller.name());
        let charge = charge(&self.accounts, caller, Resource::Pixels, valid.spec.pixels())?;
        let slot = self
            .queue
            .reserve(caller.name(), quota, |job| {
                let is_mate = || lane.is_some() && job.cell.view().request.lane == lane;
                supersede != Supersede::None && job.cell.owner() == caller.name() && is_mate()
            })
            .map_err(reserve_error)?;
        let (cell, lane_mates) = match registry.accept(caller, valid.job).map_err(accept_error)? {
            Accepted::Known(cell) => return Ok(cell),
            Accepted::New { cell, lane_mates } => (cell, lane_mates),
        };
        cell.span().in_scope(|| tracing::debug!(model = valid.model, "accepted"));
        self.supersede(&lane_mates, supersede, &cell);
        let (model, refiner) = (valid.model, valid.refiner);
        let job = Job { cell: Arc::clone(&cell), model, spec: valid.spec, refiner, picture, quota, charge };
        if let Err(job) = slot.fill(job) {
            job.cell.ask_to_end(Wish::Shutdown);
            job.cell.end_as_asked();
        } else if cell.cancel_token().is_canceled() {
            // Somebody ended it before it was in the queue to be taken out.
            self.end(&cell, Wish::Cancel);
        }
        Ok(cell)
    }

    fn supersede(&self, lane_mates: &[Arc<JobCell>], which: Supersede, newer: &JobCell) {
        for older in lane_mates {
            let wish = || Wish::Supersede { by: newer.id().clone() };
            match which {
                Supersede::None => {}
                Supersede::Running => self.end(older, wish()),
                // One that the engine takes this moment is not waiting any more, and stays.
                Supersede::Queued => {
                    if let Some(job) = self.queue.remove(older.id()) {
                        job.cell.ask_to_end(wish());
                        job.cell.end_as_asked();
                    }
                }
            }
        }
    }
}

impl Tie {
    /// Whether the job has not ended, so that the tie may still have something to do.
    pub fn is_needed(&self) -> bool {
        !self.cell.is_terminal()
    }

    /// Lets the job go on whatever happens to its submitter.
    pub fn untie(mut self) {
        self.is_tied = false;
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        if !self.is_tied || !self.is_needed() {
            return;
        }
        let (service, cell) = (self.service.clone(), Arc::clone(&self.cell));
        let end = move || service.end(&cell, Wish::Cancel);
        match Handle::try_current() {
            // The end is stored, and a socket that closes must not wait for the disk.
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

fn accept_error(error: AcceptError) -> ErrorBody {
    match error {
        AcceptError::IdConflict(_) => ErrorBody::new(ErrorCode::IdConflict, error.to_string()),
        AcceptError::Store(error) => storage_error(&error),
    }
}

pub(super) fn reserve_error(error: ReserveError) -> ErrorBody {
    match error {
        ReserveError::Full { retry_after, .. } => {
            ErrorBody::new(ErrorCode::QueueFull, error.to_string()).retry_after(retry_after)
        }
        ReserveError::QuotaFull { retry_after, .. } => {
            ErrorBody::new(ErrorCode::QuotaExceeded, error.to_string()).retry_after(retry_after)
        }
        ReserveError::Closed => shutting_down(),
    }
}
