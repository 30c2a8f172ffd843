//! What the web and the network can be made to do to a worker.

use anyhow::{Context, Result};
use reqwest::{Method, Response, StatusCode};
use sd_protocol::{ErrorCode, SessionFrame};
use sd_tests::api::expect_error;
use sd_tests::socket::{Incoming, Socket};
use sd_tests::within;
use sd_tests::worker::Worker;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{quick, with};

/// The headers with which a browser opens a socket.
const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn expect_forbidden(response: Response, code: ErrorCode) -> Result<()> {
    expect_error(response, StatusCode::FORBIDDEN, code).await.map(drop)
}

#[tokio::test]
async fn a_rebound_name_reaches_nothing() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral", "--allowed-host", "draw.example.org"]).await?;
    let api = worker.api();
    for path in ["/", "/health", "/v1/jobs", "/v1/ws"] {
        expect_forbidden(api.get_with(path, &[("host", "evil.example:8484")]).await?, ErrorCode::HostNotAllowed)
            .await?;
    }
    for host in ["localhost:8484", "127.0.0.1", "[::1]:8484", "draw.example.org", "DRAW.example.org:8484"] {
        assert_eq!(api.get_with("/v1/jobs", &[("host", host)]).await?.status(), StatusCode::OK, "{host}");
    }
    let mut tcp = TcpStream::connect(worker.address()).await?;
    let lines = "GET http://evil.example/v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tcp.write_all(lines.as_bytes()).await?;
    let mut answer = String::new();
    within("an answer", tcp.read_to_string(&mut answer)).await??;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral", "--cors-origin", "https://app.example.org"]).await?;
    let (api, own) = (worker.api(), worker.url());
    let with_origin = |origin: &'static str| [&UPGRADE[..], &[("origin", origin)]].concat();
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        for (method, path) in
            [(Method::POST, "/v1/jobs"), (Method::POST, "/v1/uploads"), (Method::DELETE, "/v1/jobs/a")]
        {
            let answer = api.request(method.clone(), path, &[("origin", origin)]).await?;
            expect_forbidden(answer, ErrorCode::OriginNotAllowed).await.with_context(|| format!("{method} {path}"))?;
        }
        let upgrade = api.get_with("/v1/ws", &with_origin(origin)).await?;
        expect_forbidden(upgrade, ErrorCode::OriginNotAllowed).await?;
        let read = api.get_with("/v1/jobs", &[("origin", origin)]).await?;
        assert_eq!(read.headers().get("access-control-allow-origin"), None, "its answer may be read by {origin}");
    }
    for origin in [own.as_str(), "https://app.example.org"] {
        Socket::connect_with(worker.address(), "", &[("origin", origin)]).await?.hello().await?;
        let missing = api.request(Method::DELETE, "/v1/jobs/a", &[("origin", origin)]).await?;
        expect_error(missing, StatusCode::NOT_FOUND, ErrorCode::JobNotFound).await?;
    }
    let listed = api.get_with("/v1/jobs", &[("origin", "https://app.example.org")]).await?;
    assert_eq!(listed.headers()["access-control-allow-origin"], "https://app.example.org");
    Ok(())
}

#[tokio::test]
async fn answers_say_how_a_browser_may_use_them() -> Result<()> {
    let (closed, listed) =
        (Worker::spawn(&["--ephemeral"]).await?, ["--ephemeral", "--cors-origin", "https://a.example"]);
    let listed = Worker::spawn(&listed).await?;
    for (worker, embedding) in [(&closed, "same-origin"), (&listed, "cross-origin")] {
        for path in ["/", "/v1/jobs", "/v1/jobs/nobody", "/no/such/file"] {
            let answer = worker.api().get(path).await?;
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
            assert_eq!(answer.headers()["referrer-policy"], "no-referrer", "{path}");
            assert_eq!(answer.headers()["cross-origin-resource-policy"], embedding, "{path}");
        }
    }
    let page = closed.api().get("/").await?;
    assert!(page.headers()["content-security-policy"].to_str()?.starts_with("default-src 'none'"));
    assert_eq!(
        closed.api().get_with("/v1/jobs", &[("origin", "https://a.example")]).await?.headers().get("vary"),
        None
    );
    Ok(())
}

#[tokio::test]
async fn no_path_leaves_the_pages_folder() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral"]).await?;
    for path in [
        "/../Cargo.toml",
        "/..%2fCargo.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/v1/jobs/..%2f..%2fetc/images/0",
    ] {
        // Written by hand, because a client would tidy the path.
        let mut tcp = TcpStream::connect(worker.address()).await?;
        let lines = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        tcp.write_all(lines.as_bytes()).await?;
        let mut answer = String::new();
        within("an answer", tcp.read_to_string(&mut answer)).await??;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_of_a_picture_is_not_fetched() -> Result<()> {
    let worker = Worker::start().await?;
    for address in ["http://127.0.0.1/picture.png", "https://example.org/picture.png", "file:///etc/passwd"] {
        let answer = worker.api().post("/v1/jobs", with(quick(), json!({"image": address})).to_string()).await?;
        let error = expect_error(answer, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
        let detail = error.details.first().context("the field is named")?;
        assert_eq!(detail.field, "image");
        assert!(detail.message.contains("POST /v1/uploads"), "{detail:?} says no way out");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_is_slow_on_purpose_is_closed() -> Result<()> {
    let worker = Worker::start().await?;
    let mut half_a_head = TcpStream::connect(worker.address()).await?;
    half_a_head.write_all(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await?;
    let mut nothing = TcpStream::connect(worker.address()).await?;
    let silent = Socket::connect(&worker).await?;
    let (mut answer, mut other) = (Vec::new(), Vec::new());
    let closed = async {
        tokio::try_join!(half_a_head.read_to_end(&mut answer), nothing.read_to_end(&mut other))?;
        anyhow::Ok(())
    };
    let (closed, rest) = tokio::join!(within("the worker to close", closed), {
        let mut silent = silent;
        async move { silent.rest().await }
    });
    closed??;
    assert!(matches!(rest?.as_slice(), [Incoming::Closed(Some(1008))]), "a socket without hello is closed with 1008");
    assert_eq!(worker.api().get("/ready").await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_refused() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral"]).await?;
    let long = format!("X-Long: {}\r\n", "x".repeat(100_000));
    let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
    for lines in [long, many] {
        let mut tcp = TcpStream::connect(worker.address()).await?;
        let head = format!("GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        // The worker may answer and close before it has read everything.
        let (sent, answer) = {
            let (mut reading, mut writing) = tcp.split();
            let mut answer = vec![0; 32];
            let (sent, read) = tokio::join!(writing.write_all(head.as_bytes()), async {
                within("an answer", reading.read_exact(&mut answer)).await
            });
            (sent, read?.map(|_| String::from_utf8_lossy(&answer).into_owned()))
        };
        let answer = answer.with_context(|| format!("after {sent:?}"))?;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert_eq!(worker.api().get("/v1/jobs").await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral", "--connections", "1"]).await?;
    let mut first = Socket::greet(&worker).await?;
    let mut second = TcpStream::connect(worker.address()).await?;
    second.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    // As long as the socket is open, it has the only place: also after many answers there is none to the other.
    for tag in 0..8 {
        first.submit(tag, &with(quick(), json!({"steps": 1, "width": 64, "height": 64}))).await?;
        first
            .take("an image", |incoming| match incoming {
                Incoming::Session(SessionFrame::Error { error, .. }) => Some(Err(error.clone())),
                Incoming::Event(frame) if frame.event.is_terminal() => Some(Ok(())),
                _ => None,
            })
            .await??;
    }
    let mut none = [0; 1];
    assert!(second.try_read(&mut none).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    drop(first);
    let mut answer = String::new();
    within("a place", second.read_to_string(&mut answer)).await??;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}
