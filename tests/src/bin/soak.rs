//! `cargo xtask soak`: the soak at full length, against the worker in `SD_WORKER_BIN`.

use std::time::Duration;

use anyhow::Context;
use sd_tests::soak::{Plan, soak};
use sd_tests::worker::Worker;

/// Time between two lines of progress.
const PROGRESS_SECONDS: u64 = 15;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let minutes = std::env::args().nth(1).context("say how many minutes")?;
    let minutes: f64 = minutes.parse().with_context(|| format!("{minutes:?} is no number of minutes"))?;
    let duration = Duration::from_secs_f64(minutes * 60.0);
    println!("{minutes} minutes of jobs, and then until the last viewer has seen the last of them …");
    let worker = Worker::start().await?;
    let plan = Plan { duration, sockets: 64, streams: 64, unruly: 10, stall_max: Duration::from_secs(45) };
    let report = soak(&worker, plan, |sample| {
        if sample.time.as_secs().is_multiple_of(PROGRESS_SECONDS) {
            println!("{sample}");
        }
    });
    let report = report.await?;
    println!("{report}");
    report.verify()
}
