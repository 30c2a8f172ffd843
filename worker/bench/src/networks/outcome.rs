//! What came of a case.

use std::time::Duration;

use serde::Serialize;

use crate::cases::Case;

/// What all engines did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) lines: Vec<Line>,
}

/// One engine on one number of threads.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) engine: &'static str,
    pub(crate) threads: usize,
    /// Or why there is nothing.
    pub(crate) measured: Result<Measured, String>,
}

/// What one engine did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// Of its output from torch's in fp32, or why that is not known.
    pub(crate) relative_l2: Result<f64, String>,
    /// From the fastest to the slowest.
    pub(crate) times_ms: Vec<f64>,
    /// The fastest of ours among the times that were taken in turns with these, over the fastest of these.
    pub(crate) ours_over_it: Option<f64>,
    /// Most memory while it computed.
    pub(crate) peak_bytes: Option<u64>,
    /// What of that was not there before: activations and scratch memory.
    pub(crate) over_weights_bytes: Option<u64>,
}

impl Measured {
    pub(crate) fn fastest_ms(&self) -> f64 {
        self.times_ms[0]
    }

    pub(crate) fn median_ms(&self) -> f64 {
        self.times_ms[self.times_ms.len() / 2]
    }

    pub(crate) fn slowest_ms(&self) -> f64 {
        self.times_ms[self.times_ms.len() - 1]
    }

    /// Adds what the same engine did beside others.
    pub(super) fn add(&mut self, other: Self) {
        self.times_ms.extend(other.times_ms);
        self.times_ms.sort_unstable_by(f64::total_cmp);
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
        self.over_weights_bytes = self.over_weights_bytes.max(other.over_weights_bytes);
    }
}

impl Outcome {
    /// What an engine did on the most threads.
    pub(crate) fn measured(&self, engine: &str) -> Option<&Measured> {
        let lines = self.lines.iter().filter(|line| line.engine == engine);
        lines.max_by_key(|line| line.threads)?.measured.as_ref().ok()
    }

    /// The same on that many threads.
    pub(crate) fn measured_on(&self, engine: &str, threads: usize) -> Option<&Measured> {
        let mut lines = self.lines.iter().filter(|line| line.engine == engine);
        lines.find(|line| line.threads == threads)?.measured.as_ref().ok()
    }
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
