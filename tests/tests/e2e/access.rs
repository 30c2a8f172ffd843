//! Who is let in, and who sees what.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, Response, StatusCode};
use sd_protocol::{ClientFrame, ErrorCode, JobList, JobState, JobView, Secret, SessionFrame, ShareView, TicketView};
use sd_tests::api::{Api, expect_error};
use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::{TokenFile, Worker};
use serde_json::json;
use tempfile::{NamedTempFile, TempDir};

use crate::{long, quick, with};

mod edge;
mod quotas;

/// A worker with the credentials of Alice and Bob.
struct Guarded {
    worker: Worker,
    tokens: TokenFile,
}

impl Guarded {
    async fn start() -> Result<Self> {
        Self::start_with(&["--ephemeral"], None).await
    }

    async fn start_with(flags: &[&str], log: Option<File>) -> Result<Self> {
        let tokens = TokenFile::new(&[("alice", ""), ("bob", "")]).await?;
        let worker = Worker::start_guarded(flags, &tokens, log).await?;
        Ok(Self { worker, tokens })
    }

    fn alice(&self) -> Result<Api> {
        self.worker.api_as(self.tokens.token(0))
    }

    fn bob(&self) -> Result<Api> {
        self.worker.api_as(self.tokens.token(1))
    }

    /// Somebody without a token.
    fn nobody(&self) -> &Api {
        self.worker.api()
    }

    /// A socket that said hello with this token.
    async fn socket_of(&self, index: usize) -> Result<Socket> {
        let mut socket = Socket::connect(&self.worker).await?;
        hello(&mut socket, Some(self.tokens.token(index)), None).await?;
        socket.take("welcome", welcome).await?;
        Ok(socket)
    }
}

async fn hello(socket: &mut Socket, token: Option<&str>, ticket: Option<&str>) -> Result<()> {
    let (token, ticket) = (token.map(Secret::new), ticket.map(Secret::new));
    socket.send(&ClientFrame::Hello { client: "sd-tests".into(), token, ticket, features: Vec::new() }).await
}

fn welcome(incoming: &Incoming) -> Option<()> {
    matches!(incoming, Incoming::Session(SessionFrame::Welcome { .. })).then_some(())
}

async fn ticket(api: &Api, body: &str) -> Result<String> {
    let response = api.post("/v1/tickets", body).await?;
    ensure!(response.status() == StatusCode::CREATED, "no ticket but {}", response.status());
    ensure!(response.headers()["cache-control"] == "no-store", "a cache may keep a ticket");
    Ok(response.json::<TicketView>().await?.ticket.reveal().to_owned())
}

async fn expect_unauthorized(response: Response) -> Result<()> {
    let challenge = response.headers().get("www-authenticate").cloned();
    expect_error(response, StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized).await?;
    ensure!(challenge.is_some_and(|scheme| scheme == "Bearer"), "a 401 names its scheme");
    Ok(())
}

/// A socket that shows what opens nothing is told so and closed with 1008.
async fn expect_turned_away(mut socket: Socket) -> Result<()> {
    let rest = socket.rest().await?;
    let [Incoming::Session(SessionFrame::Error { error, .. }), Incoming::Closed(Some(1008))] = rest.as_slice() else {
        panic!("not turned away: {rest:?}");
    };
    assert_eq!(error.code, ErrorCode::Unauthorized);
    Ok(())
}

#[tokio::test]
async fn a_worker_in_a_network_starts_with_a_token_or_on_purpose() -> Result<()> {
    let everywhere = ["--listen", "0.0.0.0:0", "--ephemeral"];
    let refusal = Worker::refusal(&everywhere, &[]).await?;
    for way_out in ["SD_WORKER_TOKEN", "--token-file", "--allow-anyone"] {
        assert!(refusal.contains(way_out), "{way_out} is not named: {refusal}");
    }
    let weak = Worker::refusal(&everywhere, &[("SD_WORKER_TOKEN", "hunter2")]).await?;
    assert!(weak.contains("SD_WORKER_TOKEN") && !weak.contains("hunter2"), "{weak}");
    let both = [&everywhere[..], &["--allow-anyone"]].concat();
    let refusal = Worker::refusal(&both, &[("SD_WORKER_TOKEN", "a-token-of-many-letters")]).await?;
    assert!(refusal.contains("--allow-anyone"), "{refusal}");

    let open = Worker::spawn_at("0.0.0.0:0", &["--ephemeral", "--allow-anyone"], &[]).await?;
    assert_eq!(open.api().get("/v1/jobs").await?.status(), StatusCode::OK);
    let token = "a-token-of-many-letters";
    let guarded = Worker::spawn_at("0.0.0.0:0", &["--ephemeral"], &[("SD_WORKER_TOKEN", token)]).await?;
    expect_unauthorized(guarded.api().get("/v1/jobs").await?).await?;
    assert_eq!(guarded.api_as(token)?.get("/v1/jobs").await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn everything_but_the_page_and_the_probes_asks_for_a_token() -> Result<()> {
    let guarded = Guarded::start().await?;
    let view = guarded.alice()?.submit(&quick()).await?;
    let job = format!("/v1/jobs/{}", view.id);
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let asked = [
        (get.clone(), "/v1/jobs".to_owned()),
        (post.clone(), "/v1/jobs".into()),
        (get.clone(), job.clone()),
        (delete.clone(), job.clone()),
        (Method::PATCH, job.clone()),
        (post.clone(), format!("{job}/cancel")),
        (get.clone(), format!("{job}/stream")),
        (get.clone(), format!("{job}/images/0")),
        (get.clone(), format!("{job}/images/0/thumbnail")),
        (post.clone(), format!("{job}/share")),
        (delete, format!("{job}/share")),
        (post.clone(), "/v1/uploads".into()),
        (get.clone(), format!("/v1/uploads/{}", "0f".repeat(32))),
        (post.clone(), "/v1/models/builtin/tokens".into()),
        (get.clone(), "/v1/models".into()),
        (get.clone(), "/metrics".into()),
        (post, "/v1/tickets".into()),
        (get.clone(), "/v1/jobs?ticket=sdt_guess".into()),
        (get.clone(), format!("{job}?ticket=sdt_guess")),
        (get.clone(), format!("{job}/stream?share=sds_guess")),
        (get, "/v1/ws?ticket=sdt_guess".into()),
    ];
    let stranger = guarded.worker.api_as("sdw_somebody-elses-token")?;
    for (method, path) in asked {
        for api in [guarded.nobody(), &stranger] {
            let answer = api.request(method.clone(), &path, &[]).await?;
            expect_unauthorized(answer).await.with_context(|| format!("{method} {path}"))?;
        }
    }
    let basic = guarded.nobody().get_with("/v1/jobs", &[("authorization", "Basic YWxpY2U6c2VjcmV0")]).await?;
    expect_unauthorized(basic).await?;
    for open in ["/health", "/ready", "/"] {
        assert_eq!(guarded.nobody().get(open).await?.status(), StatusCode::OK, "{open}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_opens_everything_of_its_holder() -> Result<()> {
    let guarded = Guarded::start().await?;
    let alice = guarded.alice()?;
    let view = alice.submit(&quick()).await?;
    assert_eq!(alice.ended(view.id.as_str()).await?.state, JobState::Succeeded);
    assert!(!alice.picture(&alice.view(view.id.as_str()).await?).await?.is_empty());
    let list: JobList = alice.get("/v1/jobs").await?.json().await?;
    assert_eq!(list.jobs.len(), 1);
    assert_eq!(alice.get("/v1/models").await?.status(), StatusCode::OK);
    assert_eq!(alice.delete(&format!("/v1/jobs/{}", view.id)).await?.status(), StatusCode::NO_CONTENT);
    Ok(())
}

#[tokio::test]
async fn two_credentials_do_not_see_each_other() -> Result<()> {
    let guarded = Guarded::start().await?;
    let (alice, bob) = (guarded.alice()?, guarded.bob()?);
    let view = alice.ended(alice.submit(&quick()).await?.id.as_str()).await?;
    let running = alice.submit(&with(long(), json!({"id": "alices"}))).await?;
    let missing = |response| expect_error(response, StatusCode::NOT_FOUND, ErrorCode::JobNotFound);
    for id in [view.id.as_str(), running.id.as_str()] {
        let job = format!("/v1/jobs/{id}");
        for path in
            [job.clone(), format!("{job}/stream"), format!("{job}/images/0"), format!("{job}/images/0/thumbnail")]
        {
            missing(bob.get(&path).await?).await.context(path)?;
        }
        for path in [format!("{job}/cancel"), format!("{job}/share")] {
            missing(bob.post(&path, "").await?).await.context(path)?;
        }
        missing(bob.delete(&job).await?).await?;
        missing(bob.patch(&job, "{\"favorite\": true}").await?).await?;
        missing(bob.delete(&format!("{job}/share")).await?).await?;
        missing(bob.post("/v1/tickets", json!({"job": id}).to_string()).await?).await?;
    }
    let list: JobList = bob.get("/v1/jobs").await?.json().await?;
    assert_eq!(list.jobs, []);

    let mut socket = guarded.socket_of(1).await?;
    let attach = ClientFrame::Attach { job: running.id.clone(), after: 0, preview: Default::default() };
    for frame in [attach, ClientFrame::Cancel { job: running.id.clone() }] {
        socket.send(&frame).await?;
        let code = socket.take("a refusal", |incoming| match incoming {
            Incoming::Session(SessionFrame::Error { error, job: Some(job) }) if *job == running.id => Some(error.code),
            _ => None,
        });
        assert_eq!(code.await?, ErrorCode::JobNotFound);
    }
    let still = alice.view(running.id.as_str()).await?;
    assert!(!still.state.is_terminal(), "somebody else ended the job: {still:?}");

    let mut socket = guarded.socket_of(0).await?;
    socket.attach(&running.id, 0).await?;
    alice.cancel(running.id.as_str()).await?;
    assert_eq!(socket.log(&running.id).await?.last().map(|frame| frame.event.name()), Some("canceled"));
    Ok(())
}

#[tokio::test]
async fn a_socket_has_four_ways_in() -> Result<()> {
    let guarded = Guarded::start().await?;
    let (worker, alice) = (&guarded.worker, guarded.alice()?);
    let bearer = format!("Bearer {}", guarded.tokens.token(0));
    let (in_hello, in_address) = (ticket(&alice, "").await?, ticket(&alice, "{}").await?);
    let with_header = Socket::connect_with(worker.address(), "", &[("authorization", &bearer)]).await?;
    let with_ticket = Socket::connect_with(worker.address(), &format!("?ticket={in_address}"), &[]).await?;
    for (mut socket, token, ticket) in [
        (Socket::connect(worker).await?, Some(guarded.tokens.token(0)), None),
        (Socket::connect(worker).await?, None, Some(in_hello.as_str())),
        (with_header, None, None),
        (with_ticket, None, None),
    ] {
        hello(&mut socket, token, ticket).await?;
        socket.take("welcome", welcome).await?;
        socket.submit(1, &with(quick(), json!({"steps": 1}))).await?;
    }
    let list: JobList = alice.get("/v1/jobs").await?.json().await?;
    assert_eq!(list.jobs.len(), 4, "all four are Alice's");

    let scoped = ticket(&alice, &json!({"job": list.jobs[0].id}).to_string()).await?;
    for (token, ticket) in [
        (None, None),
        (Some("sdw_somebody-elses-token"), None),
        (None, Some(in_hello.as_str())),
        (None, Some(in_address.as_str())),
        (None, Some(scoped.as_str())),
    ] {
        let mut socket = Socket::connect(worker).await?;
        hello(&mut socket, token, ticket).await?;
        expect_turned_away(socket).await.with_context(|| format!("{token:?} {ticket:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn frames_before_hello_are_refused() -> Result<()> {
    let guarded = Guarded::start().await?;
    let view = guarded.alice()?.submit(&long()).await?;
    let mut socket = Socket::connect(&guarded.worker).await?;
    socket.send(&ClientFrame::Submit { tag: 4, job: serde_json::from_value(quick())? }).await?;
    let code = socket.take("a rejection", |incoming| match incoming {
        Incoming::Session(SessionFrame::Rejected { tag: 4, error }) => Some(error.code),
        _ => None,
    });
    assert_eq!(code.await?, ErrorCode::Unauthorized);
    let attach = ClientFrame::Attach { job: view.id.clone(), after: 0, preview: Default::default() };
    for frame in [attach, ClientFrame::Cancel { job: view.id.clone() }, ClientFrame::Detach { job: view.id.clone() }] {
        socket.send(&frame).await?;
        let code = socket.take("a refusal", |incoming| match incoming {
            Incoming::Session(SessionFrame::Error { error, .. }) => Some(error.code),
            _ => None,
        });
        assert_eq!(code.await?, ErrorCode::Unauthorized, "{frame:?}");
    }
    assert!(matches!(socket.upload(5, b"bytes").await?, Err(error) if error.code == ErrorCode::Unauthorized));
    hello(&mut socket, Some(guarded.tokens.token(0)), None).await?;
    socket.take("welcome", welcome).await?;
    guarded.alice()?.cancel(view.id.as_str()).await?;
    Ok(())
}

#[tokio::test]
async fn a_ticket_opens_one_stream_or_picture_once() -> Result<()> {
    let guarded = Guarded::start().await?;
    let (alice, nobody) = (guarded.alice()?, guarded.nobody());
    let view = alice.ended(alice.submit(&quick()).await?.id.as_str()).await?;
    let other = alice.submit(&with(quick(), json!({"seed": 9}))).await?;
    let scope = json!({"job": view.id}).to_string();
    let job = format!("/v1/jobs/{}", view.id);

    let stream = ticket(&alice, &scope).await?;
    let mut events = nobody.events(view.id.as_str(), &format!("?preview=none&ticket={stream}")).await?;
    assert_eq!(events.rest().await?.last().map(|event| event.name.as_str()), Some("succeeded"));
    expect_unauthorized(nobody.get(&format!("{job}/stream?ticket={stream}")).await?).await?;
    // What a client does instead of connecting again: another ticket, from where it was.
    let again = ticket(&alice, &scope).await?;
    let mut events = nobody.events(view.id.as_str(), &format!("?after=2&ticket={again}")).await?;
    assert_eq!(events.rest().await?.first().and_then(|event| event.id.clone()).as_deref(), Some("3"));

    let picture = ticket(&alice, "").await?;
    let answer = nobody.get(&format!("{job}/images/0?ticket={picture}")).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    expect_unauthorized(nobody.get(&format!("{job}/images/0?ticket={picture}")).await?).await?;

    let scoped = ticket(&alice, &scope).await?;
    expect_unauthorized(nobody.get(&format!("/v1/jobs/{}?ticket={scoped}", other.id)).await?).await?;
    for path in ["/v1/jobs", "/v1/models", "/metrics"] {
        let unscoped = ticket(&alice, "").await?;
        expect_unauthorized(nobody.get(&format!("{path}?ticket={unscoped}")).await?).await?;
    }
    let unscoped = ticket(&alice, "").await?;
    expect_unauthorized(nobody.delete(&format!("{job}?ticket={unscoped}")).await?).await?;
    let faulty = alice.post("/v1/tickets", "{\"jobs\": \"a\"}").await?;
    expect_error(faulty, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    expect_error(alice.post("/v1/tickets", "{").await?, StatusCode::BAD_REQUEST, ErrorCode::MalformedJson).await?;
    Ok(())
}

async fn share(api: &Api, view: &JobView) -> Result<ShareView> {
    let response = api.post(&format!("/v1/jobs/{}/share", view.id), "").await?;
    ensure!(response.status() == StatusCode::CREATED, "not shared but {}", response.status());
    Ok(response.json().await?)
}

#[tokio::test]
async fn a_share_link_shows_one_job_until_it_is_taken_back() -> Result<()> {
    let folder = TempDir::new()?;
    let flags = ["--data-dir", folder.path().to_str().context("a plain name")?];
    let Guarded { worker, tokens } = Guarded::start_with(&flags, None).await?;
    let alice = worker.api_as(tokens.token(0))?;
    let view = alice.ended(alice.submit(&quick()).await?.id.as_str()).await?;
    let other = alice.submit(&with(quick(), json!({"seed": 9}))).await?;
    let (first, second) = (share(&alice, &view).await?, share(&alice, &view).await?);
    assert!(first.url.reveal().contains(first.token.reveal()) && first.url.reveal().contains(view.id.as_str()));

    worker.terminate().await?;
    worker.exit_status().await?;
    let worker = Worker::start_guarded(&flags, &tokens, None).await?;
    let (alice, nobody) = (worker.api_as(tokens.token(0))?, worker.api());
    for link in [&first, &second] {
        let query = format!("?share={}", link.token.reveal());
        assert_eq!(nobody.get(link.url.reveal()).await?.json::<JobView>().await?.id, view.id);
        let mut events = nobody.events(view.id.as_str(), &query).await?;
        assert_eq!(events.rest().await?.last().map(|event| event.name.as_str()), Some("succeeded"));
        let picture = nobody.get(&format!("{}{query}", view.images[0].url)).await?;
        assert_eq!(picture.status(), StatusCode::OK);
        let thumbnail = view.images[0].thumbnail_url.as_deref().context("a picture has a thumbnail")?;
        assert_eq!(nobody.get(&format!("{thumbnail}{query}")).await?.status(), StatusCode::OK);
        let job = format!("/v1/jobs/{}{query}", view.id);
        expect_unauthorized(nobody.delete(&job).await?).await?;
        expect_unauthorized(nobody.patch(&job, "{\"favorite\": true}").await?).await?;
        for path in [format!("/v1/jobs/{}/cancel{query}", view.id), format!("/v1/jobs/{}/share{query}", view.id)] {
            expect_unauthorized(nobody.post(&path, "").await?).await?;
        }
        expect_unauthorized(nobody.get(&format!("/v1/jobs/{}{query}", other.id)).await?).await?;
        expect_unauthorized(nobody.get(&format!("/v1/jobs{query}")).await?).await?;
    }

    assert_eq!(alice.delete(&format!("/v1/jobs/{}/share", view.id)).await?.status(), StatusCode::NO_CONTENT);
    for link in [&first, &second] {
        expect_unauthorized(nobody.get(link.url.reveal()).await?).await?;
    }
    let third = share(&alice, &view).await?;
    assert_eq!(nobody.get(third.url.reveal()).await?.status(), StatusCode::OK);
    assert_eq!(alice.delete(&format!("/v1/jobs/{}", view.id)).await?.status(), StatusCode::NO_CONTENT);
    expect_unauthorized(nobody.get(third.url.reveal()).await?).await?;
    Ok(())
}

#[tokio::test]
async fn no_secret_is_ever_logged() -> Result<()> {
    let log = NamedTempFile::new()?;
    let guarded = Guarded::start_with(&["--ephemeral"], Some(log.reopen()?)).await?;
    let (alice, nobody) = (guarded.alice()?, guarded.nobody());
    let mut socket = guarded.socket_of(0).await?;
    let job = socket.submit(1, &with(quick(), json!({"id": "logged-job"}))).await?;
    socket.log(&job.view.id).await?;
    let view = alice.view("logged-job").await?;
    let (used, unused, shared) = (ticket(&alice, "").await?, ticket(&alice, "").await?, share(&alice, &view).await?);
    nobody.get(&format!("/v1/jobs/logged-job?ticket={used}")).await?.error_for_status()?;
    nobody.get(shared.url.reveal()).await?.error_for_status()?;
    let wrong = "sdw_a-token-that-is-wrong";
    let mut socket = Socket::connect(&guarded.worker).await?;
    hello(&mut socket, Some(wrong), Some(&unused)).await?;
    expect_turned_away(socket).await?;
    expect_unauthorized(guarded.worker.api_as(wrong)?.get("/v1/jobs?ticket=sdt_wrong-ticket").await?).await?;
    guarded.worker.terminate().await?;
    guarded.worker.exit_status().await?;

    let mut text = String::new();
    log.reopen()?.read_to_string(&mut text)?;
    assert!(text.contains("logged-job") && text.contains("TRACE"), "this is no trace: {text}");
    let token = guarded.tokens.token(0);
    for secret in [token, &used, &unused, shared.token.reveal(), wrong, "sdt_wrong-ticket"] {
        let at = text.find(secret).map(|at| text[..at].lines().next_back().unwrap_or_default());
        assert_eq!(at, None, "a secret is in the log");
    }
    Ok(())
}
