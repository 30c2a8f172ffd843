//! The queue and the pictures of the worker's store.

use sd_protocol::{JobList, PreviewMode};

use super::*;
use crate::session::{Move, Query};

fn list(jobs: Vec<JobView>, next_cursor: Option<&str>) -> Result<String, Refusal> {
    Ok(serde_json::to_string(&JobList { jobs, next_cursor: next_cursor.map(str::to_owned) }).unwrap())
}

/// A job with a picture, accepted at this time.
fn drawn(name: &str, created_at_ms: u64) -> JobView {
    JobView { created_at_ms, images: vec![image()], ..*view(name, JobState::Succeeded, 4) }
}

fn find(search: &str, cursor: Option<&str>) -> Call {
    let query = Query { search: search.into(), favorites: false };
    Call::Find { query, cursor: cursor.map(str::to_owned) }
}

fn found(session: &Session) -> Vec<&str> {
    session.gallery().found().iter().map(JobId::as_str).collect()
}

fn calls(session: &mut Session) -> Vec<Call> {
    let call = |command| if let Command::Call(call) = command { Some(call) } else { None };
    commands(session).into_iter().filter_map(call).collect()
}

#[test]
fn finds_what_was_drawn_before_and_elsewhere() {
    let mut session = Session::new("test", None);
    welcome(&mut session);
    assert_eq!(calls(&mut session), [Call::Ready, Call::Queue, find("", None)]);
    session.answered(find("", None), list(vec![drawn("new", 9), drawn("old", 5)], Some("x"))).unwrap();
    assert_eq!((found(&session), session.gallery().has_more()), (vec!["new", "old"], true));
    session.answered(Call::Queue, list(Vec::new(), None)).unwrap();
    assert_eq!(session.shown().unwrap().job, id("new"), "a page begins with the newest picture");
    commands(&mut session);

    session.answered(Call::Queue, list(vec![*view("theirs", JobState::Running, 2)], None)).unwrap();
    let attached = sent(&mut session);
    let no_previews = PreviewOptions { mode: PreviewMode::None, ..PreviewOptions::default() };
    assert_eq!(attached, [ClientFrame::Attach { job: id("theirs"), after: 2, preview: no_previews }]);
    assert_eq!(session.shown().unwrap().job, id("new"), "what another page asks for takes no place here");
    let job = view("theirs", JobState::Running, 2);
    receive(&mut session, SessionFrame::Attached { handle: 1, job, preview: basis() });
    session.select(Selection { job: id("theirs"), index: 0 });
    let attach = ClientFrame::Attach { job: id("theirs"), after: 2, preview: PreviewOptions::default() };
    assert_eq!(sent(&mut session), [attach], "whoever looks at a job wants its previews");
    happen(&mut session, "theirs", 3, Event::Succeeded { timings: Timings::default() });
    assert_eq!(found(&session), ["theirs", "new", "old"]);
}

#[test]
fn a_page_begins_with_what_is_drawn() {
    let running = || JobView { created_at_ms: 10, ..*view("running", JobState::Running, 2) };
    let queue = || list(vec![running()], None);
    let pictures = || list(vec![drawn("new", 9)], None);
    for gallery_first in [true, false] {
        let mut session = connected();
        if gallery_first {
            session.answered(find("", None), pictures()).unwrap();
        }
        session.answered(Call::Queue, queue()).unwrap();
        let attach = ClientFrame::Attach { job: id("running"), after: 2, preview: PreviewOptions::default() };
        assert_eq!(sent(&mut session), [attach], "with its previews");
        if !gallery_first {
            session.answered(find("", None), pictures()).unwrap();
        }
        assert_eq!(session.shown().unwrap().job, id("running"));
    }
}

#[test]
fn looks_through_the_store_page_by_page() {
    let mut session = connected();
    session.answered(find("", None), list(vec![drawn("d", 9), drawn("c", 8)], Some("x"))).unwrap();
    commands(&mut session);
    session.look_further();
    session.look_further();
    assert_eq!(calls(&mut session), [find("", Some("x"))], "one page at a time");
    session.answered(find("", Some("x")), list(vec![drawn("b", 7)], None)).unwrap();
    session.look_further();
    assert_eq!(calls(&mut session), []);
    assert_eq!(found(&session), ["d", "c", "b"]);
    session.answered(find("", None), list(vec![drawn("e", 10), drawn("c", 8)], Some("x"))).unwrap();
    assert_eq!(found(&session), ["e", "c", "b"], "what was forgotten elsewhere is gone, what lies below stays");

    session.look_for(Query { search: "tower".into(), favorites: false });
    assert_eq!(calls(&mut session), [find("tower", None)]);
    session.answered(find("", None), list(vec![drawn("e", 10)], None)).unwrap();
    assert_eq!(found(&session), ["e", "c", "b"], "an answer to an older question is none to this one");
    assert!(!session.gallery().is_known());
    session.answered(find("tower", None), list(vec![drawn("c", 8)], None)).unwrap();
    assert_eq!(found(&session), ["c"]);
    session.answered(find("tower", None), Err(Refusal::NoAnswer)).unwrap();
    assert_eq!(found(&session), ["c"]);
}

#[test]
fn an_answer_of_noise_is_not_the_last_one() {
    let mut session = connected();
    session.answered(find("", None), list(vec![drawn("a", 9)], Some("x"))).unwrap();
    session.look_further();
    commands(&mut session);
    assert!(session.answered(find("", Some("x")), Ok("{".into())).is_err());
    session.look_further();
    assert_eq!(calls(&mut session), [find("", Some("x"))], "the page can be asked for again");
    assert!(session.answered(Call::Queue, Ok("[]".into())).is_err());
    let again = Command::After { delay_ms: 3000, then: Wake::Queue };
    assert_eq!(commands(&mut session), [again]);
}

#[test]
fn changes_and_forgets_what_the_worker_has() {
    let mut session = connected();
    session.answered(find("", None), list(vec![drawn("a", 9), drawn("b", 8)], None)).unwrap();
    commands(&mut session);
    session.favor(&id("a"), true);
    let call = calls(&mut session).pop().unwrap();
    assert_eq!((call.method(), &*call.path()), ("PATCH", "/v1/jobs/a"));
    assert_eq!(call.body().as_deref(), Some(r#"{"favorite":true}"#));
    let favorite = JobView { favorite: true, ..drawn("a", 9) };
    session.answered(call, Ok(serde_json::to_string(&favorite).unwrap())).unwrap();
    assert!(session.job(&id("a")).unwrap().favorite);

    session.delete(&id("a"));
    let call = calls(&mut session).pop().unwrap();
    assert_eq!((call.method(), call.body()), ("DELETE", None));
    let error = ErrorBody::new(ErrorCode::StorageFailed, "the disk");
    session.answered(call.clone(), Err(Refusal::Refused(error.clone()))).unwrap();
    assert_eq!((found(&session), session.complaint()), (vec!["a", "b"], Some(&error)));
    session.answered(call, Ok(String::new())).unwrap();
    assert_eq!((found(&session), session.job(&id("a")).is_none()), (vec!["b"], true));
    assert_eq!(session.shown().unwrap().job, id("b"));
}

#[test]
fn a_waiting_job_trades_places_with_its_neighbour() {
    let mut session = connected();
    let waiting = |name: &str, position| JobView { queue_position: Some(position), ..*view(name, JobState::Queued, 1) };
    let queue = vec![waiting("c", 3), waiting("b", 2), waiting("a", 1), *view("running", JobState::Running, 2)];
    session.answered(Call::Queue, list(queue, None)).unwrap();
    let order: Vec<_> = session.queue().iter().map(|job| job.id.as_str()).collect();
    assert_eq!(order, ["running", "a", "b", "c"]);
    commands(&mut session);
    session.reorder(&id("c"), Move::Earlier);
    let asked = calls(&mut session);
    let told = |calls: &[Call]| calls.iter().map(|call| (call.path(), call.body())).collect::<Vec<_>>();
    let change = |name: &str, priority: i32| (format!("/v1/jobs/{name}"), Some(format!("{{\"priority\":{priority}}}")));
    assert_eq!(told(&asked), [change("a", 1), change("c", 1)]);

    // A list of before changes nothing.
    let queue = || vec![waiting("c", 3), waiting("b", 2), waiting("a", 1)];
    session.answered(Call::Queue, list(queue(), None)).unwrap();
    // The new order comes first, and the next move is right before anything is answered.
    for (name, position) in [("a", 1), ("c", 2), ("b", 3)] {
        happen(&mut session, name, 2, Event::Queued { position });
    }
    session.reorder(&id("a"), Move::Later);
    let more = calls(&mut session);
    assert_eq!(told(&more), [change("c", 2)]);
    // The worker is asked when it has answered all of them.
    let answer = |call: &Call| (call.clone(), Err(Refusal::NoAnswer));
    for (call, error) in asked.iter().chain(&more).map(answer) {
        assert_eq!(calls(&mut session), []);
        session.answered(call, error).unwrap();
    }
    assert_eq!(calls(&mut session), [Call::Queue]);
}

#[test]
fn what_left_the_queue_unseen_is_looked_for_among_the_pictures() {
    let mut session = connected();
    session.answered(Call::Queue, list(vec![*view("theirs", JobState::Queued, 1)], None)).unwrap();
    assert!(commands(&mut session).contains(&Command::After { delay_ms: 3000, then: Wake::Queue }));
    session.due(Wake::Queue);
    assert_eq!(calls(&mut session), [Call::Queue]);
    session.answered(Call::Queue, list(Vec::new(), None)).unwrap();
    assert_eq!((session.queue().len(), calls(&mut session)), (0, vec![find("", None)]));
}

#[test]
fn a_search_is_plain_text_in_the_address() {
    let query = Query { search: " red & blue=50% ".into(), favorites: true };
    let path = Call::Find { query, cursor: Some("7_a".into()) }.path();
    assert_eq!(path, "/v1/jobs?state=succeeded&limit=48&search=red%20%26%20blue%3D50%25&favorite=true&cursor=7%5Fa");
}
