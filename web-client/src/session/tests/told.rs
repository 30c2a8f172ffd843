//! What a listener outside hears of a session.

use serde_json::{Value, json};

use super::*;
use crate::session::told::{News, Told};

/// What is new, each in a line: `job STATE STEP`, `link NAME`, …
fn heard(told: &mut Told, session: &Session) -> Vec<String> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let line = |news| match news {
        News::Link(name) => format!("link {name}"),
        News::Worker(text) => format!("worker {}", parse(&text)["server"]),
        News::Job(text) => {
            let job = parse(&text);
            format!("{} {} {}", job["id"].as_str().unwrap(), job["state"].as_str().unwrap(), job["step"])
        }
        News::Gone { id, error } => format!("{} gone {}", id.as_str(), error.map_or("by wish".into(), |e| e.message)),
    };
    told.news(session).into_iter().map(line).collect()
}

/// A session of its own jobs and a listener that knows of the connection.
fn listening() -> (Session, Told) {
    let (mut session, mut told) = (Session::of_own_jobs("test", None), Told::new("https://draw.example.org"));
    assert_eq!(heard(&mut told, &session), ["link connecting"]);
    welcome(&mut session);
    assert_eq!(heard(&mut told, &session), ["worker \"sd-worker test\"", "link connected"]);
    (session, told)
}

#[test]
fn a_listener_hears_every_change_once() {
    let (mut session, mut told) = listening();
    session.submit(request("one"), id("a"));
    assert_eq!(heard(&mut told, &session), ["a submitting 0"]);
    accept(&mut session, 1, 1, "a");
    assert_eq!(heard(&mut told, &session), ["a queued 0"]);
    happen(&mut session, "a", 2, Event::Started { steps: 20 });
    happen(&mut session, "a", None, Event::Progress { step: 3, steps: 20, sigma: 1.0, eta_ms: 900 });
    assert_eq!(heard(&mut told, &session), ["a running 3"], "the newest state stands for those before it");
    happen(&mut session, "a", 2, Event::Started { steps: 20 });
    session.binary(preview(1, 3, 0)).unwrap();
    assert_eq!(heard(&mut told, &session), [""; 0], "a replayed event and a preview change no job");
    happen(&mut session, "a", 3, Event::Canceled);
    assert_eq!(heard(&mut told, &session), ["a canceled 3"]);
}

#[test]
fn a_job_that_ended_while_nobody_listened_is_told_whole() {
    let (mut session, mut told) = listening();
    session.attach(id("a"));
    assert_eq!(heard(&mut told, &session), ["a attaching 0"]);
    let whole =
        JobView { images: vec![image()], timings: Some(Timings::default()), ..*view("a", JobState::Succeeded, 4) };
    receive(&mut session, SessionFrame::Attached { handle: 1, job: Box::new(whole), preview: basis() });
    let [News::Job(text)] = &told.news(&session)[..] else { panic!("one job has changed") };
    let job: Value = serde_json::from_str(text).unwrap();
    assert_eq!(job["state"], "succeeded");
    assert_eq!(job["request"], json!({"prompt": "a balloon", "seed": 7}));
    assert_eq!(job["images"][0]["url"], "https://draw.example.org/v1/jobs/a/images/0");
    assert_eq!(job["images"][0]["thumbnail_url"], "https://draw.example.org/v1/jobs/a/images/0/thumbnail");
    assert_eq!((&job["eta_ms"], &job["error"]), (&json!(null), &json!(null)), "what is not known is left out");
    assert_eq!(job["timings"]["load_ms"].as_f64(), Some(0.0));
}

#[test]
fn a_job_leaves_with_its_reason() {
    let (mut session, mut told) = listening();
    session.submit(request("one"), id("a"));
    session.submit(request("two"), id("b"));
    assert_eq!(heard(&mut told, &session), ["a submitting 0", "b submitting 0"]);
    receive(&mut session, SessionFrame::Rejected { tag: 1, error: ErrorBody::new(ErrorCode::QueueFull, "full") });
    assert_eq!(heard(&mut told, &session), ["a gone full"]);
    session.closed(0.0);
    session.cancel(&id("b"));
    assert_eq!(heard(&mut told, &session), ["link waiting", "b gone by wish"], "the reason of another is not its own");
}

#[test]
fn what_was_told_to_its_end_leaves_silently() {
    let (mut session, mut told) = listening();
    for n in 0..=JOBS_KEPT_MAX as u32 {
        let name = format!("job-{n}");
        session.submit(request("one"), id(&name));
        accept(&mut session, n + 1, n, &name);
        happen(&mut session, &name, 2, Event::Canceled);
        assert_eq!(heard(&mut told, &session), [format!("{name} canceled 0")]);
    }
    session.submit(request("one"), id("last"));
    assert_eq!(session.jobs().len(), JOBS_KEPT_MAX + 1, "the oldest has left");
    assert_eq!(heard(&mut told, &session), ["last submitting 0"]);
}
