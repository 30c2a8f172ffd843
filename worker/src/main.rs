//! The command line: flags → [`sd_worker::run`] → exit code.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use sd_worker::access::{credentials, secret, secret::SecretKind};
use sd_worker::config::{CheckArgs, Command, CommandLine, Config, LogFormat};
use sd_worker::device::{DeviceInfo, OpenDevice};
use sd_worker::diffusion::Placement;
use sd_worker::diffusion::ops::check::{self, Checked};
use sd_worker::models::{AdapterSet, Adapters, Library, ModelLoader};
use sd_worker::{allocator, cores, device};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> anyhow::Result<()> {
    allocator::keep_freed();
    let (args, is_listing) = match CommandLine::parse().command {
        Command::Token { name } => return token(&name),
        Command::Serve(args) => (args, false),
        Command::Models(args) => (args, true),
        Command::Check(args) => return check_devices(&args),
    };
    let config = args.with_environment().resolve()?;
    start_log(config.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tokio")
        .enable_all()
        .build()
        .context("the async runtime could not be started")?;
    let done = runtime.block_on(async { if is_listing { models(&config).await } else { serve(config).await } });
    // An engine that did not stop in time must not keep the process.
    runtime.shutdown_background();
    done
}

fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("SD_WORKER_LOG").or_else(|_| EnvFilter::try_new("info"))?;
    // tungstenite traces frames with all that is in them, and the first one of a connection carries a token.
    let no_frames =
        filter_fn(|metadata| *metadata.level() != Level::TRACE || !metadata.target().starts_with("tungstenite"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.finish().with(no_frames).init(),
        LogFormat::Json => log.json().finish().with(no_frames).init(),
    }
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    cores::start_pool(config.threads).context("the threads that networks compute on could not be started")?;
    let devices = device::open(config.device, config.dtype)?;
    let library = Arc::new(open_library(&config).await?);
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    println!("sd-worker listening on http://{address}");
    let loaders = devices.into_iter().map(|device| Box::new(library.on(device)) as Box<dyn ModelLoader>).collect();
    sd_worker::run(&config, listener, loaders, shutdown).await?;
    Ok(())
}

/// The entry goes to standard output, so that `sd-worker token NAME >> FILE` keeps it; the token itself goes to the
/// terminal beside it and into no file.
fn token(name: &str) -> anyhow::Result<()> {
    let token = secret::fresh(SecretKind::Token)?;
    let entry = credentials::file_entry(name, &token)?;
    eprintln!("The token of {name}, shown this once; the token file keeps its hash:\n\n    {}\n", token.reveal());
    print!("{entry}");
    Ok(())
}

/// One line for each operation as it is done.
fn check_devices(args: &CheckArgs) -> anyhow::Result<()> {
    cores::start_pool(args.threads).context("the threads that networks compute on could not be started")?;
    let mut wrong = 0;
    for device in device::open(args.device, args.dtype)? {
        let OpenDevice { placement: Placement { device, dtype }, info } = device;
        if !args.json {
            println!("{} ({}), {}", info.name, info.label, info.dtype);
        }
        check::run(&device, dtype, &mut |checked| {
            wrong += usize::from(!checked.is_right());
            println!("{}", if args.json { check_json(&info, &checked).to_string() } else { check_line(&checked) });
        })?;
    }
    anyhow::ensure!(wrong == 0, "{wrong} operations are not what they should be");
    Ok(())
}

fn check_line(checked: &Checked) -> String {
    let Checked { operation, shape, distance, distance_max, time, operations } = checked;
    let verdict = if checked.is_right() { "right" } else { "WRONG" };
    let milliseconds = 1e3 * time.as_secs_f64();
    let speed = *operations as f64 / time.as_secs_f64() / 1e12;
    let speed = if *operations == 0 { String::new() } else { format!(" {speed:8.2} TFLOP/s") };
    format!("{verdict}  {operation:<18} {shape:<48} {distance:.1e} of {distance_max:.1e} {milliseconds:9.3} ms{speed}")
}

fn check_json(info: &DeviceInfo, checked: &Checked) -> serde_json::Value {
    serde_json::json!({
        "device": info.name,
        "label": info.label,
        "dtype": info.dtype.to_string(),
        "operation": checked.operation,
        "shape": checked.shape,
        "right": checked.is_right(),
        "distance": checked.distance,
        "distance_max": checked.distance_max,
        "ms": 1e3 * checked.time.as_secs_f64(),
        "operations": checked.operations,
    })
}

async fn open_library(config: &Config) -> anyhow::Result<Library> {
    let adapters = AdapterSet {
        loras: Adapters::scan(&config.lora_folders)?,
        embeddings: Adapters::scan(&config.embedding_folders)?,
    };
    let library = Library::open(&config.models, &config.hub, adapters).await?;
    Ok(if config.packed_weights { library.keeping_packed()? } else { library })
}

async fn models(config: &Config) -> anyhow::Result<()> {
    for model in open_library(config).await?.catalogue() {
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
