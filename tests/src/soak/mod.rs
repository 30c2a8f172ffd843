//! Many viewers of a stream of jobs, some of them unruly, and what the worker keeps of its promises meanwhile.
//!
//! | module | what it holds |
//! |---|---|
//! | [`viewer`] | one viewer: follows job after job over one transport, calmly or not |
//! | [`report`] | what was seen, and whether it is what was promised |
//!
//! One task keeps a few jobs waiting; every viewer follows the newest job to its end and then the next. Once a second the
//! worker's own metrics are read.

pub mod report;
pub mod viewer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sd_protocol::{ErrorCode, ErrorEnvelope, JobId, JobView};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::report::{Report, Sample};
use self::viewer::{Manner, Seen, Viewer, Wire};
use crate::api::Api;
use crate::worker::Worker;

/// Jobs that are kept unfinished, so that the engine never rests.
const UNFINISHED_JOBS: usize = 3;
/// Time between two looks at the metrics.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Time in which new jobs come.
    pub duration: Duration,
    /// Viewers on WebSockets.
    pub sockets: usize,
    /// Viewers on event streams.
    pub streams: usize,
    /// How many of all of them stall, reconnect or vanish.
    pub unruly: usize,
    /// Longest time that a stalling viewer does not read.
    pub stall_max: Duration,
}

/// What viewers look at: the newest job, until no more come.
pub(crate) type Board = watch::Receiver<Option<JobId>>;

/// Runs it all; `looked` is told what every look at the metrics found.
///
/// # Errors
/// When a viewer sees what it must not, or the worker does not answer.
pub async fn soak(worker: &Worker, plan: Plan, looked: impl Fn(&Sample)) -> anyhow::Result<Report> {
    let address: Arc<str> = worker.address().into();
    let started = Instant::now();
    let (board, newest) = watch::channel(None);
    let mut viewers = JoinSet::new();
    for (number, wire) in
        (0..plan.sockets).map(|n| (n, Wire::Socket)).chain((0..plan.streams).map(|n| (n, Wire::Stream)))
    {
        // The unruly ones are on both wires.
        let manner = if number < plan.unruly / 2 { Manner::unruly(number) } else { Manner::Calm };
        let viewer = Viewer { address: Arc::clone(&address), wire, manner, stall_max: plan.stall_max };
        viewers.spawn(viewer.watch(newest.clone()));
    }
    drop(newest);

    let (samples, jobs) =
        tokio::join!(sample(worker.api(), started, plan.duration, looked), submit(worker.api(), board, plan.duration));
    let (samples, jobs) = (samples?, jobs?);
    let mut seen = Seen::default();
    while let Some(ended) = viewers.join_next().await {
        seen.add(&ended.context("a viewer panicked")??);
    }
    Ok(Report { duration: started.elapsed(), plan, jobs, seen, samples })
}

/// Keeps a few jobs waiting for `duration` and sees all of them to their ends.
async fn submit(api: &Api, board: watch::Sender<Option<JobId>>, duration: Duration) -> anyhow::Result<Vec<JobView>> {
    let started = Instant::now();
    let mut submitted: Vec<JobId> = Vec::new();
    let mut ended = Vec::new();
    for number in 0_u32.. {
        if started.elapsed() >= duration {
            break;
        }
        let job = json!({
            "prompt": "a white house in green hills at night", "width": 128, "height": 128, "steps": 8 + number % 17,
            "seed": number, "batch_size": 1 + number % 3 / 2,
        });
        let answer = api.post("/v1/jobs", job.to_string()).await?;
        if !answer.status().is_success() {
            let ErrorEnvelope { error } = answer.json().await?;
            anyhow::ensure!(error.code == ErrorCode::QueueFull, "a job was refused: {error:?}");
            continue;
        }
        let view: JobView = answer.json().await?;
        submitted.push(view.id.clone());
        board.send_replace(Some(view.id));
        if submitted.len() - ended.len() >= UNFINISHED_JOBS {
            ended.push(api.ended(submitted[ended.len()].as_str()).await?);
        }
    }
    for id in &submitted[ended.len()..] {
        ended.push(api.ended(id.as_str()).await?);
    }
    Ok(ended)
}

async fn sample(
    api: &Api,
    started: Instant,
    duration: Duration,
    looked: impl Fn(&Sample),
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    while started.elapsed() < duration {
        ticks.tick().await;
        let text = api.get("/metrics").await?.error_for_status()?.text().await?;
        let sample = Sample::read(started.elapsed(), &text)?;
        looked(&sample);
        samples.push(sample);
    }
    Ok(samples)
}
