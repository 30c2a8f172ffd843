//! From one process to the next: what a worker takes up when it starts, and leaves when it stops.

use std::sync::Arc;

use sd_protocol::limits::INTERRUPTIONS_MAX;
use sd_protocol::{ErrorBody, ErrorCode, Event, JobState};
use serde::Deserialize;

use super::{Service, blocking, storage_error};
use crate::access::quota::Charge;
use crate::engine::Job;
use crate::intake;
use crate::jobs::{JobCell, Wish};

/// What becomes of a job that was being drawn when its worker died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnCrash {
    /// It is drawn again from its first step.
    #[default]
    Rerun,
    /// It fails as `interrupted`.
    Fail,
}

impl Service {
    /// Takes up what the last process left unfinished: waiting jobs wait again, in their order, and those that were
    /// being drawn are drawn again or fail.
    pub async fn take_up(&self, on_crash: OnCrash) {
        let service = self.clone();
        let taken_up = blocking(move || {
            let cells = service.registry.unfinished();
            let mut jobs = Vec::with_capacity(cells.len());
            for cell in &cells {
                match service.revive(cell, on_crash) {
                    Ok(job) => jobs.push(job),
                    Err(error) => {
                        cell.append(Event::Failed { error });
                    }
                }
            }
            if service.queue.restore(jobs).is_err() {
                // A worker that stops before it has started leaves them for the next one.
                tracing::debug!("jobs wait for the next worker");
            }
            Ok(cells.len())
        });
        match taken_up.await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "jobs of the last run were taken up"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "jobs could not be taken up"),
        }
    }

    /// The job of a cell, as it waits again.
    fn revive(&self, cell: &Arc<JobCell>, on_crash: OnCrash) -> Result<Job, ErrorBody> {
        let view = cell.view();
        let was_running = view.state == JobState::Running;
        let interrupted = |message: String| Err(ErrorBody::new(ErrorCode::Interrupted, message));
        if was_running && on_crash == OnCrash::Fail {
            return interrupted("the worker stopped while this job was being drawn; submit it again".into());
        }
        if was_running && cell.starts() >= INTERRUPTIONS_MAX {
            return interrupted(format!(
                "the worker stopped {} times while this job was being drawn; it may be more than the machine can bear",
                cell.starts()
            ));
        }
        let request = serde_json::to_value(&view.request).expect("a request is a JSON object");
        let mut valid = intake::validate(request, &self.offer)?;
        let picture = valid.lease_picture(self.registry.store().uploads())?;
        if was_running {
            cell.requeue();
        }
        let (cell, model, refiner) = (Arc::clone(cell), valid.model, valid.refiner);
        let quota = self.quota_of(cell.owner());
        // Its cost was charged with all that was spent before this process began.
        let charge = Charge::default();
        Ok(Job { cell, model, spec: valid.spec, refiner, picture, quota, charge })
    }

    /// Takes no more jobs. Those that wait stay for the next worker, or fail as `shutting_down` where nothing is kept;
    /// the one that is drawn goes on.
    pub async fn stop_accepting(&self) {
        let waiting = self.queue.close();
        self.stop(waiting.into_iter().map(|job| job.cell).collect()).await;
    }

    /// Halts the job that is drawn at its next block, to be drawn by the next worker, or to fail as `shutting_down` where
    /// nothing is kept; a picture that only needs decoding and storing is still finished.
    pub async fn halt(&self) {
        let is_drawn = |cell: &Arc<JobCell>| {
            let view = cell.view();
            view.step < view.steps
        };
        for cell in self.registry.unfinished().iter().filter(|cell| is_drawn(cell)) {
            cell.ask_to_end(Wish::Shutdown);
        }
    }

    /// Decides whatever the engine did not; for when it has stopped, or is given up on.
    pub async fn settle(&self) {
        self.stop(self.registry.unfinished()).await;
    }

    async fn stop(&self, cells: Vec<Arc<JobCell>>) {
        let stopped = blocking(move || {
            for cell in cells {
                cell.ask_to_end(Wish::Shutdown);
                cell.end_as_asked();
            }
            Ok(())
        });
        if let Err(error) = stopped.await {
            tracing::error!(error = &error as &dyn std::error::Error, "jobs could not be ended");
        }
    }

    /// Removes the oldest jobs that are beyond what is kept.
    pub async fn retain(&self) {
        let registry = Arc::clone(&self.registry);
        let retained = blocking(move || registry.retain().map_err(|error| storage_error(&error)));
        if let Err(error) = retained.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "old jobs stay behind");
        }
    }
}
