//! The engine threads, one for each device: the owners of models and tensors.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Instant;

use sd_protocol::{ErrorBody, ErrorCode};
use tokio::sync::watch;

use super::finisher::{self, Drawn};
use super::painter;
use super::queue::{Job, JobQueue};
use super::reporter::JobReporter;
use super::status::{EngineStatus, Statuses};
use crate::allocator;
use crate::diffusion::inpaint::InpaintPlan;
use crate::diffusion::placement::is_out_of_memory;
use crate::diffusion::{Finished, GenerateError, GenerationSpec, Observer, Outcome, Pipeline, Start, StepView};
use crate::jobs::{PictureQueue, Registry};
use crate::models::{ByteSize, LoadError, LoadProgress, LoadedModels, ModelLoader};

/// The running threads.
#[derive(Debug)]
pub struct Engine {
    status: watch::Receiver<EngineStatus>,
    threads: Vec<JoinHandle<()>>,
    picture_queue: Arc<PictureQueue>,
}

impl Engine {
    /// Starts the threads, one to draw for each of `loaders`, which is never empty; the default model begins to load on
    /// every device. The next job goes to whichever is free first. Models stay loaded as long as `model_memory` of their
    /// device holds them; where nothing is said, as long as a part of its memory does.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        loaders: Vec<Box<dyn ModelLoader>>,
        model_memory: Option<ByteSize>,
        queue: Arc<JobQueue>,
        registry: Arc<Registry>,
    ) -> std::io::Result<Self> {
        let metrics = Arc::clone(registry.metrics());
        let catalogue = loaders[0].catalogue().to_vec();
        let picture_queue = Arc::clone(registry.picture_queue());
        painter::start(catalogue, Arc::clone(&picture_queue))?;
        let (drawn, finisher) = finisher::start(registry)?;
        let (statuses, status) = Statuses::new(loaders.len());
        let mut threads = Vec::with_capacity(loaders.len() + 1);
        for (index, loader) in loaders.into_iter().enumerate() {
            let budget = model_memory.unwrap_or_else(|| ByteSize::default_model_memory(loader.device().memory_bytes));
            let (drawn, statuses, metrics) = (drawn.clone(), Arc::clone(&statuses), Arc::clone(&metrics));
            let queue = Arc::clone(&queue);
            let name = format!("engine {}", loader.device().name);
            threads.push(std::thread::Builder::new().name(name).spawn(move || {
                let models = LoadedModels::new(budget, metrics);
                EngineThread { index, loader, drawn, statuses, models }.run(&queue);
            })?);
        }
        threads.push(finisher);
        Ok(Self { status, threads, picture_queue })
    }

    /// What the engine is up to, now and from now on.
    pub fn status(&self) -> watch::Receiver<EngineStatus> {
        self.status.clone()
    }

    /// Waits for the threads that draw and store; the queue must be closed. What makes previews stops by itself, as
    /// nobody waits for those any more. Blocks.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an engine thread ended in a panic");
            }
        }
        self.picture_queue.close();
    }
}

struct EngineThread {
    index: usize,
    loader: Box<dyn ModelLoader>,
    drawn: SyncSender<Drawn>,
    statuses: Arc<Statuses>,
    models: LoadedModels,
}

impl EngineThread {
    fn run(mut self, queue: &Arc<JobQueue>) {
        let default = self.loader.catalogue()[0].name.clone();
        // A worker that stops does not wait for gigabytes to arrive.
        let mut progress = |_: &LoadProgress| go_on_unless(queue.is_closed());
        let loaded =
            catch_unwind(AssertUnwindSafe(|| self.models.get(&default, self.loader.as_mut(), &mut progress).map(drop)));
        let status = match loaded {
            Ok(Ok(())) => EngineStatus::Ready,
            Ok(Err(error)) => {
                tracing::error!(
                    model = default,
                    error = &error as &dyn std::error::Error,
                    "the default model is out of use"
                );
                EngineStatus::Failed(format!("the model {default} could not be loaded: {}", chain(&error)))
            }
            Err(_) => EngineStatus::Failed(format!("the model {default} could not be loaded: see the worker's log")),
        };
        self.statuses.tell(self.index, status);
        while let Ok((job, _turn)) = queue.take(allocator::KEPT, || self.give_back()) {
            self.work(job);
        }
        self.statuses.tell(self.index, EngineStatus::Stopped);
    }

    /// Memory that is kept between pictures.
    fn give_back(&self) {
        allocator::give_back();
        self.loader.give_back();
    }

    fn work(&mut self, job: Job) {
        let span = job.cell.span().clone();
        let _entered = span.enter();
        let latent_scale = self.latent_scale(&job.model);
        let reporter = JobReporter::new(Arc::clone(&job.cell), &job.spec, latent_scale);
        // The reporter moves inside: a panic drops it, and its drop ends the job.
        if catch_unwind(AssertUnwindSafe(|| self.draw(&job, reporter))).is_err() {
            tracing::error!("a job panicked; its model will be loaded anew");
            self.models.forget(&job.model);
        }
    }

    fn draw(&mut self, job: &Job, mut reporter: JobReporter) {
        match self.compute(job, &mut reporter) {
            Ok(Some(Drawing { finished, plan })) => {
                let timings = reporter.computed(&finished);
                // If the finisher is gone, the returned reporter is dropped and ends the job as failed.
                if self.drawn.send(Drawn { reporter, finished, plan, timings }).is_err() {
                    tracing::error!("the finisher thread is gone; a picture was lost");
                }
            }
            Ok(None) => reporter.halted(),
            Err(error) => {
                if error.code == ErrorCode::OutOfMemory {
                    // Whoever tries again finds as much room as there can be.
                    self.models.keep_only(&job.model);
                }
                reporter.failed(error);
            }
        }
    }

    /// The picture that a job starts from, its model, and the model that goes on where that one stops; nothing where the
    /// job was canceled.
    fn compute(&mut self, job: &Job, reporter: &mut JobReporter) -> Result<Option<Drawing>, ErrorBody> {
        let cancel = job.cell.cancel_token();
        if cancel.is_canceled() {
            return Ok(None);
        }
        let mut spec = job.spec.clone();
        let size = (spec.width, spec.height);
        let (mut warnings, mut plan) = (Vec::new(), None);
        if let Some(picture) = &job.picture {
            let prepared = picture.prepare(size)?;
            spec.start = Start::Image(prepared.start);
            (warnings, plan) = (prepared.warnings, prepared.plan);
        }
        let Some(pipeline) = self.pipeline(&job.model, reporter)? else { return Ok(None) };
        let before = match pipeline.generate(&spec, cancel, reporter).map_err(failed)? {
            Outcome::Finished(finished) => return Ok(Some(Drawing { finished: after(warnings, finished), plan })),
            Outcome::Canceled => return Ok(None),
            Outcome::HandedOver(before) => before,
        };
        warnings.extend(before.warnings);
        let refiner = job.refiner.as_ref().expect("a walk ends early only for a refiner");
        let spec = GenerationSpec {
            start: Start::Latents { latents: before.latents, denoising_start: spec.denoising_end },
            denoising_end: 1.0,
            // They were made for the other model.
            loras: Vec::new(),
            ..spec
        };
        let Some(pipeline) = self.pipeline(refiner, reporter)? else { return Ok(None) };
        match pipeline.generate(&spec, cancel, &mut Continued(reporter)).map_err(failed)? {
            Outcome::Finished(mut finished) => {
                finished.encode_time += before.encode_time;
                finished.denoise_time += before.denoise_time;
                finished.caches += before.caches;
                Ok(Some(Drawing { finished: after(warnings, finished), plan }))
            }
            Outcome::Canceled => Ok(None),
            Outcome::HandedOver(_) => unreachable!("a walk to the end is handed over to nobody"),
        }
    }

    /// The pipeline of a model, loaded where it is not there; nothing where the job was canceled meanwhile.
    fn pipeline(&mut self, name: &str, reporter: &mut JobReporter) -> Result<Option<&mut dyn Pipeline>, ErrorBody> {
        let started = Instant::now();
        let is_loaded = self.models.names().any(|known| known == name);
        let cancel = reporter.cell().cancel_token().clone();
        let mut progress = |so_far: &LoadProgress| {
            reporter.loading(name, so_far);
            go_on_unless(cancel.is_canceled())
        };
        let pipeline = match self.models.get(name, self.loader.as_mut(), &mut progress) {
            Ok(pipeline) => pipeline,
            Err(_) if cancel.is_canceled() => return Ok(None),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a model could not be loaded");
                let code = match error {
                    LoadError::OutOfMemory { .. } => ErrorCode::OutOfMemory,
                    _ => ErrorCode::ModelUnavailable,
                };
                return Err(ErrorBody::new(code, chain(&error)));
            }
        };
        if !is_loaded {
            reporter.loaded(started.elapsed());
        }
        Ok(Some(pipeline))
    }

    fn latent_scale(&self, model: &str) -> u32 {
        self.loader.catalogue().iter().find(|known| known.name == model).map_or(8, |known| known.info.latent_scale)
    }
}

/// What was drawn, and how it goes back into the picture that the job started from.
struct Drawing {
    finished: Finished,
    plan: Option<InpaintPlan>,
}

/// Watches the second model of a job, whose start was announced with the first.
struct Continued<'a>(&'a mut JobReporter);

impl Observer for Continued<'_> {
    fn started(&mut self, _steps: u32) {}

    fn stepped(&mut self, view: &StepView<'_>) {
        self.0.stepped(view);
    }
}

fn after(mut warnings: Vec<String>, mut finished: Finished) -> Finished {
    warnings.append(&mut finished.warnings);
    Finished { warnings, ..finished }
}

fn failed(error: GenerateError) -> ErrorBody {
    if let GenerateError::Tensor(cause) = &error
        && is_out_of_memory(cause)
    {
        tracing::error!(error = &error as &dyn std::error::Error, "a job needs more memory than its device has");
        return ErrorBody::new(
            ErrorCode::OutOfMemory,
            "the memory of the device that draws is full: ask for a smaller picture or a smaller batch, or try again when \
             nothing else uses the GPU",
        );
    }
    let code = match &error {
        GenerateError::Schedule(_) | GenerateError::Lora(_) | GenerateError::NoEncoder => ErrorCode::InvalidRequest,
        GenerateError::Tensor(_) | GenerateError::Tokenizer(_) | GenerateError::NotFinite => {
            tracing::error!(error = &error as &dyn std::error::Error, "a job failed");
            ErrorCode::Internal
        }
    };
    ErrorBody::new(code, chain(&error))
}

fn go_on_unless(is_over: bool) -> ControlFlow<()> {
    if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// An error with its causes in one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
