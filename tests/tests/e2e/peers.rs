//! Clients from PyPI that share no code with us read the same log.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use sd_tests::within;
use sd_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{quick, with};

/// The Python of the environment that `cargo xtask test` makes.
fn python() -> Result<PathBuf> {
    let path = match env::var_os("SD_PEERS_PYTHON") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/peers/bin/python"),
    };
    ensure!(path.exists(), "{} is missing; `cargo xtask test` makes it where it can", path.display());
    Ok(path)
}

/// Runs a client against a job; returns the durable events that it printed, one JSON object a line.
async fn follow(script: &str, worker: &Worker, job: &str) -> Result<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script);
    let client = Command::new(python()?)
        .arg(&script)
        .args([worker.address(), job])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = within("a Python client", client).await??;
    ensure!(output.status.success(), "{} ended with {}", script.display(), output.status);
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    lines.map(|line| serde_json::from_str(line).with_context(|| format!("{line:?} is no JSON"))).collect()
}

#[tokio::test]
async fn a_websocket_and_an_sse_client_see_the_same_job() -> Result<()> {
    let worker = Worker::start().await?;
    let job = with(quick(), json!({"width": 256, "height": 256, "steps": 30}));
    let id = worker.api().submit(&job).await?.id;
    let (socket, stream) = tokio::join!(
        follow("websocket_client.py", &worker, id.as_str()),
        follow("sse_client.py", &worker, id.as_str()),
    );
    let (socket, stream) = (socket?, stream?);
    assert_eq!(socket, stream);
    let seen: Vec<_> = socket.iter().map(|event| (event["seq"].as_u64(), event["type"].as_str())).collect();
    let complete = ["queued", "started", "image", "succeeded"];
    assert_eq!(seen, (1..).zip(complete).map(|(seq, name)| (Some(seq), Some(name))).collect::<Vec<_>>());
    assert!(socket.iter().all(|event| event["job"] == id.as_str()), "{socket:?}");
    Ok(())
}
