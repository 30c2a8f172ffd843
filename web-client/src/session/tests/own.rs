//! A session that knows its own jobs alone, as pages of other people have it.

use super::*;

fn own() -> Session {
    let mut session = Session::of_own_jobs("test", None);
    welcome(&mut session);
    assert_eq!(commands(&mut session).len(), 2, "it connects and says hello, and asks for nothing else");
    session
}

fn attach(name: &str, after: u64) -> ClientFrame {
    ClientFrame::Attach { job: id(name), after, preview: PreviewOptions::default() }
}

fn attached(session: &mut Session, handle: u32, view: Box<JobView>) {
    receive(session, SessionFrame::Attached { handle, job: view, preview: basis() });
}

#[test]
fn follows_a_job_by_its_name_from_the_first_event_on() {
    let mut session = own();
    session.attach(id("a"));
    session.attach(id("a"));
    assert_eq!(sent(&mut session), [attach("a", 0)], "once is enough");
    assert_eq!(session.job(&id("a")).unwrap().phase, Phase::Attaching);
    attached(&mut session, 3, view("a", JobState::Running, 2));
    let picture = Selection { job: id("a"), index: 1 };
    assert_eq!(session.binary(preview(3, 9, 1)), Ok(Some(picture.clone())));
    assert_eq!(session.preview(&picture).unwrap().step, 9);
    assert_eq!(session.binary(preview(4, 9, 1)), Ok(None), "of another job");
    session.closed(0.0);
    session.attach(id("b"));
    assert_eq!(sent(&mut session), [], "nothing can be sent now");
    session.due(Wake::Retry);
    welcome(&mut session);
    assert_eq!(sent(&mut session)[1..], [attach("a", 2), attach("b", 0)]);
}

#[test]
fn says_that_there_is_no_such_job() {
    let mut session = own();
    session.attach(id("a"));
    let error = ErrorBody::new(ErrorCode::JobNotFound, "no job of this name");
    receive(&mut session, SessionFrame::Error { error: error.clone(), job: Some(id("a")) });
    let job = session.job(&id("a")).unwrap();
    assert_eq!((job.state(), job.error.as_ref()), (Some(JobState::Failed), Some(&error)));
    session.attach(id("a"));
    assert_eq!(sent(&mut session), [attach("a", 0), attach("a", 0)], "it may be there by now");
    assert_eq!(session.jobs().len(), 1);
}

#[test]
fn a_job_that_cannot_be_followed_is_let_go() {
    let mut session = own();
    session.attach(id("a"));
    let error = ErrorBody::new(ErrorCode::TooManyJobs, "one socket follows 64 jobs");
    receive(&mut session, SessionFrame::Error { error: error.clone(), job: Some(id("a")) });
    assert_eq!(session.rejection_of(&id("a")), Some(&error));
    assert!(session.jobs().is_empty());
}

#[test]
fn a_cancel_survives_the_connection() {
    let mut session = own();
    for name in ["a", "b"] {
        session.attach(id(name));
        attached(&mut session, 1, view(name, JobState::Running, 2));
    }
    session.cancel(&id("a"));
    session.closed(0.0);
    session.cancel(&id("b"));
    session.due(Wake::Retry);
    commands(&mut session);
    welcome(&mut session);
    let cancel = |name| ClientFrame::Cancel { job: id(name) };
    assert_eq!(sent(&mut session)[1..], [attach("a", 2), cancel("a"), attach("b", 2), cancel("b")]);
}

#[test]
fn forgets_the_oldest_of_many_jobs_that_it_followed() {
    let mut session = own();
    for n in 0..2 * JOBS_KEPT_MAX as u32 {
        let name = format!("job-{n}");
        session.attach(id(&name));
        attached(&mut session, n, view(&name, JobState::Succeeded, 4));
    }
    assert_eq!(session.jobs().len(), JOBS_KEPT_MAX + 1, "those that are kept, and the newest");
    assert!(session.job(&id("job-0")).is_none());
}
