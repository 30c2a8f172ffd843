//! What the computation says about a job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_protocol::{ErrorBody, ErrorCode, Event, Timings};

use crate::diffusion::pipeline::CacheUse;
use crate::diffusion::{Finished, GenerationSpec, Observer, StepView};
use crate::jobs::{JobCell, LatentSnapshot, now_ms};
use crate::models::LoadProgress;

/// The only voice of a running job. Dropped before a terminal event, it publishes `failed(internal)`.
#[derive(Debug)]
pub struct JobReporter {
    cell: Arc<JobCell>,
    batch_size: u32,
    latent_width: u32,
    latent_height: u32,
    first_step_at: Option<Instant>,
    last_step_at: Option<Instant>,
    preview_time: Duration,
    timings: Timings,
    /// The job has an end, or waits for the next worker.
    is_over: bool,
}

impl JobReporter {
    /// Speaks for a job that just left the queue. `latent_scale` is the side of a latent cell in px.
    pub fn new(cell: Arc<JobCell>, spec: &GenerationSpec, latent_scale: u32) -> Self {
        let queued_ms = now_ms().saturating_sub(cell.view().created_at_ms);
        cell.metrics().dequeued(Duration::from_millis(queued_ms));
        let queued_ms = queued_ms as f64;
        Self {
            cell,
            batch_size: spec.batch_size,
            latent_width: spec.width / latent_scale,
            latent_height: spec.height / latent_scale,
            first_step_at: None,
            last_step_at: None,
            preview_time: Duration::ZERO,
            timings: Timings { queued_ms, ..Timings::default() },
            is_over: false,
        }
    }

    /// The job.
    pub fn cell(&self) -> &JobCell {
        &self.cell
    }

    /// Publishes how far the weights of `model` have come.
    pub fn loading(&self, model: &str, so_far: &LoadProgress) {
        self.cell.update(Event::ModelLoading {
            model: model.to_owned(),
            done_bytes: so_far.done_bytes,
            total_bytes: so_far.total_bytes,
        });
    }

    /// Notes how long a model took to load.
    pub fn loaded(&mut self, time: Duration) {
        self.timings.load_ms += milliseconds(time);
    }

    /// Notes where the time of the computation went and returns the whole account.
    pub fn computed(&mut self, finished: &Finished) -> Timings {
        let CacheUse { texts, pictures, loras } = finished.caches;
        for (cache, reuse) in [("texts", texts), ("pictures", pictures), ("loras", loras)] {
            self.cell.metrics().cache_used(cache, reuse.found.into(), reuse.made.into());
        }
        self.timings.encode_ms = milliseconds(finished.encode_time);
        self.timings.denoise_ms = milliseconds(finished.denoise_time);
        self.timings.decode_ms = milliseconds(finished.decode_time);
        self.timings.preview_ms = milliseconds(self.preview_time);
        self.timings
    }

    /// Ends the job as it was asked to.
    pub fn halted(mut self) {
        self.is_over = true;
        self.cell.end_as_asked();
    }

    /// Publishes that the job failed.
    pub fn failed(self, error: ErrorBody) {
        self.cell.append(Event::Failed { error });
    }

    /// Publishes the clean latents, where anybody looks.
    fn show(&mut self, view: &StepView<'_>) {
        if self.cell.has_preview_readers() {
            self.copy_latents(view);
        }
    }

    fn copy_latents(&mut self, view: &StepView<'_>) {
        let started = Instant::now();
        match (view.denoised)() {
            Ok(latents) => self.cell.update_latents(LatentSnapshot {
                step: view.step,
                steps: view.steps,
                batch_size: self.batch_size,
                width: self.latent_width,
                height: self.latent_height,
                latents,
            }),
            Err(error) => {
                tracing::warn!(job = %self.cell.id(), error = &error as &dyn std::error::Error, "no preview of this step");
            }
        }
        self.preview_time += started.elapsed();
    }

    /// Time until the last step at the pace so far; nothing can be said before the first step.
    fn eta(&self, view: &StepView<'_>) -> Duration {
        let elapsed = self.first_step_at.map_or(Duration::ZERO, |start| start.elapsed());
        elapsed / view.step.max(1) * (view.steps - view.step)
    }
}

impl Observer for JobReporter {
    fn started(&mut self, steps: u32) {
        self.first_step_at = Some(Instant::now());
        self.cell.append(Event::Started { steps });
    }

    fn stepped(&mut self, view: &StepView<'_>) {
        let now = Instant::now();
        if let Some(before) = self.last_step_at.replace(now).or(self.first_step_at) {
            self.cell.metrics().stepped(now - before);
        }
        let eta_ms = self.eta(view).as_millis() as u64;
        self.cell.update(Event::Progress { step: view.step, steps: view.steps, sigma: view.sigma as f32, eta_ms });
        self.show(view);
    }

    fn wants_glimpse(&self) -> bool {
        self.cell.has_preview_readers()
    }

    fn glimpsed(&mut self, view: &StepView<'_>) {
        self.show(view);
    }
}

impl Drop for JobReporter {
    fn drop(&mut self) {
        if self.is_over || self.cell.is_terminal() {
            return;
        }
        let error = ErrorBody::new(
            ErrorCode::Internal,
            "the worker hit a fault of its own in this job; the log has the reason. Other jobs are not affected",
        );
        self.cell.append(Event::Failed { error });
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
