//! Many jobs on one socket, previews, attach.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, ensure};
use sd_protocol::{
    ClientFrame, Element, ErrorCode, Event, EventFrame, JobId, JobState, PROTOCOL_VERSION, PreviewFrame, SessionFrame,
};
use sd_tests::socket::{Followed, Incoming, Socket};
use sd_tests::worker::Worker;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::{long, quick, with};

fn names(log: &[EventFrame]) -> Vec<&'static str> {
    log.iter().map(|frame| frame.event.name()).collect()
}

#[tokio::test]
async fn welcome_says_what_will_be_accepted() -> Result<()> {
    let worker = Worker::start().await?;
    let SessionFrame::Welcome { protocol, server, catalogue, .. } = Socket::connect(&worker).await?.hello().await?
    else {
        panic!("hello was not answered with welcome");
    };
    assert_eq!(protocol, PROTOCOL_VERSION);
    assert!(server.starts_with("sd-worker/"), "{server}");
    assert_eq!(catalogue.models[0].preview.rows.len(), usize::from(catalogue.models[0].latent_channels));
    Ok(())
}

#[tokio::test]
async fn several_jobs_share_a_socket() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let mut jobs: Vec<Followed> = Vec::new();
    for tag in 0..4 {
        jobs.push(socket.submit(tag, &with(quick(), json!({"seed": tag}))).await?);
    }
    let handles: BTreeSet<_> = jobs.iter().map(|job| job.handle).collect();
    assert_eq!(handles.len(), 4, "each job has its own handle");
    for job in &jobs {
        let log = socket.log(&job.view.id).await?;
        assert_eq!(names(&log), ["queued", "started", "image", "succeeded"]);
        let seqs: Vec<_> = log.iter().filter_map(|frame| frame.seq).collect();
        assert_eq!(seqs, [1, 2, 3, 4]);
    }
    Ok(())
}

#[tokio::test]
async fn previews_rise_to_the_last_step() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    for (tag, dtype, element) in [(0, "f16", Element::F16), (1, "u8", Element::U8)] {
        let job = with(quick(), json!({"steps": 12, "width": 192, "preview": {"dtype": dtype}}));
        let job = socket.submit(tag, &job).await?;
        let mut previews: Vec<PreviewFrame> = Vec::new();
        let mut progress = Vec::new();
        loop {
            let incoming = socket.take("news", |incoming| Some(incoming.clone())).await?;
            match incoming {
                Incoming::Preview(frame) => previews.push(frame),
                Incoming::Event(EventFrame { event: Event::Progress { step, steps, .. }, seq, .. }) => {
                    assert_eq!((steps, seq), (12, None));
                    progress.push(step);
                }
                Incoming::Event(frame) if frame.event.is_terminal() => break,
                _ => {}
            }
        }
        let steps: Vec<_> = previews.iter().map(|frame| frame.header().step).collect();
        assert!(steps.is_sorted_by(|a, b| a < b) && steps.len() >= 3, "{steps:?}");
        assert_eq!(steps.last(), Some(&12));
        assert!(progress.is_sorted_by(|a, b| a < b), "{progress:?}");
        for frame in &previews {
            let header = frame.header();
            assert_eq!((header.handle, header.element, header.steps), (job.handle, element, 12));
            assert_eq!((header.width, header.height), (24, 16));
            assert_eq!(header.last, header.step == 12);
            assert!(frame.values().iter().all(|value| value.is_finite()));
        }
        let distinct: BTreeSet<_> = previews.iter().map(|frame| frame.payload().to_vec()).collect();
        assert_eq!(distinct.len(), previews.len(), "every preview is of another step");
    }
    Ok(())
}

#[tokio::test]
async fn previews_can_be_fewer_or_none() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    for (tag, preview, allowed) in
        [(0, json!({"every": 5}), vec![5, 10, 12]), (1, json!({"mode": "none"}), Vec::<u16>::new())]
    {
        let job = socket.submit(tag, &with(quick(), json!({"steps": 12, "preview": preview}))).await?;
        let mut seen = Vec::new();
        loop {
            match socket.take("news", |incoming| Some(incoming.clone())).await? {
                Incoming::Preview(frame) => seen.push(frame.header().step),
                Incoming::Event(frame) if frame.event.is_terminal() && frame.job == job.view.id => break,
                _ => {}
            }
        }
        assert!(seen.iter().all(|step| allowed.contains(step)), "{seen:?} of {allowed:?}");
        assert_eq!(seen.last(), allowed.last());
    }
    Ok(())
}

#[tokio::test]
async fn cancel_ends_a_waiting_and_a_running_job() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let running = socket.submit(0, &long()).await?.view.id;
    let waiting = socket.submit(1, &with(long(), json!({"seed": 8}))).await?.view.id;
    wait_for_progress(&mut socket, &running).await?;

    socket.send(&ClientFrame::Cancel { job: waiting.clone() }).await?;
    assert_eq!(names(&socket.log(&waiting).await?), ["queued", "canceled"]);
    assert_eq!(worker.api().view(running.as_str()).await?.state, JobState::Running);

    let asked = Instant::now();
    socket.send(&ClientFrame::Cancel { job: running.clone() }).await?;
    assert_eq!(names(&socket.log(&running).await?), ["queued", "started", "canceled"]);
    let view = worker.api().view(running.as_str()).await?;
    println!("canceled {:?} after it was asked, at step {} of {}", asked.elapsed(), view.step, view.steps);
    assert!(view.step < view.steps, "nothing was left to cancel");

    socket.send(&ClientFrame::Cancel { job: running }).await?;
    let next = socket.submit(2, &quick()).await?.view.id;
    assert_eq!(names(&socket.log(&next).await?), ["queued", "started", "image", "succeeded"]);
    Ok(())
}

async fn wait_for_progress(socket: &mut Socket, job: &JobId) -> Result<()> {
    socket
        .take("progress", |incoming| match incoming {
            Incoming::Event(EventFrame { job: of, event: Event::Progress { .. }, .. }) if of == job => Some(()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn attach_replays_exactly_what_is_missing() -> Result<()> {
    let worker = Worker::start().await?;
    let id = worker.api().submit(&quick()).await?.id;
    let mut first = Socket::greet(&worker).await?;
    first.attach(&id, 0).await?;
    let whole = first.log(&id).await?;
    assert_eq!(names(&whole), ["queued", "started", "image", "succeeded"]);
    for after in 0..4 {
        let mut socket = Socket::greet(&worker).await?;
        let followed = socket.attach(&id, after).await?;
        assert_eq!((followed.view.state, followed.view.last_seq), (JobState::Succeeded, 4));
        assert_eq!(socket.log(&id).await?, whole[after as usize..], "after {after}");
    }
    Ok(())
}

#[tokio::test]
async fn attach_in_the_middle_shows_previews_at_once() -> Result<()> {
    let worker = Worker::start().await?;
    let mut submitter = Socket::greet(&worker).await?;
    let job = submitter.submit(0, &long()).await?.view.id;
    wait_for_progress(&mut submitter, &job).await?;

    let mut other = Socket::greet(&worker).await?;
    let followed = other.attach(&job, 2).await?;
    assert_eq!(followed.view.state, JobState::Running);
    let preview = other.take("a preview", |incoming| match incoming {
        Incoming::Preview(frame) => Some(frame.clone()),
        _ => None,
    });
    assert_eq!(preview.await?.header().handle, followed.handle);
    other.send(&ClientFrame::Cancel { job: job.clone() }).await?;
    assert_eq!(names(&other.log(&job).await?), ["canceled"]);
    assert_eq!(names(&submitter.log(&job).await?), ["queued", "started", "canceled"]);
    Ok(())
}

#[tokio::test]
async fn detach_is_silence() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let job = socket.submit(0, &long()).await?.view.id;
    wait_for_progress(&mut socket, &job).await?;
    socket.send(&ClientFrame::Detach { job: job.clone() }).await?;
    // The answer to this comes after the detach; whatever comes later is no news of the job.
    let next = socket.submit(1, &quick()).await?.view.id;
    worker.api().cancel(job.as_str()).await?;
    let is_news = |incoming: &Incoming| matches!(incoming, Incoming::Event(frame) if frame.job == job);
    let mut after_next_started = false;
    loop {
        let incoming = socket.take("news", |incoming| Some(incoming.clone())).await?;
        if let Incoming::Event(frame) = &incoming
            && frame.job == next
        {
            after_next_started = true;
            if frame.event.is_terminal() {
                break;
            }
        }
        ensure!(!(after_next_started && is_news(&incoming)), "news after detach: {incoming:?}");
    }
    assert_eq!(worker.api().ended(job.as_str()).await?.state, JobState::Canceled);
    Ok(())
}

#[tokio::test]
async fn a_rejected_submit_keeps_its_tag() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    for (tag, job) in
        [(5, json!({"prompt": "x", "steps": 0})), (6, json!("no job")), (7, json!({"prompt": "x", "odd": 1}))]
    {
        socket.send_raw(Message::text(json!({"type": "submit", "tag": tag, "job": job}).to_string())).await?;
        let rejected = socket.take("rejected", |incoming| match incoming {
            Incoming::Session(SessionFrame::Rejected { tag, error }) => Some((*tag, error.code)),
            _ => None,
        });
        let (of, code) = rejected.await?;
        assert_eq!(of, tag);
        assert!(matches!(code, ErrorCode::InvalidRequest | ErrorCode::MalformedJson), "{code:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_job_outlives_its_socket() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let id = socket.submit(0, &quick()).await?.view.id;
    drop(socket);
    assert_eq!(worker.api().ended(id.as_str()).await?.state, JobState::Succeeded);
    Ok(())
}
