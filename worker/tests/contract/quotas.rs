//! What a credential may use: jobs that wait, jobs that are drawn, pixels, uploads.

use std::io::Write as _;
use std::time::Duration;

use sd_worker::access::{Accounts, Caller, Credentials};
use sd_worker::engine::{EngineStatus, Job, Turn};
use tokio::sync::watch;

use super::*;

/// A service over a queue that no engine empties, for Ann with these bounds and for Bob without any.
fn unattended(bounds: &str) -> (Service, Arc<JobQueue>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let hashes = ["0a".repeat(32), "0b".repeat(32)];
    writeln!(file, "[tokens.ann]\nsha256 = {:?}\n{bounds}\n[tokens.bob]\nsha256 = {:?}", hashes[0], hashes[1]).unwrap();
    let accounts = Arc::new(Accounts::new(&Credentials::read(Some(file.path()), None).unwrap()));
    let setting = Setting::over(Store::ephemeral().unwrap());
    let loader = ScriptedLoader::new(Script::default(), "scripted");
    let (models, adapters) = (loader.catalogue().to_vec(), loader.adapters().clone());
    let registry = Arc::new(Registry::new(setting.store, setting.retention, Arc::default()).unwrap());
    let queue = JobQueue::new(100);
    let offer = Arc::new(Offer { devices: vec![loader.device().clone()], models, adapters, limits: Limits::default() });
    let (_, status) = watch::channel(EngineStatus::Ready);
    (Service::new(registry, Arc::clone(&queue), offer, status, accounts, Arc::default()), queue)
}

fn ann() -> Caller {
    Caller::named("ann")
}

fn bob() -> Caller {
    Caller::named("bob")
}

async fn submit(service: &Service, caller: &Caller, fields: Value) -> Result<Arc<JobCell>, ErrorBody> {
    let mut job = json!({"prompt": "x", "width": 64, "height": 64});
    job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    service.submit(caller, job).await.map(|submitted| submitted.cell)
}

/// The next job that is drawn, as an engine takes it.
fn taken(queue: &Arc<JobQueue>) -> (Job, Turn) {
    queue.take(Duration::MAX, || {}).unwrap()
}

/// Whether a submit was refused for its quota, and after which time it may come again.
fn exhausted(submitted: Result<Arc<JobCell>, ErrorBody>) -> Option<u64> {
    let error = submitted.unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded, "{error:?}");
    error.retry_after_ms
}

#[tokio::test]
async fn so_many_jobs_of_a_credential_wait() {
    let (service, queue) = unattended("queued-jobs = 2");
    let first = submit(&service, &ann(), json!({"id": "first"})).await.unwrap();
    submit(&service, &ann(), json!({"lane": "canvas"})).await.unwrap();
    assert!(exhausted(submit(&service, &ann(), json!({})).await).is_some());
    assert!(Arc::ptr_eq(&submit(&service, &ann(), json!({"id": "first"})).await.unwrap(), &first));
    submit(&service, &bob(), json!({})).await.unwrap();
    let newer = json!({"lane": "canvas", "supersede": "queued"});
    submit(&service, &ann(), newer).await.expect("it takes the place of the older one");
    service.cancel(&ann(), "first").await.unwrap();
    submit(&service, &ann(), json!({})).await.expect("a place came free");
    // Bob and Ann take turns.
    drop((taken(&queue), taken(&queue)));
    submit(&service, &ann(), json!({})).await.expect("one is drawn and waits no longer");
}

#[tokio::test]
async fn so_many_jobs_of_a_credential_are_drawn_at_once() {
    let (service, queue) = unattended("running-jobs = 1");
    let (one, two) = (submit(&service, &ann(), json!({})).await.unwrap(), submit(&service, &ann(), json!({})).await);
    let (two, three) = (two.unwrap(), submit(&service, &bob(), json!({"steps": 100})).await.unwrap());
    let take = || taken(&queue);
    let (first, turn) = take();
    let (second, other_turn) = take();
    assert_eq!((first.cell.id(), second.cell.id()), (one.id(), three.id()));
    let waiting = std::thread::Builder::new().name("engine".into()).spawn({
        let queue = Arc::clone(&queue);
        move || taken(&queue).0.cell.id().clone()
    });
    drop(other_turn);
    assert_eq!(queue.len(), 1, "Bob's end is no turn for Ann");
    drop(turn);
    assert_eq!(waiting.unwrap().join().unwrap(), *two.id());
}

#[tokio::test]
async fn pixels_that_were_not_drawn_are_given_back() {
    let (service, queue) = unattended("pixels-per-hour = 10_000");
    let first = submit(&service, &ann(), json!({})).await.unwrap();
    submit(&service, &ann(), json!({})).await.unwrap();
    assert!(exhausted(submit(&service, &ann(), json!({})).await).is_some());
    assert_eq!(exhausted(submit(&service, &ann(), json!({"width": 256})).await), None, "no hour brings that much");
    service.cancel(&ann(), first.id().as_str()).await.unwrap();
    let third = submit(&service, &ann(), json!({})).await.expect("the first cost nothing");
    let (second, turn) = taken(&queue);
    drop((second, turn));
    service.cancel(&ann(), third.id().as_str()).await.unwrap();
    submit(&service, &ann(), json!({})).await.expect("the third cost nothing");
    assert!(exhausted(submit(&service, &ann(), json!({})).await).is_some(), "the second was drawn");
}
