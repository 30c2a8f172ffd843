//! One job: its view, its numbered log, and the newest of everything that is not worth keeping.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_protocol::{Event, EventFrame, JobId, JobState, JobView};
use tokio::sync::watch;

use super::now_ms;
use super::reader::JobReader;
use super::store::Store;
use crate::diffusion::CancelToken;

/// The clean latents of all images of a batch after one step: `[batch, height, width, channels]` f32.
#[derive(Debug)]
pub struct LatentSnapshot {
    /// Steps done.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// Images.
    pub batch_size: u32,
    /// Latent cells in a row.
    pub width: u32,
    /// Rows of latent cells.
    pub height: u32,
    /// The numbers.
    pub latents: Vec<f32>,
}

/// A job, shared between whoever computes it, follows it or asks about it.
#[derive(Debug)]
pub struct JobCell {
    id: JobId,
    cancel: CancelToken,
    store: Arc<Store>,
    /// Serialises "store, then publish", so that sequence numbers have no gap and no reader sees what is not stored.
    writing: Mutex<()>,
    state: Mutex<CellState>,
    changed: watch::Sender<()>,
    preview_readers: AtomicUsize,
}

#[derive(Debug)]
struct CellState {
    view: JobView,
    log: Vec<EventFrame>,
    /// Counts changes of the ephemeral event, so that a reader knows whether it has seen the newest.
    ephemeral_version: u64,
    ephemeral: Option<Event>,
    latents: Option<Arc<LatentSnapshot>>,
}

/// What a reader finds when it looks.
pub(super) struct Snapshot {
    pub(super) durable: Vec<EventFrame>,
    pub(super) last_seq: u64,
    pub(super) is_terminal: bool,
    pub(super) ephemeral_version: u64,
    pub(super) ephemeral: Option<Event>,
    pub(super) latents: Option<Arc<LatentSnapshot>>,
}

impl JobCell {
    /// A job with the durable events that it has so far.
    pub fn new(store: Arc<Store>, view: JobView, log: Vec<EventFrame>) -> Self {
        Self {
            id: view.id.clone(),
            cancel: CancelToken::default(),
            store,
            writing: Mutex::new(()),
            state: Mutex::new(CellState { view, log, ephemeral_version: 0, ephemeral: None, latents: None }),
            changed: watch::Sender::new(()),
            preview_readers: AtomicUsize::new(0),
        }
    }

    /// Name of the job.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// The wish to stop; read by the computation.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// How the job stands now.
    pub fn view(&self) -> JobView {
        self.state().view.clone()
    }

    /// Whether the job has ended.
    pub fn is_terminal(&self) -> bool {
        self.state().view.state.is_terminal()
    }

    /// Stores a durable event and publishes it; `false` when the job has ended already and nothing happens.
    ///
    /// What cannot be stored is published all the same, so that nobody waits for ever; the log has the reason.
    pub fn append(&self, event: Event) -> bool {
        self.append_with(event, |_| {})
    }

    /// As [`append`](Self::append), with a further change of the view in the same breath.
    pub fn append_with(&self, event: Event, change: impl FnOnce(&mut JobView)) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (view, frame) = {
            let state = self.state();
            if state.view.state.is_terminal() {
                return false;
            }
            let mut view = state.view.clone();
            view.last_seq += 1;
            change(&mut view);
            apply(&mut view, &event);
            let frame = EventFrame { job: self.id.clone(), seq: Some(view.last_seq), event };
            (view, frame)
        };
        if let Err(error) = self.store.save_event(&view, &frame) {
            tracing::error!(job = %self.id, error = &error as &dyn std::error::Error, "an event could not be stored");
        }
        {
            let mut state = self.state();
            // A position in the queue is history once the job started, and so is progress once there is a picture.
            state.ephemeral = None;
            // The engine may have counted a step while this was being stored.
            let step = state.view.step;
            state.view = JobView { step: step.max(view.step), ..view };
            state.log.push(frame);
        }
        self.changed.send_replace(());
        true
    }

    /// Publishes what is only worth its newest value: `progress`, or a moved `queued` position.
    pub fn update(&self, event: Event) {
        {
            let mut state = self.state();
            if state.view.state.is_terminal() {
                return;
            }
            apply(&mut state.view, &event);
            state.ephemeral_version += 1;
            state.ephemeral = Some(event);
        }
        self.changed.send_replace(());
    }

    /// Publishes the newest clean latents.
    pub fn update_latents(&self, snapshot: LatentSnapshot) {
        self.state().latents = Some(Arc::new(snapshot));
        self.changed.send_replace(());
    }

    /// Whether anyone wants latents; if not, they need not leave the device.
    pub fn has_preview_readers(&self) -> bool {
        self.preview_readers.load(Ordering::Relaxed) > 0
    }

    /// Follows the job from `after` on.
    pub fn read(self: &Arc<Self>, after: u64, preview: sd_protocol::PreviewOptions) -> JobReader {
        JobReader::new(Arc::clone(self), after, preview)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn preview_readers(&self) -> &AtomicUsize {
        &self.preview_readers
    }

    pub(super) fn snapshot(&self, after: u64) -> Snapshot {
        let state = self.state();
        Snapshot {
            durable: state.log.iter().filter(|frame| frame.seq > Some(after)).cloned().collect(),
            last_seq: state.view.last_seq,
            is_terminal: state.view.state.is_terminal(),
            ephemeral_version: state.ephemeral_version,
            ephemeral: state.ephemeral.clone(),
            latents: state.latents.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, CellState> {
        // Every change under this lock is complete at each point where it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transition table of a job: what an event means for its view.
fn apply(view: &mut JobView, event: &Event) {
    let mut end = |state| {
        view.state = state;
        view.queue_position = None;
        view.finished_at_ms = Some(now_ms());
    };
    match event {
        Event::Queued { position } => {
            if view.state == JobState::Queued {
                view.queue_position = Some(*position);
            }
        }
        Event::Started { steps } => {
            view.state = JobState::Running;
            view.queue_position = None;
            view.started_at_ms = Some(now_ms());
            view.steps = *steps;
        }
        Event::Progress { step, steps, .. } => (view.step, view.steps) = (*step, *steps),
        Event::Image { image } => view.images.push(image.clone()),
        Event::Succeeded { timings } => {
            end(JobState::Succeeded);
            view.timings = Some(*timings);
        }
        Event::Failed { error } => {
            end(JobState::Failed);
            view.error = Some(error.clone());
        }
        Event::Canceled => end(JobState::Canceled),
        Event::ModelLoading { .. } | Event::Reset { .. } => {}
    }
}
