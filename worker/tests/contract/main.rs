//! The contract of a job, from submit to silence, with pipelines that follow a script instead of computing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod devices;
mod lanes;
mod library;
mod lives;
mod owners;
mod previews;
mod quotas;
mod scripted;
mod ties;
mod uploads;

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use sd_protocol::{ErrorBody, ErrorCode, Event, EventFrame, JobState, JobView, Limits, PreviewMode, PreviewOptions};
use sd_worker::access::Caller;
use sd_worker::engine::{Engine, JobQueue};
use sd_worker::intake::Offer;
use sd_worker::jobs::{JobCell, JobFilter, News, Registry, Retention, Store};
use sd_worker::models::{ByteSize, ModelLoader, PromptReaders};
use sd_worker::service::{OnCrash, Service, Submitted};
use serde_json::{Value, json};

use self::scripted::{Script, ScriptedLoader};

/// A worker without a port.
struct Worker {
    service: Service,
    script: Script,
    engine: Engine,
}

/// What a test decides about its worker.
struct Setting {
    store: Store,
    queue_jobs: usize,
    on_crash: OnCrash,
    retention: Retention,
    /// How many devices draw.
    devices: usize,
    readers: PromptReaders,
}

impl Setting {
    fn over(store: Store) -> Self {
        let retention = Retention { jobs: 100, age: None, bytes: None };
        Self {
            store,
            queue_jobs: 4,
            on_crash: OnCrash::Rerun,
            retention,
            devices: 1,
            readers: PromptReaders::default(),
        }
    }
}

impl Worker {
    async fn start() -> Self {
        Self::with(Setting::over(Store::ephemeral().unwrap())).await
    }

    async fn over(folder: &Path) -> Self {
        Self::with(Setting::over(Store::open(folder).unwrap())).await
    }

    async fn with(setting: Setting) -> Self {
        let script = Script::default();
        let loaders: Vec<_> = (0..setting.devices)
            .map(|index| ScriptedLoader::new(script.clone(), &format!("scripted:{index}")))
            .map(|loader| Box::new(loader) as Box<dyn ModelLoader>)
            .collect();
        let devices = loaders.iter().map(|loader| loader.device().clone()).collect();
        let (models, adapters) = (loaders[0].catalogue().to_vec(), loaders[0].adapters().clone());
        let readers = Arc::new(setting.readers);
        let registry = Arc::new(Registry::new(setting.store, setting.retention, Arc::default()).unwrap());
        let queue = JobQueue::new(setting.queue_jobs);
        let memory = Some(ByteSize(2));
        let engine = Engine::start(loaders, memory, Arc::clone(&queue), Arc::clone(&registry)).unwrap();
        let limits = Limits { queue_jobs_max: setting.queue_jobs, ..Limits::default() };
        let offer = Arc::new(Offer { devices, models, adapters, limits });
        let service = Service::new(registry, queue, offer, engine.status(), Arc::default(), readers);
        service.take_up(setting.on_crash).await;
        Self { service, script, engine }
    }

    async fn submit(&self, job: Value) -> Arc<JobCell> {
        self.try_submit(job).await.unwrap().cell
    }

    async fn try_submit(&self, job: Value) -> Result<Submitted, ErrorBody> {
        self.service.submit(&anyone(), job).await
    }

    async fn cancel(&self, cell: &JobCell) {
        self.service.cancel(&anyone(), cell.id().as_str()).await.unwrap();
    }

    /// A job that runs until the gate opens.
    async fn submit_held(&self) -> Arc<JobCell> {
        let cell = self.submit(json!({"prompt": "hold"})).await;
        wait_until(&cell, |view| view.step >= 2).await;
        cell
    }

    /// Stops as a worker without time for a drain does, and waits for the threads, so that the store is free again.
    async fn stop(self) {
        self.service.stop_accepting().await;
        self.service.halt().await;
        let engine = self.engine;
        tokio::task::spawn_blocking(move || engine.join()).await.unwrap();
        self.service.settle().await;
    }
}

fn anyone() -> Caller {
    Caller::anyone()
}

async fn wait_until(cell: &Arc<JobCell>, is_reached: impl Fn(&JobView) -> bool) {
    let mut changes = cell.read(0, no_previews()).changes();
    while !is_reached(&cell.view()) {
        changes.next().await.unwrap();
    }
}

async fn ended(cell: &Arc<JobCell>) -> JobView {
    wait_until(cell, |view| view.state.is_terminal()).await;
    cell.view()
}

fn no_previews() -> PreviewOptions {
    PreviewOptions { mode: PreviewMode::None, ..PreviewOptions::default() }
}

fn events(news: &[News]) -> Vec<&EventFrame> {
    news.iter().filter_map(|news| if let News::Event(frame) = news { Some(frame) } else { None }).collect()
}

/// Names of the durable events, after checking that their numbers start above `after` and have no gap.
fn durable_names(news: &[News], after: u64) -> Vec<&'static str> {
    let durable: Vec<_> = events(news).into_iter().filter(|frame| frame.seq.is_some()).collect();
    for (expected, frame) in (after + 1..).zip(&durable) {
        assert_eq!(frame.seq, Some(expected));
    }
    durable.iter().map(|frame| frame.event.name()).collect()
}

#[tokio::test]
async fn a_job_goes_from_submit_to_silence() {
    let worker = Worker::start().await;
    let cell = worker.submit(json!({"prompt": "a hill", "seed": 7, "batch_size": 2})).await;
    let view = ended(&cell).await;
    assert_eq!(view.state, JobState::Succeeded);
    assert_eq!(view.images.iter().map(|image| image.seed).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(view.warnings, ["scripted"]);
    assert_eq!((view.step, view.steps, view.last_seq), (4, 4, 5));

    let mut reader = cell.read(0, no_previews());
    assert_eq!(durable_names(&reader.drain(), 0), ["queued", "started", "image", "image", "succeeded"]);
    assert!(reader.has_ended() && reader.drain().is_empty());
    assert_eq!(durable_names(&cell.read(3, no_previews()).drain(), 3), ["image", "succeeded"]);

    let mut at_the_end = cell.read(5, PreviewOptions::default());
    assert!(at_the_end.drain().is_empty() && at_the_end.has_ended(), "who has seen all waits for nothing");

    assert!(!cell.append(Event::Canceled), "after a terminal event, silence");
    cell.update(Event::Progress { step: 1, steps: 4, sigma: 1.0, eta_ms: 0 });
    assert_eq!(cell.view(), view);
    worker.stop().await;
}

#[tokio::test]
async fn failures_and_panics_are_the_jobs_own() {
    let worker = Worker::start().await;
    for (prompt, loads) in [("fail", 1), ("panic", 2)] {
        let bad = worker.submit(json!({"prompt": prompt})).await;
        let view = ended(&bad).await;
        assert_eq!(view.error.map(|error| error.code), Some(ErrorCode::Internal), "{prompt}");
        let good = worker.submit(json!({"prompt": "good"})).await;
        assert_eq!(ended(&good).await.state, JobState::Succeeded, "after {prompt}");
        assert_eq!(worker.script.loads(), loads, "a panic costs a load, an error does not");
    }
    let broken = worker.submit(json!({"prompt": "", "model": "broken"})).await;
    assert_eq!(ended(&broken).await.error.map(|error| error.code), Some(ErrorCode::ModelUnavailable));
    let good = worker.submit(json!({"prompt": "good"})).await;
    assert_eq!(ended(&good).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn cancel_ends_a_waiting_job_at_once_and_moves_the_others_up() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let second = worker.submit(json!({"prompt": "second"})).await;
    let third = worker.submit(json!({"prompt": "third"})).await;
    assert_eq!(third.view().queue_position, Some(1));
    worker.cancel(&second).await;
    assert_eq!(second.view().state, JobState::Canceled);
    assert_eq!(third.view().queue_position, Some(0));
    assert_eq!(running.view().state, JobState::Running);

    worker.cancel(&running).await;
    assert_eq!(ended(&running).await.state, JobState::Canceled);
    let view = ended(&third).await;
    assert_eq!(view.state, JobState::Succeeded);
    worker.cancel(&third).await;
    assert_eq!(third.view(), view, "canceling what has ended changes nothing");
    assert_eq!(worker.service.cancel(&anyone(), "nobody").await.unwrap_err().code, ErrorCode::JobNotFound);
    worker.stop().await;
}

#[tokio::test]
async fn cancel_ends_a_download() {
    let worker = Worker::start().await;
    let cell = worker.submit(json!({"prompt": "", "model": "remote"})).await;
    while worker.script.bytes_fetched() == 0 {
        tokio::task::yield_now().await;
    }
    worker.cancel(&cell).await;
    assert_eq!(ended(&cell).await.state, JobState::Canceled);
    let good = worker.submit(json!({"prompt": "good"})).await;
    assert_eq!(ended(&good).await.state, JobState::Succeeded);
    worker.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_still_finds_repeated_jobs() {
    let worker = Worker::with(Setting { queue_jobs: 1, ..Setting::over(Store::ephemeral().unwrap()) }).await;
    let running = worker.submit_held().await;
    let waiting = worker.submit(json!({"prompt": "waiting", "id": "mine"})).await;
    let refused = worker.try_submit(json!({"prompt": "late"})).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::QueueFull);
    let again = worker.submit(json!({"prompt": "waiting", "id": "mine"})).await;
    assert!(Arc::ptr_eq(&again, &waiting));
    let conflict = worker.try_submit(json!({"prompt": "other", "id": "mine"})).await.unwrap_err();
    assert_eq!(conflict.code, ErrorCode::IdConflict);
    assert_eq!(
        worker.service.list(&anyone(), JobFilter::default(), None, 10).await.unwrap().len(),
        2,
        "a refused job leaves no trace"
    );

    worker.script.open_gate();
    assert_eq!(ended(&running).await.state, JobState::Succeeded);
    assert_eq!(ended(&waiting).await.state, JobState::Succeeded);
    let again = worker.submit(json!({"prompt": "waiting", "id": "mine"})).await;
    assert_eq!(again.view().state, JobState::Succeeded, "and finds it when it is long over");
    worker.stop().await;
}

#[tokio::test]
async fn a_slow_reader_misses_frames_and_never_events() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let cell = worker.submit(json!({"prompt": "watched", "steps": 9})).await;
    let mut second = worker.submit(json!({"prompt": "hold"})).await.read(0, no_previews());
    let mut eager = cell.read(0, PreviewOptions { every: 4, ..PreviewOptions::default() });
    let queued = eager.drain();
    assert_eq!(durable_names(&queued, 0), ["queued"]);
    worker.cancel(&running).await;
    ended(&cell).await;

    let news = eager.drain();
    let latents: Vec<_> = news
        .iter()
        .filter_map(|n| if let News::Latents { snapshot, missed } = n { Some((snapshot.step, *missed)) } else { None })
        .collect();
    assert_eq!(latents, [(9, 2)], "only the newest of nine, and two of every fourth were missed");
    let names: Vec<_> = events(&news).iter().map(|frame| frame.event.name()).collect();
    assert_eq!(names, ["started", "image", "succeeded"], "a finished job has no progress to tell");
    assert!(matches!(news.last(), Some(News::Event(frame)) if frame.event.is_terminal()));

    wait_until(second.cell(), |view| view.state == JobState::Running).await;
    let news = second.drain();
    let started = events(&news).iter().position(|frame| frame.event.name() == "started").unwrap();
    let stale = events(&news)[started..].iter().any(|frame| frame.event.name() == "queued");
    assert!(!stale, "no position in the queue after the start");
    worker.stop().await;
}

#[tokio::test]
async fn latents_stay_on_the_device_while_nobody_looks() {
    let worker = Worker::start().await;
    ended(&worker.submit(json!({"prompt": "unwatched"})).await).await;
    assert_eq!(worker.script.latent_copies(), 0);

    let running = worker.submit_held().await;
    let cell = worker.submit(json!({"prompt": "watched"})).await;
    let _reader = cell.read(0, PreviewOptions::default());
    worker.cancel(&running).await;
    ended(&cell).await;
    assert_eq!(worker.script.latent_copies(), 4);
    worker.stop().await;
}

#[tokio::test]
async fn a_reader_from_another_life_is_reset() {
    let worker = Worker::start().await;
    let cell = worker.submit(json!({"prompt": "short"})).await;
    ended(&cell).await;
    let mut reader = cell.read(99, no_previews());
    let news = reader.drain();
    assert!(matches!(events(&news)[..], [EventFrame { seq: None, event: Event::Reset { .. }, .. }]));
    assert!(reader.has_ended());
    worker.stop().await;
}
