//! One sentence on how things stand.

use sd_protocol::{ErrorCode, JobState, Timings};

use super::strings;
use crate::session::{Job, Link, Phase, Session};

/// The sentence for the status line. `host` is where the worker is looked for.
pub(super) fn sentence(session: &Session, host: &str) -> String {
    match (session.link(), session.worker()) {
        (Link::Connecting { failures: 0 }, None) => return strings::STATUS_CONNECTING.into(),
        (Link::Connecting { .. } | Link::Waiting { .. }, None) => return strings::no_worker(host),
        (Link::Connecting { .. } | Link::Waiting { .. }, Some(_)) => return strings::STATUS_RECONNECTING.into(),
        (Link::Locked { .. }, _) => return strings::STATUS_LOCKED.into(),
        (Link::Connected, _) => {}
    }
    // A refused picture does not hide how the one that is being drawn gets on.
    if session.rejection().is_some() && session.shown_job().is_none_or(Job::ended) {
        return strings::STATUS_REFUSED.into();
    }
    let loading = session.worker().is_some_and(|worker| worker.ready == Some(false));
    match session.shown_job() {
        Some(job) => of_job(job, loading),
        None if loading => strings::STATUS_LOADING.into(),
        None => strings::STATUS_READY.into(),
    }
}

fn of_job(job: &Job, loading: bool) -> String {
    let progress = job.progress;
    if let (Phase::Known(JobState::Queued), Some(percent)) = (job.phase, job.loading_percent) {
        return strings::loading(percent);
    }
    match job.phase {
        Phase::Submitting { .. } | Phase::Attaching => strings::STATUS_SENDING.into(),
        Phase::Known(JobState::Queued) if loading => strings::STATUS_QUEUED_LOADING.into(),
        Phase::Known(JobState::Queued) if job.queue_position == 0 => strings::STATUS_NEXT.into(),
        Phase::Known(JobState::Queued) => strings::waiting(job.queue_position),
        Phase::Known(JobState::Running) if progress.step == 0 => strings::STATUS_PREPARING.into(),
        Phase::Known(JobState::Running) if progress.step == progress.steps => strings::STATUS_FINISHING.into(),
        Phase::Known(JobState::Running) => strings::STATUS_DRAWING.into(),
        Phase::Known(JobState::Succeeded) => strings::done(seconds(job.timings.unwrap_or_default())),
        Phase::Known(JobState::Canceled) => strings::STATUS_CANCELED.into(),
        Phase::Known(JobState::Superseded) => strings::STATUS_SUPERSEDED.into(),
        Phase::Known(JobState::Failed) => match &job.error {
            Some(error) if error.code == ErrorCode::JobNotFound => strings::STATUS_LOST.into(),
            Some(error) => strings::failed(&error.message),
            None => strings::failed(""),
        },
    }
}

/// What the engine worked on the picture; waiting in the queue is not drawing.
fn seconds(timings: Timings) -> f64 {
    (timings.load_ms + timings.encode_ms + timings.denoise_ms + timings.decode_ms) / 1000.0
}
