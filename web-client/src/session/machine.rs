//! The state machine of a session.

use std::collections::VecDeque;
use std::sync::Arc;

use sd_protocol::binary::DecodeError;
use sd_protocol::{Catalogue, ClientFrame, ErrorBody, JobId, JobRequest, Limits, Secret};

use super::call::Call;
use super::gallery::Gallery;
use super::job::{Job, Phase};
use super::link::Link;

mod connection;
mod store;

/// Ended jobs that a client keeps beside those of the gallery; the oldest leave first.
pub const JOBS_KEPT_MAX: usize = 24;
/// Jobs of other pages that are followed, so that the page sees them get on.
pub const FOLLOWED_MAX: usize = 32;
/// Time between questions whether a loading worker is ready, in milliseconds.
pub const READY_INTERVAL_MS: u32 = 1000;
/// Time between looks at the queue, in which other pages and devices put jobs too, in milliseconds.
pub const QUEUE_INTERVAL_MS: u32 = 3000;

/// What the world is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Open a socket; answered by [`Session::opened`] or [`Session::closed`].
    Connect,
    /// Send a text frame over the open socket.
    Send(Box<ClientFrame>),
    /// Call [`Session::due`] after so many milliseconds.
    After {
        /// Milliseconds.
        delay_ms: u32,
        /// With this.
        then: Wake,
    },
    /// Ask the HTTP API and tell [`Session::answered`].
    Call(Call),
    /// The preview that should be on the canvas, [`Session::shown_preview`], is another one now.
    Draw,
    /// Keep the token no longer: the worker does not know it.
    ForgetToken,
}

/// What a wait was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The next attempt to connect.
    Retry,
    /// The next question whether the worker is ready.
    Ready,
    /// The next look at the queue.
    Queue,
}

/// What the worker said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Its name and version.
    pub server: String,
    /// What it accepts.
    pub limits: Limits,
    /// What can be asked for by name.
    pub catalogue: Catalogue,
    /// Whether it can start a job at once; `None` while it has not been asked.
    pub ready: Option<bool>,
}

/// A picture among the jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// The job.
    pub job: JobId,
    /// The picture in its batch.
    pub index: u16,
}

/// The newest preview of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Denoising steps done.
    pub step: u16,
    /// The whole binary frame.
    pub frame: Arc<[u8]>,
}

/// A frame from the worker that could not be read. The session is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// A text frame.
    #[error("a text frame of the worker could not be read")]
    Text(#[source] ErrorBody),
    /// A binary frame.
    #[error("a binary frame of the worker could not be read")]
    Binary(#[source] DecodeError),
}

/// Which jobs a session knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every job of its credential: the queue and the store are looked at too.
    All,
    /// Those that were submitted or attached to.
    Own,
}

/// Why something was not granted.
#[derive(Clone, Debug)]
struct Rejection {
    /// The job, if it was about one.
    job: Option<JobId>,
    error: ErrorBody,
}

/// One client's conversation with a worker; see the [module](super).
#[derive(Debug)]
pub struct Session {
    client: String,
    token: Option<Secret>,
    scope: Scope,
    link: Link,
    worker: Option<Worker>,
    /// Newest first.
    jobs: Vec<Job>,
    previews: Vec<(Selection, Preview)>,
    selected: Option<Selection>,
    gallery: Gallery,
    rejection: Option<Rejection>,
    complaint: Option<ErrorBody>,
    next_tag: u32,
    /// Whether the worker has told of its queue.
    is_queue_known: bool,
    /// Whether the next look at the queue is set.
    is_queue_due: bool,
    /// Moves in the queue that the worker has not answered.
    moves: usize,
    commands: VecDeque<Command>,
}

impl Session {
    /// A session that connects at once, says it is `client`, and shows the token that was kept. It knows every job of
    /// its credential.
    pub fn new(client: impl Into<String>, token: Option<Secret>) -> Self {
        Self::with_scope(client.into(), token, Scope::All)
    }

    /// The same, for the jobs alone that it submits or attaches to: it has no [`Command::Call`].
    pub fn of_own_jobs(client: impl Into<String>, token: Option<Secret>) -> Self {
        Self::with_scope(client.into(), token, Scope::Own)
    }

    fn with_scope(client: String, token: Option<Secret>, scope: Scope) -> Self {
        Self {
            client,
            token,
            scope,
            link: Link::Connecting { failures: 0 },
            worker: None,
            jobs: Vec::new(),
            previews: Vec::new(),
            selected: None,
            gallery: Gallery::default(),
            rejection: None,
            complaint: None,
            next_tag: 1,
            is_queue_known: false,
            is_queue_due: false,
            moves: 0,
            commands: VecDeque::from([Command::Connect]),
        }
    }

    /// The next thing to do, until there is none.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether there is a connection.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The token that the worker is shown.
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The worker, as it was when it last greeted; `None` before the first time.
    pub fn worker(&self) -> Option<&Worker> {
        self.worker.as_ref()
    }

    /// All jobs that are known, newest first.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Why the newest wish about a job of the queue or the gallery was not granted.
    pub fn complaint(&self) -> Option<&ErrorBody> {
        self.complaint.as_ref()
    }

    /// Why the newest submit did not become a job, or what else was not granted since.
    pub fn rejection(&self) -> Option<&ErrorBody> {
        self.rejection.as_ref().map(|rejection| &rejection.error)
    }

    /// The same, if it was about this job.
    pub fn rejection_of(&self, id: &JobId) -> Option<&ErrorBody> {
        self.rejection.as_ref().filter(|rejection| rejection.job.as_ref() == Some(id)).map(|rejection| &rejection.error)
    }

    /// The picture that the page shows: the one selected, or else the first of the newest job.
    pub fn shown(&self) -> Option<Selection> {
        let selected = self.selected.as_ref().filter(|selection| self.job(&selection.job).is_some());
        let newest = || self.jobs.first().map(|job| Selection { job: job.id.clone(), index: 0 });
        selected.cloned().or_else(newest)
    }

    /// The job of [`Session::shown`].
    pub fn shown_job(&self) -> Option<&Job> {
        self.shown().and_then(|shown| self.job(&shown.job))
    }

    /// The newest preview of what is shown.
    pub fn shown_preview(&self) -> Option<&Preview> {
        self.preview(&self.shown()?)
    }

    /// Where the decoder for previews of what is shown lies on the worker, if its model has one.
    pub fn shown_decoder(&self) -> Option<&str> {
        let name = self.shown_job()?.request.model.as_deref()?;
        let model = self.worker.as_ref()?.catalogue.models.iter().find(|model| model.name == name)?;
        model.preview_decoder.as_deref()
    }

    /// The newest preview of a picture.
    pub fn preview(&self, selection: &Selection) -> Option<&Preview> {
        self.previews.iter().find(|(of, _)| of == selection).map(|(_, preview)| preview)
    }

    /// A job that is known.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.iter().find(|job| &job.id == id)
    }

    fn job_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| &job.id == id)
    }
}

/// What people do.
impl Session {
    /// Asks for a picture. It is sent when there is a connection, now or later; `id` is new and random, or that of a job
    /// that is asked for again.
    pub fn submit(&mut self, request: JobRequest, id: JobId) {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        let request = JobRequest { id: Some(id.clone()), ..request };
        self.selected = Some(Selection { job: id.clone(), index: 0 });
        self.jobs.retain(|job| job.id != id);
        self.jobs.insert(0, Job::new(id, request.clone(), Phase::Submitting { tag }));
        self.rejection = None;
        if self.link == Link::Connected {
            self.send(ClientFrame::Submit { tag, job: request });
        }
        self.forget_oldest();
        self.commands.push_back(Command::Draw);
    }

    /// Asks the worker to end a job, now or when there is a connection. One that it has not answered yet is withdrawn
    /// when it does.
    pub fn cancel(&mut self, id: &JobId) {
        let link = self.link;
        let Some(job) = self.job_mut(id).filter(|job| !job.ended()) else { return };
        job.is_unwanted = true;
        if link == Link::Connected {
            self.send(ClientFrame::Cancel { job: id.clone() });
        } else if matches!(job.phase, Phase::Submitting { .. }) {
            self.forget(id);
        }
    }

    /// Follows a job by its name, from its first event on, now or when there is a connection. One that has ended is
    /// looked for again.
    pub fn attach(&mut self, id: JobId) {
        if self.job(&id).is_some_and(|job| !job.ended()) {
            return;
        }
        self.jobs.retain(|job| job.id != id);
        self.jobs.insert(0, Job::new(id.clone(), JobRequest::default(), Phase::Attaching));
        if self.link == Link::Connected {
            self.follow(id, 0, true);
        }
        self.forget_oldest();
    }

    /// Shows the worker a token, and connects with it.
    pub fn unlock(&mut self, token: Secret) {
        self.token = Some(token);
        self.link = Link::Connecting { failures: 0 };
        self.commands.push_back(Command::Connect);
    }

    /// Shows a picture until another is chosen or a new job begins.
    pub fn select(&mut self, selection: Selection) {
        if let Some(job) = self.job(&selection.job).filter(|job| job.is_followed() && !job.ended() && !job.has_previews)
        {
            let (job, after) = (job.id.clone(), job.last_seq);
            self.follow(job, after, true);
        }
        self.selected = Some(selection);
        self.commands.push_back(Command::Draw);
    }
}
