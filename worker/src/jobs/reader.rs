//! One viewer's place in a job.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sd_protocol::{Event, EventFrame, PreviewMode, PreviewOptions};
use tokio::sync::watch;

use super::cell::{JobCell, LatentSnapshot, Snapshot};
use super::pictures::{PictureKind, PreviewPictures};

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
    /// The newest pictures of them.
    Pictures {
        /// The pictures, which all viewers of their kind share.
        pictures: Arc<PreviewPictures>,
        /// As of latents; also those that were never made, because making them takes longer than a step.
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
    /// Step of the last preview that was handed out.
    step_seen: Option<u32>,
    /// The newest preview is news even if one of the same step was seen in another mode.
    is_mode_new: bool,
    /// An image was handed out, or the end.
    has_results: bool,
    ended: bool,
}

impl JobReader {
    pub(super) fn new(cell: Arc<JobCell>, after: u64, preview: PreviewOptions) -> Self {
        if preview.mode != PreviewMode::None {
            cell.preview_readers().fetch_add(1, Ordering::Relaxed);
        }
        let changed = cell.subscribe();
        Self {
            cell,
            changed,
            preview,
            after,
            ephemeral_seen: 0,
            step_seen: None,
            is_mode_new: false,
            has_results: false,
            ended: false,
        }
    }

    /// The job.
    pub fn cell(&self) -> &Arc<JobCell> {
        &self.cell
    }

    /// What previews this viewer wants.
    pub fn preview(&self) -> PreviewOptions {
        self.preview
    }

    /// Changes what previews it wants. In another mode the newest preview comes again.
    pub fn set_preview(&mut self, preview: PreviewOptions) {
        let before = std::mem::replace(&mut self.preview, preview);
        let readers = self.cell.preview_readers();
        if preview.mode != PreviewMode::None {
            readers.fetch_add(1, Ordering::Relaxed);
        }
        if before.mode != PreviewMode::None {
            readers.fetch_sub(1, Ordering::Relaxed);
        }
        self.is_mode_new |= before.mode != preview.mode;
    }

    /// Whether the terminal event was handed out: nothing follows.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// A stream of "look again" signals that starts with one.
    pub fn changes(&self) -> tokio_stream::wrappers::WatchStream<()> {
        tokio_stream::wrappers::WatchStream::new(self.changed.clone())
    }

    /// Everything since the last call: durable events in order, the newest progress and the newest preview before the
    /// images and the end.
    pub fn drain(&mut self) -> Vec<News> {
        if self.ended {
            return Vec::new();
        }
        let mut snapshot = self.cell.snapshot(self.after);
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
        let durable = std::mem::take(&mut snapshot.durable);
        let results_at = durable.iter().position(is_result).unwrap_or(durable.len());
        let comes_late = self.has_results;
        self.has_results |= results_at < durable.len();
        let mut durable = durable.into_iter();
        news.extend(durable.by_ref().take(results_at).map(News::Event));
        if snapshot.ephemeral_version > self.ephemeral_seen {
            self.ephemeral_seen = snapshot.ephemeral_version;
            let job = self.cell.id().clone();
            news.extend(snapshot.ephemeral.take().map(|event| News::Event(EventFrame { job, seq: None, event })));
        }
        // A picture that was not ready before the images has nothing to show any more.
        if !(comes_late && PictureKind::of(self.preview.mode).is_some()) {
            news.extend(self.preview_of(snapshot));
        }
        news.extend(durable.map(News::Event));
        news
    }

    /// The newest preview, where this viewer wants it; pictures that are not there yet are asked for.
    fn preview_of(&mut self, snapshot: Snapshot) -> Option<News> {
        let latents = snapshot.latents?;
        let Some(kind) = PictureKind::of(self.preview.mode) else {
            let is_news = self.preview.mode == PreviewMode::Latent && self.wants(latents.step, latents.steps);
            return is_news.then(|| News::Latents { missed: self.seen(latents.step), snapshot: latents });
        };
        let is_made = snapshot.pictures[kind as usize].as_ref().is_some_and(|made| made.step == latents.step);
        if !snapshot.is_terminal && !is_made && self.wants(latents.step, latents.steps) {
            self.cell.ask_for_pictures(kind, snapshot.latents_version);
        }
        let [rgb, jpeg] = snapshot.pictures;
        let pictures = if kind == PictureKind::Rgb { rgb } else { jpeg };
        let pictures = pictures.filter(|pictures| self.wants(pictures.step, latents.steps))?;
        Some(News::Pictures { missed: self.seen(pictures.step), pictures })
    }

    fn wants(&self, step: u32, steps: u32) -> bool {
        let is_new = self.step_seen.is_none_or(|seen| if self.is_mode_new { step >= seen } else { step > seen });
        // A glimpse of the first step is for those who want every step.
        let is_due = if step == 0 { self.preview.every == 1 } else { step.is_multiple_of(self.preview.every) };
        is_new && (is_due || step == steps)
    }

    /// Notes that the preview of `step` is handed out, and returns how many were missed before it.
    fn seen(&mut self, step: u32) -> u32 {
        let wanted = step.div_ceil(self.preview.every) - self.step_seen.unwrap_or(0) / self.preview.every;
        self.step_seen = Some(step);
        self.is_mode_new = false;
        wanted.saturating_sub(1)
    }
}

impl Drop for JobReader {
    fn drop(&mut self) {
        if self.preview.mode != PreviewMode::None {
            self.cell.preview_readers().fetch_sub(1, Ordering::Relaxed);
        }
    }
}
