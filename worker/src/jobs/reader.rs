//! One viewer's place in a job.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sd_protocol::{Event, EventFrame, PreviewMode, PreviewOptions};
use tokio::sync::watch;

use super::cell::{JobCell, LatentSnapshot};

/// Something a viewer has not seen yet.
#[derive(Clone, Debug)]
pub enum News {
    /// An event; the terminal one is the last news of all.
    Event(EventFrame),
    /// The newest clean latents.
    Latents {
        /// The numbers.
        snapshot: Arc<LatentSnapshot>,
        /// Previews that this viewer asked for and was too slow for, since the one before.
        missed: u32,
    },
}

/// A viewer of one job: remembers what it has seen, so that a slow one misses frames and never events.
#[derive(Debug)]
pub struct JobReader {
    cell: Arc<JobCell>,
    changed: watch::Receiver<()>,
    preview: PreviewOptions,
    after: u64,
    ephemeral_seen: u64,
    step_seen: u32,
    ended: bool,
}

impl JobReader {
    pub(super) fn new(cell: Arc<JobCell>, after: u64, preview: PreviewOptions) -> Self {
        if preview.mode != PreviewMode::None {
            cell.preview_readers().fetch_add(1, Ordering::Relaxed);
        }
        let changed = cell.subscribe();
        Self { cell, changed, preview, after, ephemeral_seen: 0, step_seen: 0, ended: false }
    }

    /// The job.
    pub fn cell(&self) -> &Arc<JobCell> {
        &self.cell
    }

    /// What previews this viewer wants.
    pub fn preview(&self) -> PreviewOptions {
        self.preview
    }

    /// Whether the terminal event was handed out: nothing follows.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// A stream of "look again" signals that starts with one.
    pub fn changes(&self) -> tokio_stream::wrappers::WatchStream<()> {
        tokio_stream::wrappers::WatchStream::new(self.changed.clone())
    }

    /// Everything since the last call: durable events in order, the newest progress and the newest latents
    /// before the pictures and the end.
    pub fn drain(&mut self) -> Vec<News> {
        if self.ended {
            return Vec::new();
        }
        let snapshot = self.cell.snapshot(self.after);
        self.ended = snapshot.is_terminal;
        if self.ended && self.after == snapshot.last_seq {
            return Vec::new();
        }
        let mut news = Vec::new();
        if self.after > snapshot.last_seq {
            // The reader knows of events that this log does not have: it speaks of another life of the job.
            let view = Box::new(self.cell.view());
            news.push(News::Event(EventFrame { job: self.cell.id().clone(), seq: None, event: Event::Reset { view } }));
        }
        self.after = snapshot.last_seq;
        let is_result = |frame: &EventFrame| matches!(frame.event, Event::Image { .. }) || frame.event.is_terminal();
        let results_at = snapshot.durable.iter().position(is_result).unwrap_or(snapshot.durable.len());
        let mut durable = snapshot.durable.into_iter();
        news.extend(durable.by_ref().take(results_at).map(News::Event));
        if snapshot.ephemeral_version > self.ephemeral_seen {
            self.ephemeral_seen = snapshot.ephemeral_version;
            let job = self.cell.id().clone();
            news.extend(snapshot.ephemeral.map(|event| News::Event(EventFrame { job, seq: None, event })));
        }
        if let Some(snapshot) = snapshot.latents.filter(|latents| self.wants(latents)) {
            let wanted = snapshot.step.div_ceil(self.preview.every) - self.step_seen / self.preview.every;
            self.step_seen = snapshot.step;
            news.push(News::Latents { snapshot, missed: wanted.saturating_sub(1) });
        }
        news.extend(durable.map(News::Event));
        news
    }

    fn wants(&self, latents: &LatentSnapshot) -> bool {
        self.preview.mode != PreviewMode::None
            && latents.step > self.step_seen
            && (latents.step == latents.steps || latents.step.is_multiple_of(self.preview.every))
    }
}

impl Drop for JobReader {
    fn drop(&mut self) {
        if self.preview.mode != PreviewMode::None {
            self.cell.preview_readers().fetch_sub(1, Ordering::Relaxed);
        }
    }
}
