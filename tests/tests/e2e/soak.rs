//! The soak in short: `cargo xtask soak` is the long one.

use std::time::Duration;

use anyhow::Result;
use sd_tests::soak::{Plan, soak};
use sd_tests::worker::Worker;

#[tokio::test]
async fn unruly_viewers_harm_nobody() -> Result<()> {
    let worker = Worker::start().await?;
    let (duration, stall_max) = (Duration::from_secs(15), Duration::from_secs(2));
    let report = soak(&worker, Plan { duration, sockets: 12, streams: 12, unruly: 10, stall_max }, |_| ()).await?;
    println!("{report}");
    report.verify()
}
