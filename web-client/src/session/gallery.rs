//! Pictures in the worker's store, as far as they have been looked through.

use sd_protocol::{JobId, JobList};

use super::call::Call;

/// Jobs on a page of the gallery.
pub const PAGE_JOBS: usize = 48;

/// Which pictures are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Words that all occur in the prompt, the negative prompt or the model's name.
    pub search: String,
    /// Favourites alone.
    pub favorites: bool,
}

impl Query {
    /// Whether every picture is meant.
    pub fn is_all(&self) -> bool {
        self.search.trim().is_empty() && !self.favorites
    }
}

/// What lies behind the pictures that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Rest {
    /// Nothing has been looked at.
    #[default]
    Unknown,
    /// More, from this cursor on.
    From(String),
    /// Nothing.
    End,
}

/// Jobs that a query found, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gallery {
    query: Query,
    found: Vec<JobId>,
    rest: Rest,
    is_asking: bool,
}

impl Gallery {
    /// Which pictures are looked for.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The jobs that were found so far, newest first.
    pub fn found(&self) -> &[JobId] {
        &self.found
    }

    /// Whether there are more than were found so far.
    pub fn has_more(&self) -> bool {
        matches!(self.rest, Rest::From(_))
    }

    /// Whether the worker has answered this query yet.
    pub fn is_known(&self) -> bool {
        self.rest != Rest::Unknown
    }

    /// Looks for other pictures; those of the last query stay until there is an answer.
    pub(super) fn look_for(&mut self, query: Query) -> Call {
        self.query = query;
        self.rest = Rest::Unknown;
        self.refresh()
    }

    /// Asks for the newest page again.
    pub(super) fn refresh(&mut self) -> Call {
        self.is_asking = true;
        Call::Find { query: self.query.clone(), cursor: None }
    }

    /// Asks for the next page, if there is one and nothing is on its way.
    pub(super) fn more(&mut self) -> Option<Call> {
        let Rest::From(cursor) = &self.rest else { return None };
        let call = Call::Find { query: self.query.clone(), cursor: Some(cursor.clone()) };
        (!std::mem::replace(&mut self.is_asking, true)).then_some(call)
    }

    /// A page came; one of another query says nothing about this one. A newest page takes the place of what it
    /// overlaps with, so that what was forgotten elsewhere leaves and pages further down stay.
    pub(super) fn arrived(&mut self, query: &Query, cursor: Option<&str>, page: &JobList) {
        if *query != self.query {
            return;
        }
        self.is_asking = false;
        let ids: Vec<_> = page.jobs.iter().map(|job| job.id.clone()).collect();
        let rest = page.next_cursor.clone().map_or(Rest::End, Rest::From);
        match cursor {
            Some(_) => {
                self.found.retain(|known| !ids.contains(known));
                self.found.extend(ids);
                self.rest = rest;
            }
            None => {
                let overlap = ids.last().and_then(|last| self.found.iter().position(|known| known == last));
                let older = overlap.map_or(self.found.len(), |at| at + 1);
                if overlap.is_none() || rest == Rest::End || self.rest == Rest::Unknown {
                    self.found = ids;
                    self.rest = rest;
                } else {
                    self.found.splice(..older, ids);
                }
            }
        }
    }

    /// No page came.
    pub(super) fn failed(&mut self, query: &Query) {
        self.is_asking &= *query != self.query;
    }

    /// A job of this client has its pictures now.
    pub(super) fn finished(&mut self, id: &JobId) {
        if self.query.is_all() && !self.found.contains(id) {
            self.found.insert(0, id.clone());
        }
    }

    /// A job is gone.
    pub(super) fn forget(&mut self, id: &JobId) {
        self.found.retain(|known| known != id);
    }
}
