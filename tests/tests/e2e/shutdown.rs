//! A stopping worker leaves no reader hanging and no job undecided.

use anyhow::{Context, Result};
use sd_protocol::{ErrorCode, Event, EventFrame, JobId, JobState};
use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::Worker;
use serde_json::json;

use crate::{long, quick, with};

async fn wait_for_progress(socket: &mut Socket) -> Result<()> {
    socket
        .take("progress", |incoming| match incoming {
            Incoming::Event(EventFrame { event: Event::Progress { .. }, .. }) => Some(()),
            _ => None,
        })
        .await
}

/// The numbered events of a job among what a socket brought.
fn durable(rest: &[Incoming], job: &JobId) -> Vec<Event> {
    let of_job = |incoming: &Incoming| match incoming {
        Incoming::Event(frame) if frame.job == *job && frame.seq.is_some() => Some(frame.event.clone()),
        _ => None,
    };
    rest.iter().filter_map(of_job).collect()
}

fn is_going_away(rest: &[Incoming]) -> bool {
    matches!(rest.last(), Some(Incoming::Closed(Some(1001))))
}

#[tokio::test]
async fn sigterm_leaves_unfinished_jobs_to_the_next_worker() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_with(&folder, &["--drain-seconds", "0"]).await?;
    let mut socket = Socket::greet(&worker).await?;
    let mut idle = Socket::greet(&worker).await?;
    let running = socket.submit(0, &long()).await?.view.id;
    let waiting = socket.submit(1, &with(quick(), json!({"seed": 8}))).await?.view.id;
    let mut events = worker.api().events(running.as_str(), "").await?;
    wait_for_progress(&mut socket).await?;
    worker.terminate().await?;

    let streamed = events.rest().await?;
    let last =
        streamed.iter().rev().find_map(|event| event.frame.clone()).context("the stream ended without an event")?;
    assert!(matches!(last, EventFrame { seq: Some(3), event: Event::Queued { .. }, .. }), "{last:?}");
    let rest = socket.rest().await?;
    assert!(is_going_away(&rest), "{rest:?}");
    assert!(matches!(durable(&rest, &running).last(), Some(Event::Queued { .. })), "{rest:?}");
    let rest = idle.rest().await?;
    assert!(is_going_away(&rest), "{rest:?}");
    let status = worker.exit_status().await?;
    assert!(status.success(), "{status}");

    let next = Worker::start_in(&folder).await?;
    let api = next.api();
    assert!(!api.view(running.as_str()).await?.state.is_terminal());
    api.cancel(running.as_str()).await?;
    assert_eq!(api.ended(running.as_str()).await?.state, JobState::Canceled);
    assert_eq!(api.ended(waiting.as_str()).await?.state, JobState::Succeeded);
    Ok(())
}

#[tokio::test]
async fn sigterm_waits_for_the_job_at_hand() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let running = socket.submit(0, &with(quick(), json!({"steps": 40}))).await?.view.id;
    let waiting = socket.submit(1, &quick()).await?.view.id;
    wait_for_progress(&mut socket).await?;
    worker.terminate().await?;
    let rest = socket.rest().await?;
    assert!(is_going_away(&rest), "{rest:?}");
    assert!(matches!(durable(&rest, &running).last(), Some(Event::Succeeded { .. })), "{rest:?}");
    // Nothing is kept, so that nobody could draw it later.
    let Some(Event::Failed { error }) = durable(&rest, &waiting).pop() else { panic!("{rest:?}") };
    assert_eq!(error.code, ErrorCode::ShuttingDown);
    assert!(worker.exit_status().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_killed_worker_decides_its_jobs_at_the_next_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_in(&folder).await?;
    let api = worker.api();
    let done = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    let picture = api.picture(&done).await?;
    let running = api.submit(&long()).await?.id;
    let waiting = api.submit(&with(quick(), json!({"seed": 8}))).await?.id;
    let mut events = api.events(running.as_str(), "?preview=none").await?;
    while events.next().await?.context("the job has begun")?.name != "progress" {}
    worker.kill().await?;

    let worker = Worker::start_with(&folder, &["--on-crash", "fail"]).await?;
    let api = worker.api();
    assert_eq!(api.view(done.id.as_str()).await?, done);
    assert_eq!(api.picture(&done).await?, picture);
    let interrupted = api.ended(running.as_str()).await?;
    assert_eq!(interrupted.error.map(|error| error.code), Some(ErrorCode::Interrupted));
    assert_eq!(api.ended(waiting.as_str()).await?.state, JobState::Succeeded, "it had not begun");
    Ok(())
}
