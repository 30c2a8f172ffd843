//! Makes pictures of previews, for viewers that want them: off the engine thread, and once for all who look.
//!
//! A decoder on the CPU may take longer than a step of a GPU. It never holds a job up: while one snapshot is painted,
//! only the newest of those that follow waits. It may use a part of the CPU's cores, so that a job that is drawn there
//! keeps the others.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use rayon::ThreadPool;
use sd_protocol::PictureFormat;

use crate::diffusion::nn::taesd::TinyDecoder;
use crate::diffusion::preview::CleanLatent;
use crate::diffusion::{CancelToken, GenerateError, Picture};
use crate::jobs::{Ask, LatentSnapshot, PictureKind, PictureQueue, PreviewPictures, Taken};
use crate::models::CatalogueModel;
use crate::outlet;
use crate::outputs::{self, EncodeError};

/// Time after the last ask in which decoders and their threads stay.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Decoders run on one of so many cores.
const CORES_PER_THREAD: usize = 4;

/// Why a preview has no picture.
#[derive(Debug, thiserror::Error)]
enum PaintError {
    #[error("the preview decoder could not be loaded")]
    Load(#[source] candle_core::Error),
    #[error("the preview decoder has no threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("the preview could not be decoded")]
    Decode(#[from] GenerateError),
    #[error("the preview could not be encoded")]
    Encode(#[from] EncodeError),
}

/// Starts the thread, which makes pictures for jobs of these models; it ends when the queue is closed.
///
/// # Errors
/// When the system starts no thread.
pub fn start(models: Vec<CatalogueModel>, queue: Arc<PictureQueue>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("previews".into());
    thread.spawn(move || Painter { models, decoders: None }.run(&queue))?;
    Ok(())
}

struct Painter {
    models: Vec<CatalogueModel>,
    /// Nothing while nobody asks for what they make.
    decoders: Option<Decoders>,
}

struct Decoders {
    /// By the names of their models.
    networks: HashMap<String, TinyDecoder>,
    threads: ThreadPool,
}

impl Painter {
    fn run(mut self, queue: &PictureQueue) {
        loop {
            // Where there is nothing to let go of, an ask is waited for without end.
            let ask = match queue.take(if self.decoders.is_some() { IDLE_TIME } else { Duration::MAX }) {
                Taken::Ask(ask) => ask,
                Taken::Idle => {
                    self.decoders = None;
                    continue;
                }
                Taken::Closed => return,
            };
            // A panic costs a preview and the decoders, which are loaded anew.
            if catch_unwind(AssertUnwindSafe(|| self.serve(&ask))).is_err() {
                tracing::error!("a preview panicked");
                self.decoders = None;
            }
        }
    }

    fn serve(&mut self, ask: &Ask) {
        let Ask { job, kind, snapshot } = ask;
        let (model, cancel, span) = {
            // Held for a moment only: whoever holds a job holds its store.
            let Some(cell) = job.upgrade().filter(|cell| cell.has_preview_readers()) else { return };
            (cell.view().request.model, cell.cancel_token().clone(), cell.span().clone())
        };
        let _entered = span.enter();
        match self.paint(model.as_deref(), *kind, snapshot, &cancel) {
            Ok(Some(pictures)) => {
                if let Some(cell) = job.upgrade() {
                    cell.update_pictures(*kind, pictures);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a preview has no picture"),
        }
    }

    /// The pictures of a snapshot; nothing where the job was canceled.
    fn paint(
        &mut self,
        model: Option<&str>,
        kind: PictureKind,
        snapshot: &LatentSnapshot,
        cancel: &CancelToken,
    ) -> Result<Option<PreviewPictures>, PaintError> {
        let model = self.models.iter().find(|known| Some(known.name.as_str()) == model).unwrap_or(&self.models[0]);
        let has_decoder = kind == PictureKind::Jpeg && model.preview_decoder.is_some();
        let decoders = has_decoder.then(|| Decoders::with(&mut self.decoders, model)).transpose()?;
        let format = match kind {
            PictureKind::Rgb => PictureFormat::Png,
            PictureKind::Jpeg => PictureFormat::Jpeg,
        };
        let mut frames = Vec::with_capacity(snapshot.batch_size as usize);
        for (index, values) in (0..).zip(snapshot.images()) {
            let latent = CleanLatent { width: snapshot.width, height: snapshot.height, values };
            let picture = match &decoders {
                Some(decoders) => decoders.picture(&model.name, latent, cancel)?,
                None => Some(latent.linear(&model.info.preview_rows, model.info.preview_bias)),
            };
            let Some(picture) = picture else { return Ok(None) };
            let file = outputs::encode_preview(&picture, format)?;
            frames.push(outlet::picture(snapshot, index, (picture.width, picture.height), format, file));
        }
        Ok(Some(PreviewPictures { step: snapshot.step, frames }))
    }
}

impl Decoders {
    /// Those in `held`, of which one is the model's.
    fn with<'a>(held: &'a mut Option<Self>, model: &CatalogueModel) -> Result<&'a Self, PaintError> {
        let decoders = match held.take() {
            Some(decoders) => decoders,
            None => Self { networks: HashMap::new(), threads: threads()? },
        };
        let decoders = held.insert(decoders);
        if let Some(decoder) = model.preview_decoder.as_ref().filter(|_| !decoders.networks.contains_key(&model.name)) {
            decoders.networks.insert(model.name.clone(), decoder.network().map_err(PaintError::Load)?);
        }
        Ok(decoders)
    }

    fn picture(
        &self,
        model: &str,
        latent: CleanLatent<'_>,
        cancel: &CancelToken,
    ) -> Result<Option<Picture>, GenerateError> {
        self.threads.install(|| latent.decoded(&self.networks[model], cancel))
    }
}

/// The threads that a decoder's matrix products run on.
fn threads() -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
    let cores = available_parallelism().map_or(1, usize::from);
    let threads = (cores / CORES_PER_THREAD).max(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|at| format!("previews-{at}")).build()
}
