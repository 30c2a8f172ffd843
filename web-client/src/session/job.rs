//! One job as this client knows it.

use sd_protocol::{
    ErrorBody, Event, EventFrame, ImageView, JobId, JobRequest, JobState, JobView, PreviewBasis, Timings,
};

/// How much of a job is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Sent, or waiting to be sent, under this tag; the worker has not answered yet.
    Submitting {
        /// The `tag` of the submit.
        tag: u32,
    },
    /// Remembered from an earlier visit; the worker has not confirmed it yet.
    Remembered {
        /// Whether it had ended when it was last seen.
        ended: bool,
    },
    /// The worker's word.
    Known(JobState),
}

/// The newest progress of a running job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Denoising steps done.
    pub step: u32,
    /// Denoising steps in all; 0 while unknown.
    pub steps: u32,
    /// Estimated time until the pictures, in milliseconds.
    pub eta_ms: Option<u64>,
}

/// One job as this client knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name, chosen by the client that submitted it.
    pub id: JobId,
    /// What was asked for; with every default filled in once the worker has answered.
    pub request: JobRequest,
    /// How much is known.
    pub phase: Phase,
    /// Jobs that the engine takes before this one, while it is queued.
    pub queue_position: u32,
    /// How much of its model has been fetched, in percent, while that is under way.
    pub loading_percent: Option<u64>,
    /// Where the engine stands with it.
    pub progress: Progress,
    /// Finished pictures, in the order of the batch.
    pub images: Vec<ImageView>,
    /// Where the time went, once it succeeded.
    pub timings: Option<Timings>,
    /// What the worker understood differently.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<ErrorBody>,
    /// How its preview latents become pictures.
    pub basis: Option<PreviewBasis>,
    /// Number of the last durable event that was seen.
    pub last_seq: u64,
    /// What stands for it in binary frames of the present connection.
    pub(super) handle: Option<u32>,
}

impl Job {
    pub(super) fn new(id: JobId, request: JobRequest, phase: Phase) -> Self {
        Self {
            id,
            request,
            phase,
            queue_position: 0,
            loading_percent: None,
            progress: Progress::default(),
            images: Vec::new(),
            timings: None,
            warnings: Vec::new(),
            error: None,
            basis: None,
            last_seq: 0,
            handle: None,
        }
    }

    /// The worker's word on where it stands; `None` before it has spoken.
    pub fn state(&self) -> Option<JobState> {
        match self.phase {
            Phase::Known(state) => Some(state),
            Phase::Submitting { .. } | Phase::Remembered { .. } => None,
        }
    }

    /// Whether nothing will happen to it any more.
    pub fn ended(&self) -> bool {
        match self.phase {
            Phase::Known(state) => state.is_terminal(),
            Phase::Remembered { ended } => ended,
            Phase::Submitting { .. } => false,
        }
    }

    pub(super) fn awaits_attach(&self) -> bool {
        match self.phase {
            Phase::Known(state) => !state.is_terminal(),
            Phase::Remembered { .. } => true,
            Phase::Submitting { .. } => false,
        }
    }

    /// Takes over the worker's account, unless it is older than what events have told since.
    pub(super) fn apply_view(&mut self, view: JobView) {
        if view.last_seq < self.last_seq {
            return;
        }
        self.phase = Phase::Known(view.state);
        self.request = view.request;
        self.queue_position = view.queue_position.unwrap_or(0);
        let eta_ms = self.progress.eta_ms.filter(|_| self.progress.step == view.step);
        self.progress = Progress { step: view.step, steps: view.steps, eta_ms };
        self.images = view.images;
        self.timings = view.timings;
        self.warnings = view.warnings;
        self.error = view.error;
        self.last_seq = view.last_seq;
    }

    /// Takes in an event; a durable one that was seen before, or anything after the end, changes nothing.
    pub(super) fn apply(&mut self, frame: EventFrame) {
        if frame.seq.is_some_and(|seq| seq <= self.last_seq) {
            return;
        }
        if let Event::Reset { view } = frame.event {
            return self.apply_view(*view);
        }
        if self.state().is_some_and(JobState::is_terminal) {
            return;
        }
        self.last_seq = frame.seq.unwrap_or(self.last_seq);
        match frame.event {
            Event::Queued { position } => {
                self.phase = Phase::Known(JobState::Queued);
                self.queue_position = position;
            }
            Event::ModelLoading { done_bytes, total_bytes, .. } => {
                self.loading_percent = done_bytes.saturating_mul(100).checked_div(total_bytes);
            }
            Event::Started { steps } => {
                self.loading_percent = None;
                self.phase = Phase::Known(JobState::Running);
                self.progress = Progress { step: 0, steps, eta_ms: None };
            }
            Event::Progress { step, steps, eta_ms, .. } => {
                self.progress = Progress { step, steps, eta_ms: Some(eta_ms) };
            }
            Event::Image { image } => {
                self.images.retain(|known| known.index != image.index);
                self.images.push(image);
                self.images.sort_by_key(|image| image.index);
            }
            Event::Succeeded { timings } => {
                self.phase = Phase::Known(JobState::Succeeded);
                self.timings = Some(timings);
            }
            Event::Failed { error } => self.fail(error),
            Event::Canceled => self.phase = Phase::Known(JobState::Canceled),
            Event::Superseded { .. } => self.phase = Phase::Known(JobState::Superseded),
            Event::Reset { .. } => {}
        }
    }

    pub(super) fn fail(&mut self, error: ErrorBody) {
        self.phase = Phase::Known(JobState::Failed);
        self.error = Some(error);
    }
}
