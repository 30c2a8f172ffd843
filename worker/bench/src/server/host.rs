//! The worker, started and asked.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::StatusCode;
use sd_protocol::{JobState, JobView};
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use crate::cases::Dtype;
use crate::setting::Setting;

/// Time between two looks at `/ready`; more of them would take a part of the threads that load.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// Longest time that a model may take to load.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A model that a worker draws with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// The one inside the binary.
    Builtin,
    /// Stable Diffusion 1.5 of random weights in f16.
    Sd15,
}

impl Model {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Sd15 => "sd15",
        }
    }

    /// As the table calls it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Builtin => "built-in model",
            Self::Sd15 => "SD 1.5, f16 file",
        }
    }
}

/// Starts a worker that keeps nothing, on as many threads and with more flags, and waits until its model is loaded.
///
/// # Errors
/// When it does not start.
pub(super) async fn start(
    model: Model,
    dtype: Dtype,
    threads: usize,
    flags: &[&str],
    setting: &Setting,
) -> anyhow::Result<Worker> {
    let folder = setting.pipeline();
    start_with(model.name(), (model == Model::Sd15).then_some(&folder), dtype, threads, flags).await
}

/// The same with any folder in the diffusers layout.
///
/// # Errors
/// When it does not start.
pub(super) async fn start_with(
    name: &str,
    folder: Option<&Path>,
    dtype: Dtype,
    threads: usize,
    more: &[&str],
) -> anyhow::Result<Worker> {
    let mut flags: Vec<String> = ["--ephemeral", "--device", "cpu", "--threads"].map(String::from).to_vec();
    flags.push(threads.to_string());
    if let Some(folder) = folder {
        flags.extend(["--model".into(), format!("{name}={}", folder.display())]);
    }
    let dtype = match dtype {
        Dtype::Fp32 => "f32",
        Dtype::Bf16 => "bf16",
    };
    flags.extend(["--dtype".into(), dtype.into()]);
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let worker = Worker::spawn_at("127.0.0.1:0", &flags, &[("SD_WORKER_LOG", "error")]).await?;
    ready(&worker).await?;
    Ok(worker)
}

async fn ready(worker: &Worker) -> anyhow::Result<()> {
    let start = Instant::now();
    while worker.api().get("/ready").await?.status() != StatusCode::OK {
        anyhow::ensure!(start.elapsed() < READY_TIMEOUT, "the worker is not ready after {READY_TIMEOUT:?}");
        tokio::time::sleep(READY_INTERVAL).await;
    }
    Ok(())
}

/// What a job asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) model: Model,
    pub(super) size: usize,
    pub(super) steps: usize,
    pub(super) guidance_scale: f64,
}

/// The prompt of all pictures; the number stands for `#`.
pub(super) const PROMPT: &str = "a red balloon over the sea, number #";

impl Wish {
    /// The job; each number is another prompt, so that nobody remembers what became of the last one.
    pub(super) fn job(&self, number: usize, preview: &str) -> Value {
        json!({
            "model": self.model.name(), "prompt": PROMPT.replace('#', &number.to_string()), "seed": number,
            "width": self.size, "height": self.size, "steps": self.steps, "guidance_scale": self.guidance_scale,
            "scheduler": "euler", "preview": { "mode": preview },
        })
    }
}

/// A job that was drawn.
#[derive(Debug)]
pub(super) struct Drawn {
    /// From the request to the last byte of the picture.
    pub(super) time: Duration,
    pub(super) view: JobView,
    pub(super) picture: Vec<u8>,
}

/// Submits a job, follows it to its end and fetches its picture.
///
/// # Errors
/// When it is not drawn.
pub(super) async fn draw(worker: &Worker, job: &Value) -> anyhow::Result<Drawn> {
    let start = Instant::now();
    let view = worker.api().submit(job).await?;
    let view = worker.api().ended(view.id.as_str()).await?;
    anyhow::ensure!(view.state == JobState::Succeeded, "the job ended as {:?}", view.error);
    let picture = worker.api().picture(&view).await?;
    Ok(Drawn { time: start.elapsed(), view, picture })
}

impl Drawn {
    /// Milliseconds of the job's arithmetic: text encoder, denoising, decoder.
    pub(super) fn compute_ms(&self) -> anyhow::Result<f64> {
        let timings = self.view.timings.context("a job that succeeded has timings")?;
        Ok(timings.encode_ms + timings.denoise_ms + timings.decode_ms)
    }

    pub(super) fn denoise_ms(&self) -> anyhow::Result<f64> {
        Ok(self.view.timings.context("a job that succeeded has timings")?.denoise_ms)
    }
}
