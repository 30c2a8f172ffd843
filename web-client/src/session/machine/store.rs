//! What a session knows through the HTTP API: the queue and the pictures of every page of its credential.

use sd_protocol::{ErrorBody, ErrorCode, JobChange, JobId, JobList, JobState, JobView, ReadError};

use super::{Command, FOLLOWED_MAX, FrameFault, QUEUE_INTERVAL_MS, READY_INTERVAL_MS, Session, Wake};
use crate::session::call::{Call, Refusal};
use crate::session::gallery::{Gallery, Query};
use crate::session::job::Job;
use crate::session::link::Link;
use crate::session::order::{self, Move, Waiting};

impl Session {
    /// What is drawn, and behind it what waits, in the order of drawing.
    pub fn queue(&self) -> Vec<&Job> {
        let place = |job: &Job| match job.state() {
            Some(JobState::Running) => (0, 0),
            Some(_) => (1, job.queue_position),
            None => (2, 0),
        };
        let mut queue: Vec<&Job> = Vec::new();
        for job in self.jobs.iter().rev().filter(|job| !job.ended()) {
            queue.insert(queue.partition_point(|other| place(other) <= place(job)), job);
        }
        queue
    }

    /// Pictures in the worker's store.
    pub fn gallery(&self) -> &Gallery {
        &self.gallery
    }
}

/// What people do.
impl Session {
    /// Makes a picture a favourite, or one among the others.
    pub fn favor(&mut self, id: &JobId, favorite: bool) {
        self.call(Call::Change {
            job: id.clone(),
            change: JobChange { favorite: Some(favorite), ..JobChange::default() },
        });
    }

    /// Moves a waiting job by one place.
    pub fn reorder(&mut self, id: &JobId, direction: Move) {
        let waits = |job: &&&Job| job.state() == Some(JobState::Queued);
        let queue = self.queue();
        let waiting: Vec<_> = queue
            .iter()
            .filter(waits)
            .map(|job| Waiting {
                id: job.id.clone(),
                priority: job.request.priority.unwrap_or(0),
                created_at_ms: job.created_at_ms,
            })
            .collect();
        let Some(index) = waiting.iter().position(|job| &job.id == id) else { return };
        for (job, priority) in order::swap(&waiting, index, direction) {
            // Known from now on: the worker tells of the new order before it answers, and of the priority in the answer only.
            if let Some(moved) = self.job_mut(&job) {
                moved.request.priority = Some(priority);
            }
            self.moves += 1;
            self.call(Call::Change { job, change: JobChange { priority: Some(priority), ..JobChange::default() } });
        }
    }

    /// Forgets an ended job and its pictures, on the worker too.
    pub fn delete(&mut self, id: &JobId) {
        self.call(Call::Forget { job: id.clone() });
    }

    /// Looks for other pictures in the store.
    pub fn look_for(&mut self, query: Query) {
        if query != *self.gallery.query() {
            let call = self.gallery.look_for(query);
            self.call(call);
        }
    }

    /// Looks further down in the store.
    pub fn look_further(&mut self) {
        if let Some(call) = self.gallery.more() {
            self.call(call);
        }
    }
}

/// What the worker answers.
impl Session {
    /// What became of a [`Command::Call`].
    ///
    /// # Errors
    /// When the answer is none; the session goes on.
    pub fn answered(&mut self, call: Call, answer: Result<String, Refusal>) -> Result<(), FrameFault> {
        if matches!(&call, Call::Change { change, .. } if change.priority.is_some()) {
            self.moves = self.moves.saturating_sub(1);
            if self.moves == 0 {
                self.call(Call::Queue);
            }
        }
        let text = match answer {
            Ok(text) => text,
            Err(refusal) => {
                self.refused(&call, refusal);
                return Ok(());
            }
        };
        let unreadable =
            |fault: ReadError| FrameFault::Text(ErrorBody::new(ErrorCode::MalformedJson, fault.to_string()));
        match call {
            Call::Ready => self.ready(Some(true)),
            Call::Queue => {
                // Before it is read: one answer that cannot be is not the last one.
                self.look_later();
                let list: JobList = sd_protocol::read(&text).map_err(unreadable)?;
                // Another look follows the last move; this one may be of before.
                if self.moves == 0 {
                    self.see_queue(list.jobs);
                }
            }
            Call::Find { query, cursor } => {
                let page: JobList = sd_protocol::read(&text).map_err(|fault| {
                    self.gallery.failed(&query);
                    unreadable(fault)
                })?;
                self.gallery.arrived(&query, cursor.as_deref(), &page);
                for view in page.jobs {
                    self.adopt(view);
                }
                self.begin_with_newest();
            }
            Call::Change { .. } => {
                let view: JobView = sd_protocol::read(&text).map_err(unreadable)?;
                self.adopt(view);
            }
            Call::Forget { job } => self.forget(&job),
        }
        Ok(())
    }

    /// The worker's queue: what other pages put there is followed, and what has left it unseen is looked for among the
    /// pictures.
    fn see_queue(&mut self, views: Vec<JobView>) {
        self.is_queue_known = true;
        let is_gone = |job: &Job| !job.ended() && job.state().is_some() && !views.iter().any(|view| view.id == job.id);
        let gone: Vec<_> =
            self.jobs.iter().filter(|job| is_gone(job) && !job.is_followed()).map(|job| job.id.clone()).collect();
        for id in &gone {
            self.forget(id);
        }
        if !gone.is_empty() {
            let newest = self.gallery.refresh();
            self.call(newest);
        }
        let mut followed = self.jobs.iter().filter(|job| job.is_followed() && !job.ended()).count();
        for view in views.into_iter().rev() {
            let (id, after) = (view.id.clone(), view.last_seq);
            self.adopt(view);
            let is_new = self.job(&id).is_some_and(|job| !job.is_followed() && !job.ended());
            if is_new && followed < FOLLOWED_MAX {
                followed += 1;
                self.follow(id, after, self.selected.is_none());
            }
        }
        self.begin_with_newest();
    }

    fn look_later(&mut self) {
        if !std::mem::replace(&mut self.is_queue_due, true) {
            self.commands.push_back(Command::After { delay_ms: QUEUE_INTERVAL_MS, then: Wake::Queue });
        }
    }

    /// A page that has shown nothing yet begins with what is drawn, or else with the newest picture.
    fn begin_with_newest(&mut self) {
        if self.selected.is_none() && self.gallery.is_known() && self.is_queue_known {
            self.selected = self.shown();
            self.commands.push_back(Command::Draw);
        }
    }

    /// Takes over what the worker says of a job, whether or not it is known.
    fn adopt(&mut self, view: JobView) {
        if let Some(job) = self.job_mut(&view.id) {
            job.apply_view(view);
            return;
        }
        let is_older = |job: &Job| job.state().is_some() && job.created_at_ms < view.created_at_ms;
        let at = self.jobs.iter().position(is_older).unwrap_or(self.jobs.len());
        self.jobs.insert(at, Job::of_view(view));
    }

    fn refused(&mut self, call: &Call, refusal: Refusal) {
        match (call, refusal) {
            (Call::Ready, Refusal::NoAnswer) => self.ready(None),
            (Call::Ready, Refusal::Refused(_)) => self.ready(Some(false)),
            (Call::Queue, _) => self.look_later(),
            (Call::Find { query, .. }, Refusal::NoAnswer) => self.gallery.failed(query),
            (Call::Find { query, .. }, Refusal::Refused(error)) => {
                self.gallery.failed(query);
                self.complaint = Some(error);
            }
            // What somebody else forgot before is gone as it should be.
            (Call::Forget { job }, Refusal::Refused(error)) if error.code == ErrorCode::JobNotFound => self.forget(job),
            (Call::Change { .. } | Call::Forget { .. }, Refusal::Refused(error)) => self.complaint = Some(error),
            // The link says that nobody answers.
            (Call::Change { .. } | Call::Forget { .. }, Refusal::NoAnswer) => {}
        }
    }

    fn ready(&mut self, ready: Option<bool>) {
        let Some(worker) = self.worker.as_mut().filter(|_| self.link == Link::Connected) else { return };
        worker.ready = ready;
        if ready == Some(false) {
            self.commands.push_back(Command::After { delay_ms: READY_INTERVAL_MS, then: Wake::Ready });
        }
    }

    pub(super) fn call(&mut self, call: Call) {
        if matches!(call, Call::Change { .. } | Call::Forget { .. }) {
            self.complaint = None;
        }
        self.commands.push_back(Command::Call(call));
    }

    pub(super) fn forget(&mut self, id: &JobId) {
        self.jobs.retain(|job| &job.id != id);
        self.previews.retain(|(selection, _)| &selection.job != id);
        self.gallery.forget(id);
        self.commands.push_back(Command::Draw);
    }
}
