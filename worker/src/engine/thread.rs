//! The engine thread: the one owner of models and tensors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Instant;

use sd_protocol::{ErrorBody, ErrorCode};
use tokio::sync::watch;

use super::finisher::{self, Drawn};
use super::queue::{Job, JobQueue};
use super::reporter::JobReporter;
use crate::diffusion::{Outcome, Pipeline};
use crate::jobs::Registry;
use crate::models::{LoadError, ModelLoader};

/// What the engine is up to, for `/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineStatus {
    /// The default model is being loaded and warmed.
    Loading,
    /// A job would start at once, or after those that wait.
    Ready,
    /// The default model cannot be loaded; jobs for other models may still work.
    Failed(String),
    /// The worker stops.
    Stopped,
}

/// The running threads.
#[derive(Debug)]
pub struct Engine {
    status: watch::Receiver<EngineStatus>,
    threads: [JoinHandle<()>; 2],
}

impl Engine {
    /// Starts the threads; the default model begins to load.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(loader: Box<dyn ModelLoader>, queue: Arc<JobQueue>, registry: Arc<Registry>) -> std::io::Result<Self> {
        let (drawn, finisher) = finisher::start(registry)?;
        let (status_sender, status) = watch::channel(EngineStatus::Loading);
        let engine = std::thread::Builder::new().name("engine".into()).spawn(move || {
            EngineThread { loader, drawn, status: status_sender, loaded: None }.run(&queue);
        })?;
        Ok(Self { status, threads: [engine, finisher] })
    }

    /// What the engine is up to, now and from now on.
    pub fn status(&self) -> watch::Receiver<EngineStatus> {
        self.status.clone()
    }

    /// Waits for both threads; the queue must be closed. Blocks.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an engine thread ended in a panic");
            }
        }
    }
}

struct EngineThread {
    loader: Box<dyn ModelLoader>,
    drawn: SyncSender<Drawn>,
    status: watch::Sender<EngineStatus>,
    loaded: Option<Loaded>,
}

struct Loaded {
    name: String,
    pipeline: Box<dyn Pipeline>,
}

impl EngineThread {
    fn run(mut self, queue: &JobQueue) {
        let default = self.loader.catalogue()[0].name.clone();
        let status = match catch_unwind(AssertUnwindSafe(|| self.pipeline(&default).map(|_| ()))) {
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
        self.status.send_replace(status);
        while let Ok(job) = queue.take() {
            self.work(job);
        }
        self.status.send_replace(EngineStatus::Stopped);
    }

    fn work(&mut self, job: Job) {
        let span = tracing::debug_span!("job", id = %job.cell.id(), model = job.model);
        let _entered = span.enter();
        let latent_scale = self.latent_scale(&job.model);
        let reporter = JobReporter::new(Arc::clone(&job.cell), &job.spec, latent_scale);
        // The reporter moves inside: a panic drops it, and its drop ends the job.
        if catch_unwind(AssertUnwindSafe(|| self.draw(&job, reporter))).is_err() {
            tracing::error!("a job panicked; its model will be loaded anew");
            self.loaded = None;
        }
    }

    fn draw(&mut self, job: &Job, mut reporter: JobReporter) {
        let cancel = job.cell.cancel_token();
        if cancel.is_canceled() {
            return reporter.canceled();
        }
        let started = Instant::now();
        let is_loaded = self.loaded.as_ref().is_some_and(|loaded| loaded.name == job.model);
        let pipeline = match self.pipeline(&job.model) {
            Ok(pipeline) => pipeline,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a model could not be loaded");
                return reporter.failed(ErrorBody::new(ErrorCode::ModelUnavailable, chain(&error)));
            }
        };
        if !is_loaded {
            reporter.loaded(started.elapsed());
        }
        match pipeline.generate(&job.spec, cancel, &mut reporter) {
            Ok(Outcome::Finished(finished)) => {
                let timings = reporter.computed(finished.encode_time, finished.denoise_time, finished.decode_time);
                // If the finisher is gone, the returned reporter is dropped and ends the job as failed.
                if self.drawn.send(Drawn { reporter, finished, timings }).is_err() {
                    tracing::error!("the finisher thread is gone; a picture was lost");
                }
            }
            Ok(Outcome::Canceled) => reporter.canceled(),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a job failed");
                reporter.failed(ErrorBody::new(ErrorCode::Internal, chain(&error)));
            }
        }
    }

    /// The pipeline of a model. One model is kept: the old one leaves before the new one comes.
    fn pipeline(&mut self, name: &str) -> Result<&mut dyn Pipeline, LoadError> {
        if self.loaded.as_ref().is_none_or(|loaded| loaded.name != name) {
            self.loaded = None;
            let started = Instant::now();
            let pipeline = self.loader.load(name)?;
            tracing::info!(model = name, seconds = started.elapsed().as_secs_f32(), "model loaded");
            self.loaded = Some(Loaded { name: name.to_owned(), pipeline });
        }
        Ok(self.loaded.as_mut().expect("filled just above").pipeline.as_mut())
    }

    fn latent_scale(&self, model: &str) -> u32 {
        self.loader.catalogue().iter().find(|known| known.name == model).map_or(8, |known| known.info.latent_scale)
    }
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
