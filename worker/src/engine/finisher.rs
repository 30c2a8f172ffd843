//! Encodes and stores pictures off the engine thread, so that the next job starts at once.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sd_protocol::limits::FINISHING_JOBS_MAX;
use sd_protocol::{ErrorBody, ErrorCode, Event, ImageView, Timings};

use super::reporter::JobReporter;
use crate::diffusion::Finished;
use crate::diffusion::inpaint::InpaintPlan;
use crate::jobs::{Registry, StoreError};
use crate::outputs::{self, EncodeError, Parameters};

/// A drawn job whose pictures are not stored yet.
#[derive(Debug)]
pub struct Drawn {
    /// Speaks for the job to its end.
    pub reporter: JobReporter,
    /// What the computation left.
    pub finished: Finished,
    /// How the pictures go back into the one that they began as, where only a part of it was drawn.
    pub plan: Option<InpaintPlan>,
    /// Where the time went.
    pub timings: Timings,
}

/// Why pictures could not be kept.
#[derive(Debug, thiserror::Error)]
enum FinishError {
    #[error("the picture could not be encoded")]
    Encode(#[from] EncodeError),
    #[error("the picture could not be stored")]
    Store(#[from] StoreError),
}

/// Starts the thread; it ends when every sender is gone.
///
/// # Errors
/// When the system starts no thread.
pub fn start(registry: Arc<Registry>) -> std::io::Result<(SyncSender<Drawn>, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(FINISHING_JOBS_MAX);
    let thread = std::thread::Builder::new().name("finisher".into()).spawn(move || finish_all(&registry, &receiver))?;
    Ok((sender, thread))
}

fn finish_all(registry: &Registry, drawn: &Receiver<Drawn>) {
    for Drawn { reporter, mut finished, plan, timings } in drawn {
        let span = reporter.cell().span().clone();
        let _entered = span.enter();
        if let Some(plan) = plan {
            finished.pictures = finished.pictures.iter().map(|picture| plan.finish(picture)).collect();
        }
        if let Err(error) = finish(registry, &reporter, &finished, timings) {
            tracing::error!(error = &error as &dyn std::error::Error, "a picture was lost");
            reporter.failed(lost(&error));
        }
        if let Err(error) = registry.retain() {
            tracing::warn!(error = &error as &dyn std::error::Error, "old jobs stay behind");
        }
    }
}

fn finish(
    registry: &Registry,
    reporter: &JobReporter,
    finished: &Finished,
    timings: Timings,
) -> Result<(), FinishError> {
    let cell = reporter.cell();
    let view = cell.view();
    let (seed, output) = (view.request.seed.unwrap_or_default(), view.request.output.unwrap_or_default());
    for (index, picture) in (0..).zip(&finished.pictures) {
        let image_seed = seed + u64::from(index);
        let file = outputs::encode(picture, output, &Parameters::new(&view.request, image_seed))?;
        let url = format!("/v1/jobs/{}/images/{index}", cell.id());
        let image = ImageView {
            index,
            thumbnail_url: Some(format!("{url}/thumbnail")),
            url,
            format: output.format,
            width: picture.width,
            height: picture.height,
            sha256: registry.store().save_image(&file, output.format)?,
            seed: image_seed,
        };
        // A job that is drawn again after a crash shows the same pictures, which its log may have already.
        if !view.images.contains(&image) {
            cell.append(Event::Image { image });
        }
    }
    cell.append_with(Event::Succeeded { timings }, |view| view.warnings.extend(finished.warnings.iter().cloned()));
    Ok(())
}

fn lost(error: &FinishError) -> ErrorBody {
    match error {
        FinishError::Store(error) if error.is_full() => ErrorBody::new(
            ErrorCode::StorageFull,
            "the picture was drawn, but the worker's disk is full; delete jobs or make room, and submit again",
        ),
        FinishError::Store(_) | FinishError::Encode(_) => ErrorBody::new(
            ErrorCode::StorageFailed,
            "the picture was drawn but could not be stored; the worker's log has the reason",
        ),
    }
}
