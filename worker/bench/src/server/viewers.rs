//! C8: many viewers of one job at 20 frames of 32 KiB a second, one of whom does not read.
//!
//! The job is one of a tiny network, so that its steps are quick enough. The worker computes on all threads but one,
//! which is left to everybody's sockets, those of the viewers in here included.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use sd_protocol::JobId;
use sd_protocol::limits::STEPS_MAX;
use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Quantity;
use super::host;
use super::quantity::quantile;
use crate::cases::Dtype;
use crate::engines::OURS;
use crate::networks::outcome::ms;
use crate::setting::Setting;

/// A tiny model in the diffusers layout.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/sd2");
/// 64×64 latents of four channels in f16: 32 KiB.
const SIZE: usize = 512;
const FRAMES_PER_SECOND: f64 = 20.0;
/// Milliseconds that a job takes about, as far as the limits of steps allow.
const JOB_MS: f64 = 5000.0;
const STEPS_MIN: f64 = 40.0;

/// Measures with more and more viewers.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let counts: &[usize] = if setting.quick { &[1, 16] } else { &[1, 16, 64, 256] };
    let rounds = if setting.quick { 1 } else { 3 };
    let threads = setting.threads.saturating_sub(1).max(1);
    let worker = host::start_with("tiny", Some(Path::new(MODEL)), Dtype::Fp32, threads, &[]).await?;
    let tried = Pace { steps: STEPS_MIN as usize, every: 1 };
    host::draw(&worker, &tried.job(0, "none")).await?;
    let step_ms = host::draw(&worker, &tried.job(1, "none")).await?.denoise_ms()? / STEPS_MIN;
    let every = (1e3 / FRAMES_PER_SECOND / step_ms).round().max(1.0);
    let job_ms = if setting.quick { JOB_MS / 6.0 } else { JOB_MS };
    let steps = (job_ms / step_ms).clamp(STEPS_MIN, STEPS_MAX.into());
    let pace = Pace { steps: steps as usize, every: every as usize };
    let rate = 1e3 / step_ms / every;
    let mut quantities = Vec::new();
    for count in counts {
        let mut watch = Watch::default();
        for round in 0..rounds {
            watch.add(&worker, *count, pace, round).await?;
        }
        let what = format!("{count} viewers, and one that does not read, at {rate:.1} frames/s of 32 KiB");
        let quantity = |name: &str, unit, samples| Quantity::new("C8", format!("{name}, {what}"), OURS, unit, samples);
        let seen = watch.delays.len();
        let late = [quantile(&sorted(watch.delays), 0.99).unwrap_or(f64::NAN)];
        let remark = format!("{seen} frames; counted from the first viewer to have each; {threads} threads compute");
        quantities.push(quantity("p99 of added delivery", "ms", late.to_vec()).remark(remark));
        quantities.push(quantity("steps beside those without viewers", "%", watch.slowdowns));
        quantities.push(quantity("memory of the worker", "MB", watch.memory_mb));
    }
    Ok(quantities)
}

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers
}

/// How long a job is, and how many of its steps are seen.
#[derive(Clone, Copy, Debug)]
struct Pace {
    steps: usize,
    every: usize,
}

impl Pace {
    fn job(self, number: usize, preview: &str) -> Value {
        let Self { steps, every } = self;
        json!({
            "model": "tiny", "prompt": "viewers", "seed": number, "width": SIZE, "height": SIZE, "steps": steps,
            "scheduler": "euler", "guidance_scale": 1.0, "preview": { "mode": preview, "every": every },
        })
    }
}

/// What some rounds showed.
#[derive(Debug, Default)]
struct Watch {
    /// Milliseconds by which each frame came later to a viewer than to the first one.
    delays: Vec<f64>,
    slowdowns: Vec<f64>,
    memory_mb: Vec<f64>,
}

/// When the frame of a step came.
type Arrivals = HashMap<u16, Instant>;

impl Watch {
    /// One job without viewers, one behind which viewers gather, and the one that they all follow.
    async fn add(&mut self, worker: &Worker, count: usize, pace: Pace, round: usize) -> anyhow::Result<()> {
        let unwatched = host::draw(worker, &pace.job(3 * round + 2, "none")).await?.denoise_ms()?;
        worker.api().submit(&pace.job(3 * round + 3, "none")).await?;
        let watched = worker.api().submit(&pace.job(3 * round + 4, "none")).await?;
        let mut viewers = JoinSet::new();
        let mut stalled = Vec::new();
        for number in 0..=count {
            let mut socket = Socket::greet(worker).await?;
            follow(&mut socket, &watched.id, pace.every).await?;
            if number == count {
                // It is held open, and nobody reads.
                stalled.push(socket);
            } else {
                viewers.spawn(watch(socket, watched.id.clone()));
            }
        }
        let mut arrivals: Vec<Arrivals> = Vec::new();
        while let Some(seen) = viewers.join_next().await {
            arrivals.push(seen??);
        }
        self.memory_mb.push(memory_mb(worker).await?);
        if let Some(timings) = worker.api().ended(watched.id.as_str()).await?.timings {
            self.slowdowns.push(100.0 * (timings.denoise_ms / unwatched - 1.0));
        }
        let mut first: Arrivals = HashMap::new();
        for (step, at) in arrivals.iter().flatten() {
            let known = first.entry(*step).or_insert(*at);
            *known = (*known).min(*at);
        }
        self.delays.extend(arrivals.iter().flatten().map(|(step, at)| ms(*at - first[step])));
        Ok(())
    }
}

async fn follow(socket: &mut Socket, job: &JobId, every: usize) -> anyhow::Result<()> {
    let frame = json!({
        "type": "attach", "job": job, "after": 0, "preview": { "mode": "latent", "every": every, "dtype": "f16" },
    });
    socket.send_raw(tokio_tungstenite::tungstenite::Message::text(frame.to_string())).await?;
    Ok(())
}

/// Reads all of a job.
async fn watch(mut socket: Socket, job: JobId) -> anyhow::Result<Arrivals> {
    let mut arrivals = HashMap::new();
    loop {
        match socket.next().await? {
            Incoming::Preview(frame) => {
                arrivals.insert(frame.header().step, Instant::now());
            }
            Incoming::Event(frame) if frame.job == job && frame.event.is_terminal() => return Ok(arrivals),
            Incoming::Closed(code) => anyhow::bail!("the worker closed with {code:?}"),
            _ => {}
        }
    }
}

async fn memory_mb(worker: &Worker) -> anyhow::Result<f64> {
    let text = worker.api().get("/metrics").await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("sd_worker_memory_bytes "));
    Ok(line.unwrap_or("0").parse::<f64>()? / 1e6)
}
