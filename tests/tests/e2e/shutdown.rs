//! A stopping worker leaves no reader hanging and no job undecided.

use anyhow::{Context, Result};
use sd_protocol::{ErrorCode, Event, EventFrame, JobState};
use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::Worker;
use serde_json::json;

use crate::{long, quick, with};

#[tokio::test]
async fn sigterm_ends_every_stream_and_job() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_in(&folder).await?;
    let mut socket = Socket::greet(&worker).await?;
    let mut idle = Socket::greet(&worker).await?;
    let running = socket.submit(0, &long()).await?.view.id;
    let waiting = socket.submit(1, &with(long(), json!({"seed": 8}))).await?.view.id;
    let mut events = worker.api().events(running.as_str(), "").await?;
    socket
        .take("progress", |incoming| match incoming {
            Incoming::Event(EventFrame { event: Event::Progress { .. }, .. }) => Some(()),
            _ => None,
        })
        .await?;
    worker.terminate().await?;

    let streamed = events.rest().await?;
    let last = streamed.last().and_then(|event| event.frame.clone()).context("the stream ended without an event")?;
    assert!(last.event.is_terminal(), "{last:?}");
    let rest = socket.rest().await?;
    assert!(matches!(rest.last(), Some(Incoming::Closed(Some(1001)))), "{rest:?}");
    for job in [&running, &waiting] {
        let ends = rest.iter().filter(
            |incoming| matches!(incoming, Incoming::Event(frame) if frame.job == *job && frame.event.is_terminal()),
        );
        assert_eq!(ends.count(), 1, "{job} has one end on the socket: {rest:?}");
    }
    let rest = idle.rest().await?;
    assert!(matches!(rest.last(), Some(Incoming::Closed(Some(1001)))), "{rest:?}");
    let status = worker.exit_status().await?;
    assert!(status.success(), "{status}");

    let next = Worker::start_in(&folder).await?;
    for job in [&running, &waiting] {
        let view = next.api().view(job.as_str()).await?;
        assert_eq!((view.state, view.error.map(|error| error.code)), (JobState::Failed, Some(ErrorCode::ShuttingDown)));
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_worker_decides_its_jobs_at_the_next_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_in(&folder).await?;
    let done = worker.api().ended(worker.api().submit(&quick()).await?.id.as_str()).await?;
    let picture = worker.api().picture(&done).await?;
    let running = worker.api().submit(&long()).await?.id;
    let waiting = worker.api().submit(&with(long(), json!({"seed": 8}))).await?.id;
    worker.kill().await?;

    let worker = Worker::start_in(&folder).await?;
    let api = worker.api();
    assert_eq!(api.view(done.id.as_str()).await?, done);
    assert_eq!(api.picture(&done).await?, picture);
    for job in [running, waiting] {
        let log = api.events(job.as_str(), "").await?.rest().await?;
        let last = log.last().and_then(|event| event.frame.clone()).context("the log is empty")?;
        let Event::Failed { error } = last.event else { panic!("{job} ended with {:?}", last.event) };
        assert_eq!(error.code, ErrorCode::Interrupted);
        assert_eq!(api.view(job.as_str()).await?.state, JobState::Failed);
    }
    Ok(())
}
