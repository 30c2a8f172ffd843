//! Clients that share no code with us: they read the same log, and find nothing that the documents leave out.

mod package;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sd_protocol::JobState;
use sd_tests::proxy::Proxy;
use sd_tests::within;
use sd_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::{quick, with};

/// Longest run of a client that tries many things.
const SURVEY_DEADLINE: Duration = Duration::from_secs(240);

/// What `cargo xtask test` makes for these tests: the value of `variable`, or `place` under `target`.
pub(crate) fn made(variable: &str, place: &str) -> Result<PathBuf> {
    let path = match env::var_os(variable) {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(place),
    };
    ensure!(path.exists(), "{} is missing; `cargo xtask test` makes it where it can", path.display());
    Ok(path)
}

/// The Python environment of the clients.
fn python() -> Result<PathBuf> {
    made("SD_PEERS_PYTHON", "python/peers/bin/python")
}

/// The folder with the packages from npm.
pub(crate) fn node() -> Result<PathBuf> {
    made("SD_PEERS_NODE", "node/peers")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

fn client(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stderr(Stdio::inherit()).kill_on_drop(true);
    command
}

/// Runs a client against a job; returns the durable events that it printed, one JSON object a line.
async fn follow(name: &str, worker: &Worker, job: &str) -> Result<Vec<Value>> {
    let client = client(python()?).arg(script(name)).args([worker.address(), job]).output();
    let output = within("a Python client", client).await??;
    ensure!(output.status.success(), "{name} ended with {}", output.status);
    std::str::from_utf8(&output.stdout)?.lines().map(event).collect()
}

fn event(line: &str) -> Result<Value> {
    serde_json::from_str(line).with_context(|| format!("{line:?} is no JSON"))
}

/// Asserts that these are all durable events of a job, each once and in order.
fn assert_complete(events: &[Value], job: &str) {
    let seen: Vec<_> = events.iter().map(|event| (event["seq"].as_u64(), event["type"].as_str())).collect();
    let complete = ["queued", "started", "image", "succeeded"];
    assert_eq!(seen, (1..).zip(complete).map(|(seq, name)| (Some(seq), Some(name))).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event["job"] == job), "{events:?}");
}

#[tokio::test]
async fn a_websocket_and_an_sse_client_see_the_same_job() -> Result<()> {
    let worker = Worker::start().await?;
    let job = with(quick(), json!({"steps": 30}));
    let id = worker.api().submit(&job).await?.id;
    let (socket, stream) = tokio::join!(
        follow("websocket_client.py", &worker, id.as_str()),
        follow("sse_client.py", &worker, id.as_str()),
    );
    let (socket, stream) = (socket?, stream?);
    assert_eq!(socket, stream);
    assert_complete(&socket, id.as_str());
    Ok(())
}

#[tokio::test]
async fn an_event_source_goes_on_where_its_connection_broke() -> Result<()> {
    let worker = Worker::start().await?;
    let wire = Proxy::start(&worker).await?;
    let job = with(quick(), json!({"steps": 20}));
    let id = worker.api().submit(&job).await?.id;
    let address = wire.url().trim_start_matches("http://").to_owned();
    let mut child = client("node")
        .arg(script("eventsource_client.mjs"))
        .arg(node()?)
        .args([&address, id.as_str()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("the output is a pipe")?).lines();
    let mut events = Vec::new();
    while let Some(line) = within("an event", lines.next_line()).await?? {
        let event = event(&line)?;
        if event["type"] == "started" {
            wire.cut();
            wire.mend();
        }
        events.push(event);
    }
    let status = within("the end of the client", child.wait()).await??;
    assert!(status.success(), "{status}");
    assert_complete(&events, id.as_str());
    Ok(())
}

#[tokio::test]
async fn the_documents_are_what_their_specifications_ask_for() -> Result<()> {
    let worker = Worker::start().await?;
    let check = client(python()?).arg(script("check_documents.py")).arg(worker.address()).arg(node()?).status();
    let status = within("the check of the documents", check).await??;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test]
async fn every_frame_fits_its_typescript_type() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir()?;
    std::fs::copy(root.join("web-client/pkg/protocol.d.ts"), folder.path().join("protocol.d.ts"))?;
    let mut program = String::from("import type { ClientFrame, ServerFrame } from \"./protocol.js\";\n");
    let mut frames = 0;
    for entry in std::fs::read_dir(root.join("protocol/tests/goldens"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a golden has a name")?.to_string_lossy().into_owned();
        let kind = match name.split_once('_') {
            Some(("client", _)) => "ClientFrame",
            Some(("server", _)) => "ServerFrame",
            _ => continue,
        };
        // Written out, so that a field that the type does not know is a fault.
        program.push_str(&format!("export const {name}: {kind} = {};\n", std::fs::read_to_string(&path)?.trim_end()));
        frames += 1;
    }
    ensure!(frames > 20, "only {frames} frames are pinned");
    std::fs::write(folder.path().join("frames.ts"), program)?;
    let compiler = client(node()?.join("node_modules/.bin/tsc"))
        .args(["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "frames.ts"])
        .current_dir(&folder)
        .status();
    let status = within("the TypeScript compiler", compiler).await??;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test]
async fn schemathesis_finds_nothing_that_the_documents_leave_out() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral", "--queue-jobs", "4"]).await?;
    let job = with(quick(), json!({"id": "schemathesis", "steps": 1}));
    let id = worker.api().submit(&job).await?.id;
    assert_eq!(worker.api().ended(id.as_str()).await?.state, JobState::Succeeded);
    let folder = tempfile::tempdir()?;
    let survey = client(python()?)
        .args(["-m", "schemathesis.cli", "run", &format!("{}/openapi.json", worker.url())])
        // Names of models and schedulers are data, so that a request may be well-formed and still be refused; and the
        // hooks lead calls away from the job that a link names, so that a job just made may rightly not be found.
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance,ensure_resource_availability"])
        .args(["--max-examples", "20", "--seed", "1", "--generation-deterministic"])
        .args(["--suppress-health-check", "all", "--warnings", "off", "--no-color", "--request-timeout", "30"])
        .env("SD_PEERS_JOB", id.as_str())
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONPATH", script(""))
        .current_dir(&folder)
        .stdout(Stdio::piped())
        .output();
    let output = tokio::time::timeout(SURVEY_DEADLINE, survey).await.context("schemathesis takes too long")??;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", output.status);
    Ok(())
}
