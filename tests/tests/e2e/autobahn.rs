//! The fuzzing client of the Autobahn test suite against the worker's socket.
//!
//! The suite takes a server for one that echoes every message, which this one does not: it answers a message that is
//! no frame of the protocol with an error. So the cases here are those in which no whole message reaches the server:
//! pings, reserved bits and opcodes, broken fragments, broken UTF-8, and all that closes a connection. What happens to
//! messages is for [`crate::framing`] to prove.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sd_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::peers::made;

/// Longest run: most cases leave the server a second to do something wrong.
const DEADLINE: Duration = Duration::from_secs(240);

const CASES: &[&str] = &[
    "2.*", "3.1", "3.5", "3.6", "3.7", "4.1.1", "4.1.2", "4.2.1", "4.2.2", "5.1", "5.2", "5.9", "5.10", "5.11", "5.12",
    "5.13", "5.14", "6.3.*", "6.4.*", "7.3.*", "7.5.1", "7.7.*", "7.9.*", "7.13.*",
];

#[tokio::test]
async fn the_fuzzing_client_finds_no_fault() -> Result<()> {
    let worker = Worker::start().await?;
    let folder = tempfile::tempdir()?;
    let specification = folder.path().join("fuzzingclient.json");
    let server = json!({"agent": "worker", "url": format!("ws://{}/v1/ws", worker.address())});
    let wanted = json!({"outdir": folder.path(), "servers": [server], "cases": CASES, "exclude-cases": []});
    std::fs::write(&specification, wanted.to_string())?;
    let suite = made("SD_PEERS_AUTOBAHN", "python/autobahn")?;
    let client = Command::new(suite.join("bin/python"))
        .args(["-W", "ignore", "-m", "autobahntestsuite.wstest", "--mode", "fuzzingclient", "--spec"])
        .arg(&specification)
        .env("PYTHONUSERBASE", suite)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status();
    let status = tokio::time::timeout(DEADLINE, client).await.context("the fuzzing client takes too long")??;
    assert!(status.success(), "{status}");
    check(&folder.path().join("index.json"))
}

fn check(report: &Path) -> Result<()> {
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report)?)?;
    let cases = report["worker"].as_object().context("the report has no worker")?;
    ensure!(cases.len() == 64, "{} cases ran", cases.len());
    let is_fine = |behavior: &Value| ["OK", "NON-STRICT", "INFORMATIONAL"].iter().any(|fine| behavior == fine);
    let faults: Vec<_> =
        cases.iter().filter(|(_, case)| !is_fine(&case["behavior"]) || !is_fine(&case["behaviorClose"])).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    Ok(())
}
