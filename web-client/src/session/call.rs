//! What a session asks of the HTTP API.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sd_protocol::{ErrorBody, JobChange, JobId};

use super::gallery::{PAGE_JOBS, Query};

/// A request whose answer comes back through [`Session::answered`](super::Session::answered).
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Whether the worker can start a job at once.
    Ready,
    /// What waits and what runs, whoever asked for it.
    Queue,
    /// A page of pictures.
    Find {
        /// Which ones.
        query: Query,
        /// Where the page before ended.
        cursor: Option<String>,
    },
    /// Changes what may change of a job.
    Change {
        /// The job.
        job: JobId,
        /// To what.
        change: JobChange,
    },
    /// Forgets an ended job and its pictures.
    Forget {
        /// The job.
        job: JobId,
    },
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody answered.
    NoAnswer,
    /// The worker said why.
    Refused(ErrorBody),
}

impl Call {
    /// The method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Ready | Self::Queue | Self::Find { .. } => "GET",
            Self::Change { .. } => "PATCH",
            Self::Forget { .. } => "DELETE",
        }
    }

    /// Path and query.
    pub fn path(&self) -> String {
        match self {
            Self::Ready => "/ready".to_owned(),
            Self::Queue => "/v1/jobs?state=queued,running&limit=200".to_owned(),
            Self::Find { query, cursor } => {
                let mut path = "/v1/jobs?state=succeeded&limit=".to_owned() + &PAGE_JOBS.to_string();
                let mut add = |name: &str, value: &str| {
                    path = [&*path, "&", name, "=", &utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()].concat();
                };
                if !query.search.trim().is_empty() {
                    add("search", query.search.trim());
                }
                if query.favorites {
                    add("favorite", "true");
                }
                if let Some(cursor) = cursor {
                    add("cursor", cursor);
                }
                path
            }
            Self::Change { job, .. } | Self::Forget { job } => "/v1/jobs/".to_owned() + job.as_str(),
        }
    }

    /// The JSON body, of calls that have one.
    pub fn body(&self) -> Option<String> {
        match self {
            Self::Change { change, .. } => Some(sd_protocol::write(change)),
            _ => None,
        }
    }
}
