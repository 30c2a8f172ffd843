//! Every fault gets a code and a sentence, and the next good job works.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use reqwest::StatusCode;
use sd_protocol::{ErrorBody, ErrorCode, JobState, SessionFrame};
use sd_tests::api::expect_error;
use sd_tests::socket::{Incoming, Socket};
use sd_tests::within;
use sd_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{quick, with};

/// A length that no machine here should have to hold: 3 GiB.
const HUGE: u64 = 3 << 30;

async fn next_good_job_works(worker: &Worker) -> Result<()> {
    let view = worker.api().submit(&with(quick(), json!({"steps": 1}))).await?;
    assert_eq!(worker.api().ended(view.id.as_str()).await?.state, JobState::Succeeded);
    Ok(())
}

async fn next_error(socket: &mut Socket) -> Result<ErrorBody> {
    socket
        .take("an error", |incoming| match incoming {
            Incoming::Session(SessionFrame::Error { error, .. }) => Some(error.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_body_that_is_no_json() -> Result<()> {
    let worker = Worker::start().await?;
    for body in
        ["", "{", "{\"prompt\": \"x\"", "[]", "\"prompt\"", "null", "\u{0}\u{1}", "{\"prompt\": \"x\"} trailing"]
    {
        let response = worker.api().post("/v1/jobs", body).await?;
        expect_error(response, StatusCode::BAD_REQUEST, ErrorCode::MalformedJson)
            .await
            .with_context(|| format!("{body:?}"))?;
    }
    next_good_job_works(&worker).await
}

async fn check_faults(worker: &Worker, job: Value, fields: &[&str]) -> Result<()> {
    let response = worker.api().post("/v1/jobs", job.to_string()).await?;
    let error = expect_error(response, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    let found: BTreeSet<_> = error.details.iter().map(|detail| detail.field.as_str()).collect();
    assert_eq!(found, fields.iter().copied().collect(), "{job} → {error:?}");
    assert!(error.details.iter().all(|detail| !detail.message.is_empty()));
    Ok(())
}

#[tokio::test]
async fn every_fault_of_a_job_is_named_at_once() -> Result<()> {
    let worker = Worker::start().await?;
    for (field, value) in [
        ("width", json!(513)),
        ("width", json!(0)),
        ("height", json!(1_000_000)),
        ("height", json!(-8)),
        ("steps", json!(0)),
        ("steps", json!(2.5)),
        ("scheduler", json!("no such scheduler")),
        ("sigmas", json!("no such spacing")),
        ("model", json!("../../etc/passwd")),
        ("guidance_scale", json!(-1)),
        ("guidance_scale", json!(1e9)),
        ("seed", json!(1u64 << 53)),
        ("batch_size", json!(0)),
        ("eta", json!(2)),
        ("prompt", json!(7)),
        ("prompt", json!("x".repeat(20_000))),
        ("id", json!("no/such/id")),
        ("preview.every", json!(null)),
        ("no_such_field", json!(1)),
    ] {
        let job = match field {
            "preview.every" => with(quick(), json!({"preview": {"every": 0}})),
            _ => with(quick(), json!({field: value})),
        };
        check_faults(&worker, job, &[field]).await.with_context(|| format!("{field}: {value}"))?;
    }
    check_faults(&worker, json!({}), &["prompt"]).await?;
    let all = json!({"prompt": "x", "width": 513, "steps": 0, "scheduler": "no such scheduler", "no_such_field": 1});
    check_faults(&worker, all, &["no_such_field", "scheduler", "steps", "width"]).await?;
    next_good_job_works(&worker).await
}

#[tokio::test]
async fn a_huge_declared_body_is_refused_unread() -> Result<()> {
    let worker = Worker::start().await?;
    let mut tcp = TcpStream::connect(worker.address()).await?;
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {HUGE}\r\n\r\n{{",
        worker.address()
    );
    tcp.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    // The end of the connection, too: the worker cannot use it any more without reading what was announced.
    within("an answer and the end", tcp.read_to_string(&mut answer)).await??;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"too_large\""), "{answer}");
    next_good_job_works(&worker).await
}

#[tokio::test]
async fn a_large_body_is_refused() -> Result<()> {
    let worker = Worker::start().await?;
    let body = json!({"prompt": "x".repeat(2 << 20)}).to_string();
    let response = worker.api().post("/v1/jobs", body).await?;
    expect_error(response, StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge).await?;
    next_good_job_works(&worker).await
}

#[tokio::test]
async fn a_huge_declared_frame_closes_with_1009() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    // A final binary frame, masked, with a 64-bit length, and only the first bytes of what it announces.
    let mut frame = vec![0x82, 0xff];
    frame.extend(HUGE.to_be_bytes());
    frame.extend([1, 2, 3, 4]);
    frame.extend([0; 64]);
    socket.tcp().write_all(&frame).await?;
    let rest = socket.rest().await?;
    assert!(matches!(rest.last(), Some(Incoming::Closed(Some(1009)))), "{rest:?}");
    next_good_job_works(&worker).await
}

#[tokio::test]
async fn noise_is_answered_and_the_socket_lives() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let frames = [
        (Message::binary(noise), ErrorCode::UnknownFrame),
        (Message::binary(Vec::new()), ErrorCode::UnknownFrame),
        (Message::binary(b"SD\x01\x01".as_slice()), ErrorCode::UnknownFrame),
        (Message::text("{"), ErrorCode::MalformedJson),
        (Message::text("[]"), ErrorCode::UnknownFrame),
        (Message::text("{\"type\": \"dance\"}"), ErrorCode::UnknownFrame),
        (Message::text("{\"type\": \"submit\"}"), ErrorCode::InvalidRequest),
        (Message::text("{\"type\": \"cancel\", \"job\": \"no/such/id\"}"), ErrorCode::InvalidRequest),
        (Message::text("{\"type\": \"cancel\", \"job\": \"nobody\"}"), ErrorCode::JobNotFound),
        (Message::text("{\"type\": \"attach\", \"job\": \"nobody\"}"), ErrorCode::JobNotFound),
        (Message::text("{\"type\": \"hello\", \"client\": \"again\"}"), ErrorCode::UnexpectedHello),
    ];
    for (tag, (frame, code)) in (0..).zip(frames) {
        let sent = format!("{frame:?}");
        socket.send_raw(frame).await?;
        let error = next_error(&mut socket).await.with_context(|| sent.clone())?;
        assert_eq!(error.code, code, "{sent} → {error:?}");
        assert!(!error.message.is_empty(), "{code:?} comes without a sentence");
        let job = socket.submit(tag, &with(quick(), json!({"steps": 1, "width": 64, "height": 64}))).await?;
        let log = socket.log(&job.view.id).await?;
        assert_eq!(log.last().map(|frame| frame.event.name()), Some("succeeded"), "after {sent}");
    }
    Ok(())
}
