//! Tickets: what stands in for a token where no header can be sent, for half a minute and for one use.
//!
//! They live in memory only: a ticket that a restart forgets is asked for again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_protocol::limits::{TICKET_LIFETIME_MS, TICKETS_MAX};
use sd_protocol::{JobId, Secret};

use super::caller::Caller;
use super::secret::{NoRandomness, SecretHash, SecretKind, fresh};

const LIFETIME: Duration = Duration::from_millis(TICKET_LIFETIME_MS);

/// What a ticket or a share link opens.
#[derive(Clone, Debug)]
pub struct Pass {
    /// As whom.
    pub caller: Caller,
    /// The only job that may be looked at; `None` for all of the caller's.
    pub job: Option<JobId>,
}

impl Pass {
    /// Whether the pass is good for that job.
    pub fn opens(&self, job: &JobId) -> bool {
        self.job.as_ref().is_none_or(|only| only == job)
    }
}

/// Tickets that are out.
#[derive(Debug, Default)]
pub struct Tickets {
    /// By hash, so that the time of a look-up says nothing about the text of a ticket.
    out: Mutex<HashMap<SecretHash, Ticket>>,
}

#[derive(Debug)]
struct Ticket {
    pass: Pass,
    issued_at: Instant,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// One credential holds as many as it may.
    #[error("{TICKETS_MAX} tickets are out and unused; use them, or ask again when they have expired")]
    TooMany {
        /// Time until the oldest has expired.
        wait: Duration,
    },
    /// The system has no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl Tickets {
    /// A new ticket for what `pass` opens.
    ///
    /// # Errors
    /// When the caller holds [`TICKETS_MAX`], or the system has no randomness.
    pub fn issue(&self, pass: Pass, now: Instant) -> Result<Secret, TicketError> {
        let ticket = fresh(SecretKind::Ticket)?;
        let mut out = self.out();
        out.retain(|_, ticket| now.duration_since(ticket.issued_at) < LIFETIME);
        let of_caller = out.values().filter(|ticket| ticket.pass.caller.name() == pass.caller.name());
        let (count, oldest) =
            of_caller.fold((0, now), |(count, oldest), ticket| (count + 1, oldest.min(ticket.issued_at)));
        if count >= TICKETS_MAX {
            return Err(TicketError::TooMany { wait: LIFETIME - now.duration_since(oldest) });
        }
        out.insert(SecretHash::of(ticket.reveal()), Ticket { pass, issued_at: now });
        Ok(ticket)
    }

    /// Takes a ticket in; `None` when it was used, has expired or never was.
    pub fn redeem(&self, ticket: &str, now: Instant) -> Option<Pass> {
        let Ticket { pass, issued_at } = self.out().remove(&SecretHash::of(ticket))?;
        (now.duration_since(issued_at) < LIFETIME).then_some(pass)
    }

    fn out(&self) -> MutexGuard<'_, HashMap<SecretHash, Ticket>> {
        // Every change under this lock is one insert or removal.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
