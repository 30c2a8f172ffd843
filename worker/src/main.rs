//! The command line: flags → [`sd_worker::run`] → exit code.

use std::future::Future;

use anyhow::Context as _;
use clap::Parser as _;
use sd_worker::config::{Command, CommandLine, Config, LogFormat};
use sd_worker::device;
use sd_worker::models::{AdapterSet, Adapters, Library, ModelLoader as _};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let command = CommandLine::parse().command;
    let (Command::Serve(args) | Command::Models(args)) = &command;
    let config = args.clone().resolve()?;
    start_log(config.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tokio")
        .enable_all()
        .build()
        .context("the async runtime could not be started")?;
    let done = runtime.block_on(async {
        match command {
            Command::Serve(_) => serve(config).await,
            Command::Models(_) => models(&config).await,
        }
    });
    // An engine that did not stop in time must not keep the process.
    runtime.shutdown_background();
    done
}

fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("SD_WORKER_LOG").or_else(|_| EnvFilter::try_new("info"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let library = open_library(&config).await?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "anyone who reaches this address can use the worker");
    }
    println!("sd-worker listening on http://{address}");
    sd_worker::run(&config, listener, Box::new(library), shutdown).await?;
    Ok(())
}

async fn open_library(config: &Config) -> anyhow::Result<Library> {
    let adapters = AdapterSet {
        loras: Adapters::scan(&config.lora_folders)?,
        embeddings: Adapters::scan(&config.embedding_folders)?,
    };
    Ok(Library::open(&config.models, &config.hub, adapters, device::open()).await?)
}

async fn models(config: &Config) -> anyhow::Result<()> {
    let library = open_library(config).await?;
    for model in library.catalogue() {
        let info = &model.info;
        println!(
            "{}\t{}\t{}×{} px\t{} steps\t{}",
            model.name, info.family, info.width, info.height, info.steps, info.scheduler.name
        );
    }
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
