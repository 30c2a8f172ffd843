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
    /// Looked for by its name; the worker has not answered yet.
    Attaching,
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
    /// When the worker accepted it, in milliseconds since the Unix epoch; 0 before that.
    pub created_at_ms: u64,
    /// Whether somebody wants to find it again.
    pub favorite: bool,
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
    /// Whether its previews were asked for.
    pub(super) has_previews: bool,
    /// Whether it should be ended.
    pub(super) is_unwanted: bool,
}

impl Job {
    pub(super) fn new(id: JobId, request: JobRequest, phase: Phase) -> Self {
        Self {
            id,
            request,
            phase,
            created_at_ms: 0,
            favorite: false,
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
            has_previews: matches!(phase, Phase::Submitting { .. } | Phase::Attaching),
            is_unwanted: false,
        }
    }

    /// A job that the worker tells of.
    pub(super) fn of_view(view: JobView) -> Self {
        let mut job = Self::new(view.id.clone(), JobRequest::default(), Phase::Known(view.state));
        job.apply_view(view);
        job
    }

    /// Whether its events come over the present connection.
    pub(super) fn is_followed(&self) -> bool {
        self.handle.is_some()
    }

    /// The worker's word on where it stands; `None` before it has spoken.
    pub fn state(&self) -> Option<JobState> {
        match self.phase {
            Phase::Known(state) => Some(state),
            Phase::Submitting { .. } | Phase::Attaching => None,
        }
    }

    /// A finished picture.
    pub fn image(&self, index: u16) -> Option<&ImageView> {
        self.images.iter().find(|image| image.index == u32::from(index))
    }

    /// Where the small copy of a finished picture lies, or else the picture.
    pub fn thumbnail(&self, index: u16) -> Option<String> {
        self.image(index).map(|image| image.thumbnail_url.clone().unwrap_or_else(|| image.url.clone()))
    }

    /// Whether nothing will happen to it any more.
    pub fn ended(&self) -> bool {
        match self.phase {
            Phase::Known(state) => state.is_terminal(),
            Phase::Submitting { .. } | Phase::Attaching => false,
        }
    }

    /// Takes over the worker's account, unless it is older than what events have told since.
    pub(super) fn apply_view(&mut self, view: JobView) {
        if view.last_seq < self.last_seq {
            return;
        }
        self.phase = Phase::Known(view.state);
        self.created_at_ms = view.created_at_ms;
        self.favorite = view.favorite;
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
                let at = self.images.partition_point(|known| known.index < image.index);
                self.images.insert(at, image);
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
