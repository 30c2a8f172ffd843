//! Who may ask, and how much.
//!
//! | module | what it holds |
//! |---|---|
//! | [`caller`] | who asks, as jobs and queues know it |
//! | [`credentials`] | tokens by name, from a file and the environment |
//! | [`secret`] | fresh secrets and the hashes by which they are known again |
//! | [`tickets`] | what stands in for a token for one use |
//! | [`quota`] | what credentials have used up in the last hour |
//!
//! # Invariants
//! * No secret is kept in memory or on disk: what is compared is hashes, in constant time.
//! * A worker without a token is open: every question is put as [`Caller::anyone`].
//! * Nothing here knows HTTP; `http::guard` asks [`Gate`] and gives every handler its [`Caller`].

pub mod caller;
pub mod credentials;
pub mod quota;
pub mod secret;
pub mod tickets;

use std::sync::Arc;
use std::time::Instant;

use sd_protocol::{JobId, Secret};

pub use caller::Caller;
pub use credentials::{Credentials, CredentialsError};
pub use quota::Accounts;
pub use tickets::{Pass, TicketError, Tickets};

/// The way in: every transport asks it who somebody is. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    credentials: Arc<Credentials>,
    tickets: Arc<Tickets>,
}

impl Gate {
    /// A gate with these credentials; open where there are none.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials: Arc::new(credentials), tickets: Arc::default() }
    }

    /// Whether anyone is let in.
    pub fn is_open(&self) -> bool {
        self.credentials.is_empty()
    }

    /// Whose token that is; on an open gate anyone's.
    pub fn by_token(&self, token: &Secret) -> Option<Caller> {
        if self.is_open() {
            return Some(Caller::anyone());
        }
        self.credentials.find(token.reveal()).map(|credential| Caller::named(Arc::clone(&credential.name)))
    }

    /// What a ticket opens, once; on an open gate everything.
    pub fn by_ticket(&self, ticket: &Secret) -> Option<Pass> {
        let pass = self.tickets.redeem(ticket.reveal(), Instant::now());
        if self.is_open() { Some(Pass { caller: Caller::anyone(), job: None }) } else { pass }
    }

    /// Who opens a socket with a ticket. One for a single job opens none: a socket asks about many.
    pub fn socket_by_ticket(&self, ticket: &Secret) -> Option<Caller> {
        self.by_ticket(ticket).filter(|pass| pass.job.is_none()).map(|pass| pass.caller)
    }

    /// A new ticket for a caller and, where `job` names one, for that job alone.
    ///
    /// # Errors
    /// When the caller has too many out, or the system has no randomness.
    pub fn issue_ticket(&self, caller: Caller, job: Option<JobId>) -> Result<Secret, TicketError> {
        self.tickets.issue(Pass { caller, job }, Instant::now())
    }
}

#[cfg(test)]
mod tests;
