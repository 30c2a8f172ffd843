use sd_protocol::binary::PreviewPosition;
use sd_protocol::{
    Catalogue, ClientFrame, ErrorBody, ErrorCode, Event, EventFrame, ImageFormat, ImageView, JobId, JobRequest,
    JobState, JobView, Limits, ModelDefaults, ModelEntry, PreviewBasis, PreviewDtype, PreviewFrame, PreviewOptions,
    Secret, ServerFrame, SessionFrame, Timings,
};

use super::link::{RETRY_FIRST_MS, RETRY_LONGEST_MS, retry_delay_ms};
use super::machine::JOBS_KEPT_MAX;
use super::{Call, Command, Link, Phase, Refusal, Selection, Session, Wake};

mod own;
mod store;
mod told;

fn id(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

fn request(prompt: &str) -> JobRequest {
    JobRequest { prompt: Some(prompt.into()), ..JobRequest::default() }
}

fn view(name: &str, state: JobState, last_seq: u64) -> Box<JobView> {
    Box::new(JobView {
        id: id(name),
        state,
        request: JobRequest { seed: Some(7), ..request("a balloon") },
        queue_position: None,
        step: 0,
        steps: 20,
        created_at_ms: 1,
        started_at_ms: None,
        finished_at_ms: None,
        images: Vec::new(),
        timings: None,
        warnings: Vec::new(),
        error: None,
        last_seq,
        favorite: false,
        stream_url: format!("/v1/jobs/{name}/stream"),
    })
}

/// A model of the catalogue that draws squares of this side.
pub(crate) fn model(name: &str, side: u32) -> ModelEntry {
    ModelEntry {
        name: name.into(),
        family: "sd".into(),
        defaults: ModelDefaults {
            width: side,
            height: side,
            steps: 25,
            guidance_scale: 7.5,
            scheduler: "euler".into(),
            sigmas: "default".into(),
        },
        latent_channels: 4,
        latent_scale: 8,
        preview: basis(),
        preview_decoder: None,
        examples: Vec::new(),
    }
}

fn image() -> ImageView {
    ImageView {
        index: 0,
        url: "/v1/jobs/a/images/0".into(),
        thumbnail_url: Some("/v1/jobs/a/images/0/thumbnail".into()),
        format: ImageFormat::Png,
        width: 64,
        height: 64,
        sha256: "0".repeat(64),
        seed: 7,
    }
}

fn basis() -> PreviewBasis {
    PreviewBasis { rows: vec![[0.1, 0.2, 0.3]; 4], bias: [0.5; 3] }
}

fn preview(handle: u32, step: u16, batch_index: u16) -> Vec<u8> {
    let position = PreviewPosition { step, steps: 20, batch_index, batch_size: 2 };
    PreviewFrame::pack(position, 1, 1, &[0.0; 4], PreviewDtype::F16).encode(handle)
}

fn commands(session: &mut Session) -> Vec<Command> {
    std::iter::from_fn(|| session.next_command()).collect()
}

fn sent(session: &mut Session) -> Vec<ClientFrame> {
    let frame = |command| if let Command::Send(frame) = command { Some(*frame) } else { None };
    commands(session).into_iter().filter_map(frame).collect()
}

fn receive(session: &mut Session, frame: SessionFrame) {
    session.text(&ServerFrame::Session(frame).to_json()).unwrap();
}

fn happen(session: &mut Session, job: &str, seq: impl Into<Option<u64>>, event: Event) {
    let frame = EventFrame { job: id(job), seq: seq.into(), event };
    session.text(&ServerFrame::Event(frame).to_json()).unwrap();
}

fn welcome(session: &mut Session) {
    welcome_with(session, Vec::new());
}

fn welcome_with(session: &mut Session, models: Vec<ModelEntry>) {
    session.opened();
    let catalogue =
        Catalogue { models, schedulers: Vec::new(), sigmas: Vec::new(), loras: Vec::new(), embeddings: Vec::new() };
    let server = "sd-worker test".to_owned();
    receive(
        session,
        SessionFrame::Welcome {
            protocol: 1,
            server,
            limits: Limits::default(),
            catalogue,
            features: Vec::new(),
            quota: None,
        },
    );
}

/// A connected session whose commands so far are taken.
fn connected() -> Session {
    let mut session = Session::new("test", None);
    welcome(&mut session);
    commands(&mut session);
    session
}

fn hello(token: Option<&str>) -> ClientFrame {
    let token = token.map(Secret::new);
    ClientFrame::Hello { client: "test".into(), token, ticket: None, features: Vec::new() }
}

fn turn_away(session: &mut Session) {
    let error = ErrorBody::new(ErrorCode::Unauthorized, "a token is asked for");
    receive(session, SessionFrame::Error { error, job: None });
    session.closed(0.0);
}

fn accept(session: &mut Session, tag: u32, handle: u32, name: &str) {
    let job = view(name, JobState::Queued, 1);
    receive(session, SessionFrame::Accepted { tag, handle, job, preview: basis() });
}

#[test]
fn greets_and_learns_the_worker() {
    let mut session = Session::new("test", None);
    assert_eq!(commands(&mut session), [Command::Connect]);
    session.opened();
    assert_eq!(sent(&mut session), [hello(None)]);
    assert_eq!(session.link(), Link::Connecting { failures: 0 });
    welcome(&mut session);
    assert_eq!(session.link(), Link::Connected);
    assert_eq!(session.worker().unwrap().server, "sd-worker test");
}

#[test]
fn asks_for_a_token_and_comes_back_with_it() {
    let mut session = Session::new("test", None);
    session.submit(request("a balloon"), id("a"));
    session.opened();
    assert_eq!(sent(&mut session), [hello(None)]);
    turn_away(&mut session);
    assert_eq!(session.link(), Link::Locked { refused: false });
    session.due(Wake::Retry);
    assert_eq!(commands(&mut session), [], "without a token there is nothing to try");

    session.unlock(Secret::new("wrong"));
    assert_eq!((commands(&mut session), session.link()), (vec![Command::Connect], Link::Connecting { failures: 0 }));
    session.opened();
    assert_eq!(sent(&mut session), [hello(Some("wrong"))]);
    turn_away(&mut session);
    assert_eq!((session.link(), session.token()), (Link::Locked { refused: true }, None));
    assert_eq!(commands(&mut session), [Command::ForgetToken]);

    session.unlock(Secret::new("right"));
    commands(&mut session);
    welcome(&mut session);
    let job = JobRequest { id: Some(id("a")), ..request("a balloon") };
    assert_eq!(sent(&mut session), [hello(Some("right")), ClientFrame::Submit { tag: 1, job }]);
    session.closed(0.0);
    session.due(Wake::Retry);
    session.opened();
    assert!(sent(&mut session).contains(&hello(Some("right"))), "a lost connection is repaired with the same token");
}

#[test]
fn follows_a_job_to_its_picture() {
    let mut session = connected();
    session.submit(request("a balloon"), id("a"));
    let job = JobRequest { id: Some(id("a")), ..request("a balloon") };
    assert_eq!(sent(&mut session), [ClientFrame::Submit { tag: 1, job }]);
    assert_eq!(session.shown_job().unwrap().phase, Phase::Submitting { tag: 1 });

    accept(&mut session, 1, 5, "a");
    assert_eq!(session.shown_job().unwrap().request.seed, Some(7), "the defaults are filled in");
    happen(&mut session, "a", None, Event::Queued { position: 2 });
    assert_eq!(session.shown_job().unwrap().queue_position, 2);
    happen(&mut session, "a", 2, Event::Started { steps: 20 });
    happen(&mut session, "a", None, Event::Progress { step: 3, steps: 20, sigma: 1.0, eta_ms: 900 });
    session.binary(preview(5, 3, 0)).unwrap();
    assert!(commands(&mut session).contains(&Command::Draw));
    assert_eq!(session.shown_preview().unwrap().step, 3);
    let job = session.shown_job().unwrap();
    assert_eq!((job.state(), job.progress.step, job.progress.eta_ms), (Some(JobState::Running), 3, Some(900)));

    happen(&mut session, "a", 3, Event::Image { image: image() });
    happen(&mut session, "a", 4, Event::Succeeded { timings: Timings::default() });
    happen(&mut session, "a", None, Event::Progress { step: 1, steps: 20, sigma: 1.0, eta_ms: 9 });
    let job = session.shown_job().unwrap();
    assert_eq!((job.state(), job.images.as_slice(), job.last_seq), (Some(JobState::Succeeded), &[image()][..], 4));
    assert_eq!(job.progress.step, 3, "after a terminal event, silence");
}

#[test]
fn resumes_after_the_last_event_it_saw() {
    let mut session = connected();
    session.submit(request("a balloon"), id("a"));
    accept(&mut session, 1, 5, "a");
    happen(&mut session, "a", 2, Event::Started { steps: 20 });
    session.closed(0.0);
    assert_eq!(session.link(), Link::Waiting { failures: 1, delay_ms: RETRY_FIRST_MS / 2 });
    session.due(Wake::Retry);
    session.due(Wake::Retry);
    let connects = commands(&mut session).iter().filter(|c| **c == Command::Connect).count();
    assert_eq!(connects, 1, "one attempt at a time");

    welcome(&mut session);
    let attach = ClientFrame::Attach { job: id("a"), after: 2, preview: PreviewOptions::default() };
    assert!(sent(&mut session).contains(&attach));
    session.binary(preview(5, 9, 0)).unwrap();
    assert_eq!(session.shown_preview(), None, "a handle of the old connection means nothing");
    let job = view("a", JobState::Running, 2);
    receive(&mut session, SessionFrame::Attached { handle: 0, job, preview: basis() });
    session.binary(preview(0, 9, 0)).unwrap();
    assert_eq!(session.shown_preview().unwrap().step, 9);
    happen(&mut session, "a", 2, Event::Started { steps: 99 });
    assert_eq!(session.shown_job().unwrap().progress.steps, 20, "a replayed event changes nothing");
}

#[test]
fn repeats_an_unanswered_submit_under_the_same_id() {
    let mut session = connected();
    session.submit(request("one"), id("a"));
    let first = sent(&mut session);
    session.closed(0.5);
    session.submit(request("two"), id("b"));
    assert_eq!(sent(&mut session), [], "nothing can be sent now");
    session.due(Wake::Retry);
    welcome(&mut session);
    let repeated = sent(&mut session);
    assert_eq!(repeated[1], first[0]);
    let two = JobRequest { id: Some(id("b")), ..request("two") };
    assert_eq!(repeated[2..], [ClientFrame::Submit { tag: 2, job: two }], "in the order of the asking");
}

#[test]
fn cancels_on_the_worker_or_before_it_knows() {
    let mut session = connected();
    session.submit(request("one"), id("a"));
    accept(&mut session, 1, 1, "a");
    commands(&mut session);
    session.cancel(&id("a"));
    assert_eq!(sent(&mut session), [ClientFrame::Cancel { job: id("a") }]);
    happen(&mut session, "a", 2, Event::Canceled);
    assert_eq!(session.shown_job().unwrap().state(), Some(JobState::Canceled));
    session.cancel(&id("a"));
    assert_eq!(sent(&mut session), [], "it has ended");

    session.closed(0.0);
    session.submit(request("two"), id("b"));
    session.cancel(&id("b"));
    assert_eq!(session.jobs().len(), 1, "a job that was never sent is simply gone");
}

#[test]
fn rejected_submit_leaves_its_reasons() {
    let mut session = connected();
    session.submit(request("one"), id("a"));
    let error = ErrorBody::new(ErrorCode::QueueFull, "64 jobs are waiting");
    receive(&mut session, SessionFrame::Rejected { tag: 1, error: error.clone() });
    assert_eq!((session.jobs().len(), session.rejection()), (0, Some(&error)));
    assert_eq!((session.rejection_of(&id("a")), session.rejection_of(&id("b"))), (Some(&error), None));
    receive(&mut session, SessionFrame::Rejected { tag: 9, error: ErrorBody::new(ErrorCode::Internal, "") });
    assert_eq!(session.rejection(), Some(&error), "a tag that is not ours is not about us");
    session.submit(request("two"), id("b"));
    assert_eq!(session.rejection(), None);
}

#[test]
fn shows_the_newest_until_another_is_chosen() {
    let mut session = connected();
    session.submit(request("one"), id("a"));
    accept(&mut session, 1, 1, "a");
    session.submit(request("two"), id("b"));
    accept(&mut session, 2, 2, "b");
    assert_eq!(session.shown().unwrap().job, id("b"));
    commands(&mut session);
    session.binary(preview(1, 1, 1)).unwrap();
    assert_eq!(commands(&mut session), [], "what is not shown is not drawn");
    session.select(Selection { job: id("a"), index: 1 });
    assert_eq!(commands(&mut session), [Command::Draw]);
    assert_eq!(session.shown_preview().unwrap().step, 1);
    session.submit(request("three"), id("c"));
    assert_eq!(session.shown().unwrap().job, id("c"));
}

#[test]
fn forgets_the_oldest_finished_job() {
    let mut session = connected();
    for number in 0..JOBS_KEPT_MAX as u32 + 4 {
        let name = format!("job-{number}");
        session.submit(request("x"), id(&name));
        accept(&mut session, number + 1, number, &name);
        if number != 0 {
            happen(&mut session, &name, 2, Event::Canceled);
        }
    }
    assert_eq!(session.jobs().len(), JOBS_KEPT_MAX + 2, "beside the two that have not ended");
    let oldest: Vec<_> = session.jobs().iter().rev().take(2).map(|job| job.id.as_str()).collect();
    assert_eq!(oldest, ["job-0", "job-3"], "the unfinished one stays");
}

#[test]
fn frames_of_noise_change_nothing() {
    let mut session = connected();
    assert!(session.text("{").is_err());
    assert!(session.text(r#"{"type":"welcome"}"#).is_err());
    assert!(session.text(r#"{"type":"of a later version"}"#).is_ok());
    assert!(session.binary(vec![1, 2, 3]).is_err());
    assert!(session.binary(preview(99, 1, 0)).is_ok());
    assert_eq!((session.link(), commands(&mut session).len()), (Link::Connected, 0));
}

#[test]
fn asks_a_loading_worker_until_it_is_ready() {
    let mut session = connected();
    let loading = ErrorBody::new(ErrorCode::Loading, "a model is being loaded");
    session.answered(Call::Ready, Err(Refusal::Refused(loading))).unwrap();
    assert_eq!(session.worker().unwrap().ready, Some(false));
    assert_eq!(commands(&mut session), [Command::After { delay_ms: 1000, then: Wake::Ready }]);
    session.due(Wake::Ready);
    assert_eq!(commands(&mut session), [Command::Call(Call::Ready)]);
    session.answered(Call::Ready, Ok(String::new())).unwrap();
    assert_eq!(commands(&mut session), []);
    assert_eq!(session.worker().unwrap().ready, Some(true));
}

#[test]
fn waits_longer_with_every_failure() {
    let waits: Vec<_> = (1..=8).map(|failures| retry_delay_ms(failures, 0.999_999)).collect();
    assert_eq!(waits, [499, 999, 1999, 3999, 7999, 14_999, 14_999, 14_999]);
    for failures in [0, 1, 5, 40, u32::MAX] {
        for jitter in [0.0, 0.3, 1.0] {
            let wait = retry_delay_ms(failures, jitter);
            assert!((RETRY_FIRST_MS / 2..=RETRY_LONGEST_MS).contains(&wait), "{wait} ms");
        }
    }
}

#[test]
fn the_decoder_is_that_of_the_model_that_drew_what_is_shown() {
    let model = |name: &str, decoder: Option<&str>| ModelEntry {
        preview_decoder: decoder.map(str::to_owned),
        ..model(name, 256)
    };
    let mut session = connected();
    let url = "/v1/models/b/preview-decoder";
    let models = vec![model("a", None), model("b", Some(url))];
    welcome_with(&mut session, models);
    assert_eq!(session.shown_decoder(), None, "nothing is shown");
    for (tag, name, expect) in [(1, "a", None), (2, "b", Some(url)), (3, "removed", None)] {
        session.submit(request("a balloon"), id(name));
        let mut job = view(name, JobState::Queued, 1);
        job.request.model = Some(name.into());
        receive(&mut session, SessionFrame::Accepted { tag, handle: tag, job, preview: basis() });
        assert_eq!(session.shown_decoder(), expect, "{name}");
    }
    session.select(Selection { job: id("b"), index: 0 });
    assert_eq!(session.shown_decoder(), Some(url));
}
