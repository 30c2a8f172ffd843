//! What the connection does to a session, and what a session does about it.

use sd_protocol::{
    ClientFrame, ErrorBody, ErrorCode, FrameHeader, JobId, JobState, PreviewMode, PreviewOptions, ServerFrame,
    SessionFrame,
};

use super::{Command, FrameFault, JOBS_KEPT_MAX, Preview, Rejection, Scope, Selection, Session, Wake, Worker};
use crate::session::call::Call;
use crate::session::job::Phase;
use crate::session::link::{Link, retry_delay_ms};

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

    /// A binary frame arrived: a preview, kept if it belongs to a job of this session. Returns the picture that it is of.
    ///
    /// # Errors
    /// When it is none; the session goes on.
    pub fn binary(&mut self, frame: Vec<u8>) -> Result<Option<Selection>, FrameFault> {
        let header = FrameHeader::decode(&frame).map_err(FrameFault::Binary)?;
        let Some(job) = self.jobs.iter().find(|job| job.handle == Some(header.handle)) else { return Ok(None) };
        let selection = Selection { job: job.id.clone(), index: header.batch_index };
        let shown = self.shown().is_some_and(|shown| shown.job == selection.job);
        self.previews.retain(|(of, _)| *of != selection);
        self.previews.push((selection.clone(), Preview { step: header.step, frame: frame.into() }));
        if shown {
            self.commands.push_back(Command::Draw);
        }
        Ok(Some(selection))
    }

    fn session_frame(&mut self, frame: SessionFrame) {
        match frame {
            SessionFrame::Welcome { server, limits, catalogue, .. } => {
                self.link = Link::Connected;
                self.worker = Some(Worker { server, limits, catalogue, ready: None });
                self.resume();
                if self.scope == Scope::All {
                    self.call(Call::Ready);
                    self.call(Call::Queue);
                    let newest = self.gallery.refresh();
                    self.call(newest);
                }
            }
            SessionFrame::Accepted { handle, job: view, preview, .. }
            | SessionFrame::Attached { handle, job: view, preview } => {
                let Some(job) = self.job_mut(&view.id) else { return };
                job.handle = Some(handle);
                job.basis = Some(preview);
                job.apply_view(*view);
            }
            SessionFrame::Rejected { tag, error } => {
                let refused = self.jobs.iter().position(|job| job.phase == Phase::Submitting { tag });
                if let Some(at) = refused {
                    self.rejection = Some(Rejection { job: Some(self.jobs.remove(at).id), error });
                    self.commands.push_back(Command::Draw);
                }
            }
            // Pictures travel over HTTP, whose uploads a proxy may stream.
            SessionFrame::Uploaded { .. } | SessionFrame::UploadRejected { .. } => {}
            SessionFrame::Error { error, job: None } if error.code == ErrorCode::Unauthorized => self.lock(),
            SessionFrame::Error { error, job: Some(id) } => self.job_error(&id, error),
            SessionFrame::Error { error, job: None } => self.rejection = Some(Rejection { job: None, error }),
        }
    }

    /// After `welcome`: repeats what was not answered and follows what has not ended. Oldest first, so that
    /// the worker queues the jobs in the order in which they were asked for.
    fn resume(&mut self) {
        let shown = self.shown().map(|shown| shown.job);
        let mut frames = Vec::new();
        for job in self.jobs.iter_mut().rev().filter(|job| !job.ended()) {
            frames.push(match job.phase {
                Phase::Submitting { tag } => ClientFrame::Submit { tag, job: job.request.clone() },
                Phase::Attaching | Phase::Known(_) => {
                    job.has_previews |= shown.as_ref() == Some(&job.id);
                    attach(job.id.clone(), job.last_seq, job.has_previews)
                }
            });
            // Whether the last cancel came through is not known; a second one changes nothing.
            if job.is_unwanted {
                frames.push(ClientFrame::Cancel { job: job.id.clone() });
            }
        }
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
        let scope = self.scope;
        let Some(job) = self.job_mut(id).filter(|job| !job.ended()) else { return };
        match error.code {
            ErrorCode::JobNotFound | ErrorCode::JobExpired => job.fail(error),
            // It is drawn all the same, and the looks at the queue tell how it gets on.
            ErrorCode::TooManyJobs if scope == Scope::All => {}
            _ => {
                // Without looks at the queue nobody would ever hear of it again.
                if scope == Scope::Own {
                    self.jobs.retain(|job| &job.id != id);
                }
                self.rejection = Some(Rejection { job: Some(id.clone()), error });
            }
        }
        self.commands.push_back(Command::Draw);
    }

    pub(super) fn follow(&mut self, id: JobId, after: u64, previews: bool) {
        if let Some(job) = self.job_mut(&id) {
            job.has_previews = previews;
        }
        self.send(attach(id, after, previews));
    }

    pub(super) fn send(&mut self, frame: ClientFrame) {
        self.commands.push_back(Command::Send(Box::new(frame)));
    }

    /// What the gallery shows stays known, and so do the newest of the others.
    pub(super) fn forget_oldest(&mut self) {
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
