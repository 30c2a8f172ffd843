//! Share links, and what a credential may use: its quota, its uploads, its pixels.

use std::sync::Arc;
use std::time::Duration;

use sd_protocol::limits::SHARES_PER_JOB_MAX;
use sd_protocol::{ErrorBody, ErrorCode, JobId, Quota, Secret, UploadView};
use tokio::sync::OwnedSemaphorePermit;

use super::{Service, blocking, storage_error};
use crate::access::quota::{Charge, Exhausted, HOUR_MS, Resource};
use crate::access::secret::{SecretHash, SecretKind, fresh};
use crate::access::{Accounts, Caller};
use crate::inputs::{Arrival, Arrivals};
use crate::jobs::{Store, now_ms};

impl Service {
    /// A new link through which anybody may look at a job.
    ///
    /// # Errors
    /// As [`find`](Self::find); `quota_exceeded` when the job has [`SHARES_PER_JOB_MAX`].
    pub async fn share(&self, caller: &Caller, id: &str) -> Result<Secret, ErrorBody> {
        let cell = self.find(caller, id).await?;
        let token = fresh(SecretKind::Share).map_err(|fault| {
            tracing::error!(error = &fault as &dyn std::error::Error, "no link could be made");
            ErrorBody::new(ErrorCode::Internal, "the worker hit a fault of its own; its log has the reason")
        })?;
        let (registry, hash) = (Arc::clone(&self.registry), SecretHash::of(token.reveal()));
        if blocking(move || registry.store().add_share(cell.id(), &hash).map_err(|error| storage_error(&error))).await?
        {
            return Ok(token);
        }
        let message = format!(
            "the job has {SHARES_PER_JOB_MAX} links, as many as may be; use one of them, or end them with \
             DELETE /v1/jobs/{id}/share"
        );
        Err(ErrorBody::new(ErrorCode::QuotaExceeded, message))
    }

    /// Ends every link of a job.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn unshare(&self, caller: &Caller, id: &str) -> Result<(), ErrorBody> {
        let cell = self.find(caller, id).await?;
        let registry = Arc::clone(&self.registry);
        blocking(move || registry.store().remove_shares(cell.id()).map_err(|error| storage_error(&error))).await
    }

    /// Whether a job has that link.
    ///
    /// # Errors
    /// `storage_failed`.
    pub async fn is_shared(&self, job: &JobId, token: &Secret) -> Result<bool, ErrorBody> {
        let (registry, job, hash) = (Arc::clone(&self.registry), job.clone(), SecretHash::of(token.reveal()));
        blocking(move || registry.store().is_shared(&job, &hash).map_err(|error| storage_error(&error))).await
    }

    /// What a caller may use, where that is bounded.
    pub fn quota(&self, caller: &Caller) -> Option<Quota> {
        let quota = self.quota_of(caller.name());
        (quota != Quota::default()).then_some(quota)
    }

    /// What the owner of a job may use.
    pub(super) fn quota_of(&self, owner: Option<&str>) -> Quota {
        self.accounts.quota(owner)
    }

    /// Checks and stores a picture for jobs to come.
    ///
    /// # Errors
    /// `image_invalid`, `too_large`, `quota_exceeded`, `uploads_full` or `storage_failed`.
    pub async fn upload(&self, caller: &Caller, picture: Arrival) -> Result<UploadView, ErrorBody> {
        let mut charge = charge(&self.accounts, caller, Resource::UploadBytes, picture.bytes().len() as u64)?;
        let place = self.place_to_decode().await;
        let (registry, caller) = (Arc::clone(&self.registry), caller.clone());
        blocking(move || {
            let view = registry.store().uploads().put(picture.bytes())?;
            own_upload(registry.store(), &caller, &view.id)?;
            charge.keep();
            drop(place);
            Ok(view)
        })
        .await
    }

    /// The memory that arriving pictures share.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Waits until one more picture may be decoded.
    pub(super) async fn place_to_decode(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.decoding).acquire_owned().await.expect("nobody closes this semaphore")
    }

    /// Charges to every account what its owner spent in the last hour, as the store remembers it.
    pub async fn recall_spent(&self) {
        let service = self.clone();
        let recalled = blocking(move || {
            let since_ms = now_ms().saturating_sub(HOUR_MS);
            for spent in service.registry.store().spent_since(since_ms).map_err(|error| storage_error(&error))? {
                service.accounts.recall(&spent.owner, Resource::Pixels, spent.pixels, spent.at_ms);
            }
            Ok(())
        });
        if let Err(error) = recalled.await {
            tracing::error!(error = &error as &dyn std::error::Error, "quotas begin anew");
        }
    }
}

/// Remembers who brought an upload, so that they may have it back.
pub(super) fn own_upload(store: &Store, caller: &Caller, upload: &str) -> Result<(), ErrorBody> {
    let Some(owner) = caller.name() else { return Ok(()) };
    store.own_upload(upload, owner).map_err(|error| storage_error(&error))
}

/// A charge that is told to clients when there is none.
pub(super) fn charge(
    accounts: &Arc<Accounts>,
    caller: &Caller,
    resource: Resource,
    amount: u64,
) -> Result<Charge, ErrorBody> {
    accounts.charge(caller, resource, amount, now_ms()).map_err(exhausted)
}

fn exhausted(error: Exhausted) -> ErrorBody {
    let body = ErrorBody::new(ErrorCode::QuotaExceeded, error.to_string());
    match error {
        Exhausted::ForNow { wait_ms, .. } => body.retry_after(Duration::from_millis(wait_ms)),
        Exhausted::ForGood { .. } => body,
    }
}
