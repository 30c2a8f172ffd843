//! What a listener outside has been told of a session, and what is new since.

use std::collections::BTreeMap;

use sd_protocol::{Catalogue, ErrorBody, ImageView, JobId, JobRequest, JobState, Limits, Timings};
use serde::Serialize;

use super::job::{Job, Phase, Progress};
use super::link::Link;
use super::machine::{Session, Worker};

/// Something that a listener does not know yet. Texts are JSON, for readers in another language.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The connection is `connecting`, `connected`, `waiting` for its next attempt, or `locked` until there is a token.
    Link(&'static str),
    /// The worker greeted: `{server, limits, catalogue}`.
    Worker(String),
    /// A job is new or has changed: all that is known of it. Pictures have whole addresses.
    Job(String),
    /// A job will not be heard of again.
    Gone {
        /// The job.
        id: JobId,
        /// Why; `None` if it was canceled before the worker knew it.
        error: Option<ErrorBody>,
    },
}

/// What a listener has been told.
#[derive(Debug)]
pub struct Told {
    origin: String,
    link: &'static str,
    worker: Option<Worker>,
    jobs: BTreeMap<JobId, Mark>,
}

impl Told {
    /// Nothing yet. Pictures lie on `origin`, such as `https://draw.example.org`.
    pub fn new(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), link: "", worker: None, jobs: BTreeMap::new() }
    }

    /// What is new, which is told by that. The worker comes before the connection to it, and both before jobs.
    pub fn news(&mut self, session: &Session) -> Vec<News> {
        let mut news = Vec::new();
        if session.worker() != self.worker.as_ref() {
            self.worker = session.worker().cloned();
            news.extend(self.worker.as_ref().map(|worker| News::Worker(sd_protocol::write(&Greeting::of(worker)))));
        }
        let link = name(session.link());
        if link != self.link {
            self.link = link;
            news.push(News::Link(link));
        }
        for job in session.jobs().iter().rev() {
            let mark = Mark::of(job);
            if self.jobs.get(&job.id) != Some(&mark) {
                self.jobs.insert(job.id.clone(), mark);
                news.push(News::Job(sd_protocol::write(&Snapshot::of(job, &self.origin))));
            }
        }
        let gone: Vec<_> = self.jobs.keys().filter(|id| session.job(id).is_none()).cloned().collect();
        for id in gone {
            let had_ended = self.jobs.remove(&id).is_some_and(|mark| mark.ended());
            if !had_ended {
                news.push(News::Gone { error: session.rejection_of(&id).cloned(), id });
            }
        }
        news
    }
}

fn name(link: Link) -> &'static str {
    match link {
        Link::Connecting { .. } => "connecting",
        Link::Connected => "connected",
        Link::Waiting { .. } => "waiting",
        Link::Locked { .. } => "locked",
    }
}

/// What is compared to tell whether a job has changed; the rest of it changes with these.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    phase: Phase,
    progress: Progress,
    queue_position: u32,
    loading_percent: Option<u64>,
    last_seq: u64,
    images: usize,
}

impl Mark {
    fn of(job: &Job) -> Self {
        Self {
            phase: job.phase,
            progress: job.progress,
            queue_position: job.queue_position,
            loading_percent: job.loading_percent,
            last_seq: job.last_seq,
            images: job.images.len(),
        }
    }

    fn ended(&self) -> bool {
        matches!(self.phase, Phase::Known(state) if state.is_terminal())
    }
}

#[derive(Serialize)]
struct Greeting<'a> {
    server: &'a str,
    limits: &'a Limits,
    catalogue: &'a Catalogue,
}

impl<'a> Greeting<'a> {
    fn of(worker: &'a Worker) -> Self {
        Self { server: &worker.server, limits: &worker.limits, catalogue: &worker.catalogue }
    }
}

/// All that is known of a job, in the words of the protocol's `JobView`.
#[derive(Serialize)]
struct Snapshot<'a> {
    id: &'a JobId,
    state: State,
    request: &'a JobRequest,
    queue_position: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    loading_percent: Option<u64>,
    step: u32,
    steps: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_ms: Option<u64>,
    images: Vec<ImageView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Submitting,
    Attaching,
    #[serde(untagged)]
    Known(JobState),
}

impl<'a> Snapshot<'a> {
    fn of(job: &'a Job, origin: &str) -> Self {
        let whole = |url: &String| [origin, url].concat();
        let images = job.images.iter().map(|image| ImageView {
            url: whole(&image.url),
            thumbnail_url: image.thumbnail_url.as_ref().map(whole),
            ..image.clone()
        });
        Self {
            id: &job.id,
            state: match job.phase {
                Phase::Submitting { .. } => State::Submitting,
                Phase::Attaching => State::Attaching,
                Phase::Known(state) => State::Known(state),
            },
            request: &job.request,
            queue_position: job.queue_position,
            loading_percent: job.loading_percent,
            step: job.progress.step,
            steps: job.progress.steps,
            eta_ms: job.progress.eta_ms,
            images: images.collect(),
            timings: job.timings,
            warnings: &job.warnings,
            error: job.error.as_ref(),
        }
    }
}
