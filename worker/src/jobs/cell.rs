//! One job: its view, its numbered log, and the newest of everything that is not worth keeping.

mod change;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sd_protocol::{Event, EventFrame, JobId, JobState, JobView};
use tokio::sync::watch;

use super::pictures::{Ask, PictureKind, PictureQueue, PreviewPictures};
use super::reader::JobReader;
use super::store::{Store, StoredJob};
use super::{now_ms, shutting_down};
use crate::diffusion::CancelToken;
use crate::metrics::Metrics;

pub use self::change::ChangeError;

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

impl LatentSnapshot {
    /// The latent of each image: `[height, width, channels]`.
    pub fn images(&self) -> impl Iterator<Item = &[f32]> {
        self.latents.chunks_exact(self.latents.len() / self.batch_size as usize)
    }
}

/// Why a job is to end before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Someone canceled it.
    Cancel,
    /// A newer job of its lane takes its place.
    Supersede {
        /// The newer job.
        by: JobId,
    },
    /// The worker stops. A durable job waits for the next worker, an ephemeral one fails.
    Shutdown,
}

/// A job, shared between whoever computes it, follows it or asks about it.
#[derive(Debug)]
pub struct JobCell {
    id: JobId,
    owner: Option<Arc<str>>,
    /// Follows the job across threads.
    span: tracing::Span,
    cancel: CancelToken,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    picture_queue: Arc<PictureQueue>,
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
    /// Events of the log that are stored; fewer than all only after the store failed.
    stored: usize,
    wish: Option<(Wish, Instant)>,
    /// Counts changes of the ephemeral event, so that a reader knows whether it has seen the newest.
    ephemeral_version: u64,
    ephemeral: Option<Event>,
    /// Counts snapshots, as a job that is drawn anew counts its steps anew.
    latents_version: u64,
    latents: Option<Arc<LatentSnapshot>>,
    /// By [`PictureKind`].
    pictures: [PicturesState; PictureKind::COUNT],
}

#[derive(Debug, Default)]
struct PicturesState {
    /// The newest snapshot that somebody wanted as pictures.
    asked_version: u64,
    newest: Option<Arc<PreviewPictures>>,
}

/// What a reader finds when it looks.
pub(super) struct Snapshot {
    pub(super) durable: Vec<EventFrame>,
    pub(super) last_seq: u64,
    pub(super) is_terminal: bool,
    pub(super) ephemeral_version: u64,
    pub(super) ephemeral: Option<Event>,
    pub(super) latents_version: u64,
    pub(super) latents: Option<Arc<LatentSnapshot>>,
    pub(super) pictures: [Option<Arc<PreviewPictures>>; PictureKind::COUNT],
}

impl JobCell {
    /// A job as it is stored.
    pub(super) fn new(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        picture_queue: Arc<PictureQueue>,
        job: StoredJob,
    ) -> Self {
        let StoredJob { owner, view, log } = job;
        Self {
            id: view.id.clone(),
            span: tracing::debug_span!("job", id = %view.id, owner = owner.as_deref()),
            owner,
            cancel: CancelToken::default(),
            store,
            metrics,
            picture_queue,
            writing: Mutex::new(()),
            state: Mutex::new(CellState {
                view,
                stored: log.len(),
                log,
                wish: None,
                ephemeral_version: 0,
                ephemeral: None,
                latents_version: 0,
                latents: None,
                pictures: Default::default(),
            }),
            changed: watch::Sender::new(()),
            preview_readers: AtomicUsize::new(0),
        }
    }

    /// Name of the job.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Name of the credential that asked for it.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The span that follows the job across threads.
    pub fn span(&self) -> &tracing::Span {
        &self.span
    }

    /// What is counted about jobs.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The wish to stop; read by the computation.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Asks whoever has the job to end it, and says why. The first wish counts, but a worker that stops waits for
    /// nobody's and yields to everybody's.
    pub fn ask_to_end(&self, wish: Wish) {
        {
            let mut state = self.state();
            if !matches!(state.wish, None | Some((Wish::Shutdown, _))) {
                return;
            }
            state.wish = Some((wish, Instant::now()));
        }
        self.cancel.cancel();
    }

    /// Ends the job as was [asked](Self::ask_to_end); called by whoever has it. Blocks on the disk.
    pub fn end_as_asked(&self) {
        let wish = self.state().wish.clone();
        let Some((wish, asked_at)) = wish else { return };
        // Counted before it is told, so that whoever hears of the end finds it counted.
        let counted = |_: &mut JobView| self.metrics.canceled(asked_at.elapsed());
        match wish {
            Wish::Cancel => self.append_with(Event::Canceled, counted),
            Wish::Supersede { by } => self.append_with(Event::Superseded { by }, counted),
            Wish::Shutdown if self.store.is_durable() => self.view().state == JobState::Running && self.requeue(),
            Wish::Shutdown => self.append_with(Event::Failed { error: shutting_down() }, counted),
        };
    }

    /// Sets a job that was begun back to waiting: it will be drawn anew from its first step. Blocks on the disk.
    pub fn requeue(&self) -> bool {
        self.append_with(Event::Queued { position: 0 }, |view| {
            view.state = JobState::Queued;
            view.step = 0;
            view.started_at_ms = None;
        })
    }

    /// Times that the job was begun.
    pub fn starts(&self) -> usize {
        self.state().log.iter().filter(|frame| matches!(frame.event, Event::Started { .. })).count()
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
        let (view, frames) = {
            let state = self.state();
            if state.view.state.is_terminal() {
                return false;
            }
            let mut view = state.view.clone();
            view.last_seq += 1;
            change(&mut view);
            apply(&mut view, &event);
            let frame = EventFrame { job: self.id.clone(), seq: Some(view.last_seq), event };
            // What could not be stored before is stored with the next event, so that the log has no gap.
            let frames: Vec<_> = state.log[state.stored..].iter().cloned().chain([frame]).collect();
            (view, frames)
        };
        let saved = self.store.save(&view, &frames);
        if let Err(error) = &saved {
            tracing::error!(job = %self.id, error = error as &dyn std::error::Error, "an event could not be stored");
        }
        let ended = view.state.is_terminal().then_some(view.state);
        {
            let mut state = self.state();
            // A position in the queue is history once the job started, and so is progress once there is a picture.
            state.ephemeral = None;
            // The engine may have counted a step while this was being stored.
            let step = state.view.step;
            let step = if view.state == JobState::Queued { 0 } else { step.max(view.step) };
            state.view = JobView { step, ..view };
            state.log.extend(frames.into_iter().last());
            if saved.is_ok() {
                state.stored = state.log.len();
            }
        }
        if let Some(outcome) = ended {
            self.metrics.job_ended(outcome.as_str());
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

    /// Publishes a new place in the queue; one that did not change is no news.
    pub fn move_to(&self, position: u32) {
        if self.state().view.queue_position != Some(position) {
            self.update(Event::Queued { position });
        }
    }

    /// Publishes the newest clean latents.
    pub fn update_latents(&self, snapshot: LatentSnapshot) {
        {
            let mut state = self.state();
            state.latents_version += 1;
            state.latents = Some(Arc::new(snapshot));
        }
        self.changed.send_replace(());
    }

    /// Has pictures made of the newest latents, if they still are those that a reader saw. Asked for once, whoever
    /// wants them.
    pub(super) fn ask_for_pictures(self: &Arc<Self>, kind: PictureKind, version: u64) {
        let mut state = self.state();
        let Some(snapshot) = state.latents.clone().filter(|_| state.latents_version == version) else { return };
        let asked_before = std::mem::replace(&mut state.pictures[kind as usize].asked_version, version);
        if asked_before == version {
            return;
        }
        self.picture_queue.ask(Ask { job: Arc::downgrade(self), kind, snapshot });
    }

    /// Publishes what was asked for.
    pub fn update_pictures(&self, kind: PictureKind, pictures: PreviewPictures) {
        self.state().pictures[kind as usize].newest = Some(Arc::new(pictures));
        self.changed.send_replace(());
    }

    /// Whether anyone wants previews; if not, latents need not leave the device.
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
            latents_version: state.latents_version,
            latents: state.latents.clone(),
            pictures: state.pictures.each_ref().map(|pictures| pictures.newest.clone()),
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
        Event::Superseded { .. } => end(JobState::Superseded),
        Event::ModelLoading { .. } | Event::Reset { .. } => {}
    }
}
