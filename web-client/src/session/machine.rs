//! The state machine of a session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sd_protocol::binary::DecodeError;
use sd_protocol::{
    Catalogue, ClientFrame, ErrorBody, ErrorCode, FrameHeader, JobId, JobRequest, Limits, PreviewOptions, Secret,
    ServerFrame, SessionFrame,
};
use serde::{Deserialize, Serialize};

use super::job::{Job, Phase};
use super::link::{Link, retry_delay_ms};

/// Jobs that a client keeps; the oldest finished ones leave first.
pub const JOBS_KEPT_MAX: usize = 24;
/// Time between questions whether a loading worker is ready, in milliseconds.
pub const READY_INTERVAL_MS: u32 = 1000;

/// What the world is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Open a socket; answered by [`Session::opened`] or [`Session::closed`].
    Connect,
    /// Send a text frame over the open socket.
    Send(Box<ClientFrame>),
    /// Call [`Session::retry_due`] after so many milliseconds.
    Retry {
        /// Milliseconds.
        delay_ms: u32,
    },
    /// Ask `GET /ready` after so many milliseconds and tell [`Session::readiness`].
    AskReady {
        /// Milliseconds.
        delay_ms: u32,
    },
    /// The preview that should be on the canvas, [`Session::shown_preview`], is another one now.
    Draw,
    /// Keep this for the next visit.
    Remember(Vec<Remembered>),
    /// Keep the token no longer: the worker does not know it.
    ForgetToken,
}

/// What the next visit should know of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its name.
    pub id: JobId,
    /// Whether it has ended.
    pub ended: bool,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// One client's conversation with a worker; see the [module](super).
#[derive(Debug)]
pub struct Session {
    client: String,
    token: Option<Secret>,
    link: Link,
    worker: Option<Worker>,
    /// Newest first.
    jobs: Vec<Job>,
    previews: BTreeMap<Selection, Preview>,
    selected: Option<Selection>,
    rejection: Option<ErrorBody>,
    next_tag: u32,
    remembered: Vec<Remembered>,
    commands: VecDeque<Command>,
}

impl Session {
    /// A session that connects at once, says it is `client`, shows the token that was kept, and looks for the jobs of an
    /// earlier visit.
    pub fn new(client: impl Into<String>, token: Option<Secret>, remembered: Vec<Remembered>) -> Self {
        let recall =
            |r: &Remembered| Job::new(r.id.clone(), JobRequest::default(), Phase::Remembered { ended: r.ended });
        Self {
            client: client.into(),
            token,
            link: Link::Connecting { failures: 0 },
            worker: None,
            jobs: remembered.iter().take(JOBS_KEPT_MAX).map(recall).collect(),
            previews: BTreeMap::new(),
            selected: None,
            rejection: None,
            next_tag: 1,
            remembered,
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

    /// All jobs, newest first.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Why the newest submit did not become a job.
    pub fn rejection(&self) -> Option<&ErrorBody> {
        self.rejection.as_ref()
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
        self.previews.get(&self.shown()?)
    }

    /// Where the decoder for previews of what is shown lies on the worker, if its model has one.
    pub fn shown_decoder(&self) -> Option<&str> {
        let name = self.shown_job()?.request.model.as_deref()?;
        let model = self.worker.as_ref()?.catalogue.models.iter().find(|model| model.name == name)?;
        model.preview_decoder.as_deref()
    }

    fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.iter().find(|job| &job.id == id)
    }

    fn job_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| &job.id == id)
    }
}

/// What people do.
impl Session {
    /// Asks for a picture. It is sent when there is a connection, now or later; `id` is new and random.
    pub fn submit(&mut self, request: JobRequest, id: JobId) {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        let request = JobRequest { id: Some(id.clone()), ..request };
        self.jobs.insert(0, Job::new(id, request.clone(), Phase::Submitting { tag }));
        self.selected = None;
        self.rejection = None;
        if self.link == Link::Connected {
            self.send(ClientFrame::Submit { tag, job: request });
        }
        self.forget_oldest();
        self.commands.push_back(Command::Draw);
        self.remember();
    }

    /// Asks the worker to end a job. One that it has not answered yet is withdrawn when it does.
    pub fn cancel(&mut self, id: &JobId) {
        let Some(job) = self.job(id).filter(|job| !job.ended()) else { return };
        if self.link == Link::Connected {
            self.send(ClientFrame::Cancel { job: id.clone() });
        } else if matches!(job.phase, Phase::Submitting { .. }) {
            self.jobs.retain(|job| &job.id != id);
            self.commands.push_back(Command::Draw);
            self.remember();
        }
    }

    /// Shows the worker a token, and connects with it.
    pub fn unlock(&mut self, token: Secret) {
        self.token = Some(token);
        self.link = Link::Connecting { failures: 0 };
        self.commands.push_back(Command::Connect);
    }

    /// Shows a picture until another is chosen or a new job begins.
    pub fn select(&mut self, selection: Selection) {
        self.selected = Some(selection);
        self.commands.push_back(Command::Draw);
    }
}

/// What the connection does.
impl Session {
    /// The socket is open.
    pub fn opened(&mut self) {
        let (client, token) = (self.client.clone(), self.token.clone());
        self.send(ClientFrame::Hello { client, token, ticket: None, features: Vec::new() });
    }

    /// The socket closed, or could not be opened. `jitter` is random in `[0, 1)`.
    pub fn closed(&mut self, jitter: f64) {
        if let Link::Locked { .. } = self.link {
            return;
        }
        let failures = self.link.failures() + 1;
        let delay_ms = retry_delay_ms(failures, jitter);
        self.link = Link::Waiting { failures, delay_ms };
        for job in &mut self.jobs {
            job.handle = None;
        }
        self.commands.push_back(Command::Retry { delay_ms });
    }

    /// The wait of [`Command::Retry`] is over, or the network is back: connects, unless that is under way.
    pub fn retry_due(&mut self) {
        if let Link::Waiting { failures, .. } = self.link {
            self.link = Link::Connecting { failures };
            self.commands.push_back(Command::Connect);
        }
    }

    /// The worker's answer to `GET /ready`, `None` if there was none.
    pub fn readiness(&mut self, ready: Option<bool>) {
        let Some(worker) = self.worker.as_mut().filter(|_| self.link == Link::Connected) else { return };
        worker.ready = ready;
        if ready == Some(false) {
            self.commands.push_back(Command::AskReady { delay_ms: READY_INTERVAL_MS });
        }
    }

    /// A text frame arrived.
    ///
    /// # Errors
    /// When it is none; the session goes on.
    pub fn text(&mut self, text: &str) -> Result<(), FrameFault> {
        match ServerFrame::from_json(text).map_err(FrameFault::Text)? {
            Some(ServerFrame::Session(frame)) => self.session_frame(frame),
            Some(ServerFrame::Event(event)) => {
                if let Some(job) = self.job_mut(&event.job) {
                    job.apply(event);
                    self.remember();
                }
            }
            None => {}
        }
        Ok(())
    }

    /// A binary frame arrived: a preview, kept if it belongs to a job of this session.
    ///
    /// # Errors
    /// When it is none; the session goes on.
    pub fn binary(&mut self, frame: Vec<u8>) -> Result<(), FrameFault> {
        let header = FrameHeader::decode(&frame).map_err(FrameFault::Binary)?;
        let Some(job) = self.jobs.iter().find(|job| job.handle == Some(header.handle)) else { return Ok(()) };
        let selection = Selection { job: job.id.clone(), index: header.batch_index };
        let shown = self.shown().as_ref() == Some(&selection);
        self.previews.insert(selection, Preview { step: header.step, frame: frame.into() });
        if shown {
            self.commands.push_back(Command::Draw);
        }
        Ok(())
    }

    fn session_frame(&mut self, frame: SessionFrame) {
        match frame {
            SessionFrame::Welcome { server, limits, catalogue, .. } => {
                self.link = Link::Connected;
                self.worker = Some(Worker { server, limits, catalogue, ready: None });
                self.commands.push_back(Command::AskReady { delay_ms: 0 });
                self.resume();
            }
            SessionFrame::Accepted { handle, job: view, preview, .. }
            | SessionFrame::Attached { handle, job: view, preview } => {
                let Some(job) = self.job_mut(&view.id) else { return };
                job.handle = Some(handle);
                job.basis = Some(preview);
                job.apply_view(*view);
                self.remember();
            }
            SessionFrame::Rejected { tag, error } => {
                let known = self.jobs.len();
                self.jobs.retain(|job| job.phase != Phase::Submitting { tag });
                if self.jobs.len() < known {
                    self.rejection = Some(error);
                    self.commands.push_back(Command::Draw);
                    self.remember();
                }
            }
            // This client brings no pictures yet.
            SessionFrame::Uploaded { .. } | SessionFrame::UploadRejected { .. } => {}
            SessionFrame::Error { error, job: None } if error.code == ErrorCode::Unauthorized => self.lock(),
            SessionFrame::Error { error, job: Some(id) } => self.job_error(&id, error),
            SessionFrame::Error { error, job: None } => self.rejection = Some(error),
        }
    }

    /// After `welcome`: repeats what was not answered and follows what has not ended. Oldest first, so that
    /// the worker queues the jobs in the order in which they were asked for.
    fn resume(&mut self) {
        let frames: Vec<_> = self
            .jobs
            .iter()
            .rev()
            .filter_map(|job| match job.phase {
                Phase::Submitting { tag } => Some(ClientFrame::Submit { tag, job: job.request.clone() }),
                _ => job.awaits_attach().then(|| ClientFrame::Attach {
                    job: job.id.clone(),
                    after: job.last_seq,
                    preview: PreviewOptions::default(),
                }),
            })
            .collect();
        for frame in frames {
            self.send(frame);
        }
    }

    /// The worker did not let this client in. It closes the socket; the next one is opened with a token.
    fn lock(&mut self) {
        let refused = self.token.take().is_some();
        self.link = Link::Locked { refused };
        for job in &mut self.jobs {
            job.handle = None;
        }
        if refused {
            self.commands.push_back(Command::ForgetToken);
        }
    }

    fn job_error(&mut self, id: &JobId, error: ErrorBody) {
        let Some(job) = self.job_mut(id) else { return };
        if job.ended() {
            // A picture of an earlier visit that the worker has forgotten since: nobody misses it.
            if job.state().is_none() {
                self.jobs.retain(|job| &job.id != id);
            }
        } else if error.code == ErrorCode::JobNotFound {
            job.fail(error);
        } else {
            self.rejection = Some(error);
        }
        self.commands.push_back(Command::Draw);
        self.remember();
    }

    fn send(&mut self, frame: ClientFrame) {
        self.commands.push_back(Command::Send(Box::new(frame)));
    }

    fn forget_oldest(&mut self) {
        while self.jobs.len() > JOBS_KEPT_MAX {
            let Some(oldest) = self.jobs.iter().rposition(Job::ended) else { return };
            let id = self.jobs.remove(oldest).id;
            self.previews.retain(|selection, _| selection.job != id);
        }
    }

    /// Asks to keep the jobs if what is worth keeping changed: failed and canceled ones are not.
    fn remember(&mut self) {
        let worth = |job: &&Job| !job.ended() || !job.images.is_empty() || job.state().is_none();
        let now: Vec<_> =
            self.jobs.iter().filter(worth).map(|job| Remembered { id: job.id.clone(), ended: job.ended() }).collect();
        if now != self.remembered {
            self.remembered.clone_from(&now);
            self.commands.push_back(Command::Remember(now));
        }
    }
}
