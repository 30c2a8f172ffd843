//! A Stable Diffusion worker: WebSocket, HTTP jobs and server-sent events on one port.
//!
//! ```text
//! bytes ─▶ http ─▶ service ─▶ intake ─▶ jobs ─▶ engine ─▶ diffusion      (down: what is asked)
//! bytes ◀─ http ◀─ outlet ◀─ jobs ◀──────────── engine ◀─ diffusion      (up: what happened)
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`access`] | tokens, tickets, quotas: who may ask, and how much |
//! | [`config`] | flags, environment and TOML → `Config` |
//! | [`http`] | routes, WebSocket, SSE, the embedded client |
//! | [`service`] | what every transport can ask |
//! | [`inputs`] | pictures that clients bring: decoded, fitted, stored |
//! | [`intake`] | a request → a valid job, every check once |
//! | [`outlet`] | what happened → protocol frames |
//! | [`jobs`] | registry, numbered log, store |
//! | [`engine`] | queue, engine threads, finisher thread, thread of preview pictures |
//! | [`outputs`] | finished pictures → files with their parameters inside; previews → files |
//! | [`models`] | catalogue and sources of models |
//! | [`metrics`] | what an operator watches |
//! | [`allocator`] | the memory that networks compute in |
//! | [`cores`] | the cores of the CPU that networks compute on |
//! | [`device`] | where tensors live, and in which type |
//! | [`diffusion`] | pure compute: families, networks, operations, schedulers |
//! | [`builtin`] | the model inside the binary |
//!
//! # Invariants
//! * The engine thread of a device owns every model and tensor on it, those of preview decoders excepted; tokio does I/O only.
//! * `jobs` and `engine` meet in a bounded queue, a log and a cancel token, and nowhere else.
//! * `diffusion` names no tokio, axum or protocol.
//! * There are no globals but [`allocator`], the threads that [`cores`] starts and, in builds for NVIDIA's GPUs, what the
//!   thread of a GPU knows of its libraries: everything else hangs on the call of [`run`].

pub mod access;
pub mod allocator;
#[cfg(feature = "builtin-model")]
pub mod builtin;
pub mod config;
pub mod cores;
pub mod device;
pub mod diffusion;
pub mod engine;
pub mod http;
pub mod inputs;
pub mod intake;
pub mod jobs;
pub mod metrics;
pub mod models;
pub mod outlet;
pub mod outputs;
pub mod service;

use std::sync::Arc;
use std::time::Duration;

use sd_protocol::Limits;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Accounts, Gate};
use crate::config::{Config, Storage};
use crate::engine::{Engine, JobQueue};
use crate::http::{App, Site};
use crate::intake::Offer;
use crate::jobs::{Registry, Store};
use crate::models::ModelLoader;
use crate::service::Service;

/// Time from one look for jobs that are too old to be kept to the next; the others are looked for after every job.
const RETAIN_INTERVAL: Duration = Duration::from_secs(600);
/// Time that a stopping worker gives its engine, when the drain is over, to come to a block of the network and store what
/// is drawn.
const ENGINE_STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Time that a stopping worker then gives its clients to read their last events.
const CLIENT_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a worker does not start, or stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data folder cannot be used.
    #[error("the store cannot be opened")]
    Store(#[from] jobs::StoreError),
    /// The system gives no thread.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// `--cors-origin` is not an origin, or `--allowed-host` no host name.
    #[error(transparent)]
    Site(#[from] http::InvalidSite),
    /// The server ended by itself.
    #[error("the port is served no more")]
    Serve(#[source] tokio::task::JoinError),
}

/// Serves on `listener` until `shutdown` resolves, then ends every job and stream and returns. Each of `loaders`, of which
/// there is at least one, brings a device on which jobs are drawn.
///
/// # Errors
/// When the worker cannot start; a running worker ends well.
pub async fn run(
    config: &Config,
    listener: TcpListener,
    loaders: Vec<Box<dyn ModelLoader>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let store = match &config.storage {
        Storage::Folder(folder) => Store::open(folder)?,
        Storage::Ephemeral => Store::ephemeral()?,
    };
    let registry = Arc::new(Registry::new(store, config.retention, Arc::default())?);
    let queue = JobQueue::new(config.queue_jobs);
    let offer = Arc::new(Offer {
        devices: loaders.iter().map(|loader| loader.device().clone()).collect(),
        models: loaders[0].catalogue().to_vec(),
        adapters: loaders[0].adapters().clone(),
        limits: Limits { queue_jobs_max: config.queue_jobs, ..Limits::default() },
    });
    let readers = loaders[0].prompt_readers();
    let engine = Engine::start(loaders, config.model_memory, Arc::clone(&queue), Arc::clone(&registry))
        .map_err(RunError::Thread)?;
    let accounts = Arc::new(Accounts::new(&config.credentials));
    let service = Service::new(registry, queue, offer, engine.status(), accounts, readers);
    service.recall_spent().await;
    service.take_up(config.on_crash).await;
    let retaining = tokio::spawn(retain_now_and_then(service.clone()));

    let closing = CancellationToken::new();
    let sockets = TaskTracker::new();
    let gate = Gate::new(config.credentials.clone());
    let app = App { service: service.clone(), gate, closing: closing.clone(), sockets: sockets.clone() };
    let site = Site::new(&config.allowed_hosts, &config.cors_origins)?;
    let mut server = tokio::spawn(http::serve(listener, http::router(app, site), config.connections, closing.clone()));

    tokio::select! {
        () = shutdown => {
            let drain_seconds = config.drain.as_secs();
            tracing::info!(drain_seconds, "stopping: no more jobs are taken; a second signal stops at once");
        }
        ended = &mut server => {
            service.stop_accepting().await;
            return ended.map_err(RunError::Serve);
        }
    }
    retaining.abort();
    service.stop_accepting().await;
    let mut joined = tokio::task::spawn_blocking(move || engine.join());
    if tokio::time::timeout(config.drain, &mut joined).await.is_err() {
        service.halt().await;
        if tokio::time::timeout(ENGINE_STOP_TIMEOUT, joined).await.is_err() {
            tracing::error!("the engine did not stop in time and is left behind");
        }
    }
    service.settle().await;
    closing.cancel();
    sockets.close();
    let clients = async { tokio::join!(sockets.wait(), server) };
    if tokio::time::timeout(CLIENT_STOP_TIMEOUT, clients).await.is_err() {
        tracing::warn!("some clients did not read to the end");
    }
    Ok(())
}

async fn retain_now_and_then(service: Service) {
    let mut ticks = tokio::time::interval(RETAIN_INTERVAL);
    loop {
        ticks.tick().await;
        service.retain().await;
    }
}
