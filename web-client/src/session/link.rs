//! Whether there is a connection, and when to try again.

/// Wait before the first repeated attempt, in milliseconds; it doubles with each further one.
pub const RETRY_FIRST_MS: u32 = 500;
/// Longest wait between attempts, in milliseconds.
pub const RETRY_LONGEST_MS: u32 = 15_000;

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An attempt is under way, or the worker's `welcome` is awaited.
    Connecting {
        /// Attempts that failed since the last `welcome`.
        failures: u32,
    },
    /// The worker has greeted.
    Connected,
    /// There is no connection; the next attempt is set.
    Waiting {
        /// Attempts that failed since the last `welcome`.
        failures: u32,
        /// Time between the loss and the next attempt, in milliseconds.
        delay_ms: u32,
    },
    /// The worker asks for a token; the next attempt is made with one.
    Locked {
        /// Whether it refused one already.
        refused: bool,
    },
}

impl Link {
    /// Attempts that failed since the last `welcome`.
    pub fn failures(self) -> u32 {
        match self {
            Self::Connected | Self::Locked { .. } => 0,
            Self::Connecting { failures } | Self::Waiting { failures, .. } => failures,
        }
    }
}

/// Wait after `failures` attempts in a row. `jitter` in `[0, 1)` spreads clients that lost the same worker over
/// the upper half of the wait, so that they do not all come back in the same instant.
pub fn retry_delay_ms(failures: u32, jitter: f64) -> u32 {
    let full = RETRY_FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(RETRY_LONGEST_MS);
    full / 2 + (f64::from(full) / 2.0 * jitter.clamp(0.0, 1.0)) as u32
}
