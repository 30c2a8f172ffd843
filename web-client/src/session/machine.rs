//! The state machine of a session.

use std::collections::VecDeque;
use std::sync::Arc;

use sd_protocol::binary::DecodeError;
use sd_protocol::{
    Catalogue, ClientFrame, ErrorBody, ErrorCode, FrameHeader, JobId, JobRequest, JobState, Limits, PreviewMode,
    PreviewOptions, Secret, ServerFrame, SessionFrame,
};

use super::call::Call;
use super::gallery::Gallery;
use super::job::{Job, Phase};
use super::link::{Link, retry_delay_ms};

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

/// One client's conversation with a worker; see the [module](super).
#[derive(Debug)]
pub struct Session {
    client: String,
    token: Option<Secret>,
    link: Link,
    worker: Option<Worker>,
    /// Newest first.
    jobs: Vec<Job>,
    previews: Vec<(Selection, Preview)>,
    selected: Option<Selection>,
    gallery: Gallery,
    rejection: Option<ErrorBody>,
    complaint: Option<ErrorBody>,
    next_tag: u32,
    /// Whether the worker has told of its queue.
    is_queue_known: bool,
    /// Whether the next look at the queue is set.
    is_queue_due: bool,
    commands: VecDeque<Command>,
}

impl Session {
    /// A session that connects at once, says it is `client`, and shows the token that was kept.
    pub fn new(client: impl Into<String>, token: Option<Secret>) -> Self {
        Self {
            client: client.into(),
            token,
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
    /// Asks for a picture. It is sent when there is a connection, now or later; `id` is new and random.
    pub fn submit(&mut self, request: JobRequest, id: JobId) {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        let request = JobRequest { id: Some(id.clone()), ..request };
        self.selected = Some(Selection { job: id.clone(), index: 0 });
        self.jobs.insert(0, Job::new(id, request.clone(), Phase::Submitting { tag }));
        self.rejection = None;
        if self.link == Link::Connected {
            self.send(ClientFrame::Submit { tag, job: request });
        }
        self.forget_oldest();
        self.commands.push_back(Command::Draw);
    }

    /// Asks the worker to end a job. One that it has not answered yet is withdrawn when it does.
    pub fn cancel(&mut self, id: &JobId) {
        let Some(job) = self.job(id).filter(|job| !job.ended()) else { return };
        if self.link == Link::Connected {
            self.send(ClientFrame::Cancel { job: id.clone() });
        } else if matches!(job.phase, Phase::Submitting { .. }) {
            self.forget(id);
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
        if let Some(job) = self.job(&selection.job).filter(|job| job.is_followed() && !job.ended() && !job.has_previews)
        {
            let (job, after) = (job.id.clone(), job.last_seq);
            self.attach(job, after, true);
        }
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
        self.commands.push_back(Command::After { delay_ms, then: Wake::Retry });
    }

    /// A wait of [`Command::After`] is over, or the network is back: does what is due, unless that is under way.
    pub fn due(&mut self, wake: Wake) {
        match (wake, self.link) {
            (Wake::Retry, Link::Waiting { failures, .. }) => {
                self.link = Link::Connecting { failures };
                self.commands.push_back(Command::Connect);
            }
            (Wake::Ready, Link::Connected) => self.call(Call::Ready),
            (Wake::Queue, link) => {
                self.is_queue_due = false;
                if link == Link::Connected {
                    self.call(Call::Queue);
                }
            }
            _ => {}
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
                let id = event.job.clone();
                let Some(job) = self.job_mut(&id) else { return Ok(()) };
                let had_ended = job.ended();
                job.apply(event);
                if !had_ended && job.state() == Some(JobState::Succeeded) {
                    self.gallery.finished(&id);
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
        let shown = self.shown().is_some_and(|shown| shown.job == selection.job);
        self.previews.retain(|(of, _)| *of != selection);
        self.previews.push((selection, Preview { step: header.step, frame: frame.into() }));
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
                self.resume();
                self.call(Call::Ready);
                self.call(Call::Queue);
                let newest = self.gallery.refresh();
                self.call(newest);
            }
            SessionFrame::Accepted { handle, job: view, preview, .. }
            | SessionFrame::Attached { handle, job: view, preview } => {
                let Some(job) = self.job_mut(&view.id) else { return };
                job.handle = Some(handle);
                job.basis = Some(preview);
                job.apply_view(*view);
            }
            SessionFrame::Rejected { tag, error } => {
                let known = self.jobs.len();
                self.jobs.retain(|job| job.phase != Phase::Submitting { tag });
                if self.jobs.len() < known {
                    self.rejection = Some(error);
                    self.commands.push_back(Command::Draw);
                }
            }
            // Pictures travel over HTTP, whose uploads a proxy may stream.
            SessionFrame::Uploaded { .. } | SessionFrame::UploadRejected { .. } => {}
            SessionFrame::Error { error, job: None } if error.code == ErrorCode::Unauthorized => self.lock(),
            SessionFrame::Error { error, job: Some(id) } => self.job_error(&id, error),
            SessionFrame::Error { error, job: None } => self.rejection = Some(error),
        }
    }

    /// After `welcome`: repeats what was not answered and follows what has not ended. Oldest first, so that
    /// the worker queues the jobs in the order in which they were asked for.
    fn resume(&mut self) {
        let shown = self.shown().map(|shown| shown.job);
        let frames: Vec<_> = self
            .jobs
            .iter_mut()
            .rev()
            .filter_map(|job| match job.phase {
                Phase::Submitting { tag } => Some(ClientFrame::Submit { tag, job: job.request.clone() }),
                Phase::Known(state) if state.is_terminal() => None,
                Phase::Known(_) => {
                    job.has_previews |= shown.as_ref() == Some(&job.id);
                    Some(attach(job.id.clone(), job.last_seq, job.has_previews))
                }
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
        let Some(job) = self.job_mut(id).filter(|job| !job.ended()) else { return };
        match error.code {
            ErrorCode::JobNotFound | ErrorCode::JobExpired => job.fail(error),
            // It is drawn all the same, and the looks at the queue tell how it gets on.
            ErrorCode::TooManyJobs => {}
            _ => self.rejection = Some(error),
        }
        self.commands.push_back(Command::Draw);
    }

    fn attach(&mut self, id: JobId, after: u64, previews: bool) {
        if let Some(job) = self.job_mut(&id) {
            job.has_previews = previews;
        }
        self.send(attach(id, after, previews));
    }

    fn send(&mut self, frame: ClientFrame) {
        self.commands.push_back(Command::Send(Box::new(frame)));
    }

    /// What the gallery shows stays known, and so do the newest of the others.
    fn forget_oldest(&mut self) {
        let gallery = &self.gallery;
        let mut kept = 0;
        self.jobs.retain(|job| {
            kept += usize::from(job.ended() && !gallery.found().contains(&job.id));
            kept <= JOBS_KEPT_MAX || !job.ended() || gallery.found().contains(&job.id)
        });
        let jobs = &self.jobs;
        self.previews.retain(|(selection, _)| jobs.iter().any(|job| job.id == selection.job && !job.ended()));
    }
}

fn attach(job: JobId, after: u64, previews: bool) -> ClientFrame {
    let mode = if previews { PreviewMode::Latent } else { PreviewMode::None };
    ClientFrame::Attach { job, after, preview: PreviewOptions { mode, ..PreviewOptions::default() } }
}
