//! What was seen, and whether it is what was promised.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use sd_protocol::{JobState, JobView};

use super::Plan;
use super::viewer::Seen;

/// Growth of the worker's memory over the second half that is no growth: pages that the allocator moves about.
const MEMORY_GROWTH_MAX: f64 = 0.10;

/// The metrics at one time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the start.
    pub time: Duration,
    /// Resident memory of the worker.
    pub memory_bytes: f64,
    /// Denoising steps so far.
    pub steps: f64,
    /// Time that they took together.
    pub steps_seconds: f64,
    /// Previews that viewers were too slow for, so far.
    pub previews_dropped: f64,
}

impl Sample {
    pub(super) fn read(time: Duration, metrics: &str) -> anyhow::Result<Self> {
        // The sum over all labels of a name.
        let value = |name: &str| -> anyhow::Result<f64> {
            let values = metrics.lines().filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next())?
            });
            values.map(|value| value.parse::<f64>().with_context(|| format!("{name} is {value}"))).sum()
        };
        Ok(Self {
            time,
            memory_bytes: value("sd_worker_memory_bytes")?,
            steps: value("sd_worker_step_seconds_count")?,
            steps_seconds: value("sd_worker_step_seconds_sum")?,
            previews_dropped: value("sd_worker_previews_dropped_total")?,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, megabytes) = (self.time.as_secs(), self.memory_bytes / 1e6);
        write!(f, "{seconds:>4} s  {} steps  {megabytes:.1} MB  {} previews dropped", self.steps, self.previews_dropped)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Time from the first job to the last viewer.
    pub duration: Duration,
    /// What was planned.
    pub plan: Plan,
    /// Every job at its end.
    pub jobs: Vec<JobView>,
    /// What all viewers saw.
    pub seen: Seen,
    /// The worker's metrics over time.
    pub samples: Vec<Sample>,
}

impl Report {
    /// Whether every job reached its end, viewers saw whole logs, and the memory stayed flat. Viewers check their logs
    /// themselves, event by event.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn verify(&self) -> anyhow::Result<()> {
        let undone: Vec<_> = self.jobs.iter().filter(|job| job.state != JobState::Succeeded).collect();
        ensure!(undone.is_empty(), "jobs did not succeed: {undone:?}");
        ensure!(self.seen.logs > 0 && self.seen.previews > 0, "nobody saw anything: {:?}", self.seen);
        let (before, after) = self.memory();
        let growth = after / before - 1.0;
        ensure!(growth <= MEMORY_GROWTH_MAX, "memory grew by {:.1} % over the second half", growth * 100.0);
        Ok(())
    }

    /// Mean memory of the third and of the last quarter, in bytes; the first half warms up.
    fn memory(&self) -> (f64, f64) {
        let quarter = |from: f64, to: f64| {
            let count = self.samples.len() as f64;
            let part = &self.samples[(count * from) as usize..(count * to) as usize];
            part.iter().map(|sample| sample.memory_bytes).sum::<f64>() / part.len().max(1) as f64
        };
        (quarter(0.5, 0.75), quarter(0.75, 1.0))
    }

    /// Mean time of a step in the first and in the second half, in seconds.
    fn step_seconds(&self) -> (f64, f64) {
        let mean =
            |from: &Sample, to: &Sample| (to.steps_seconds - from.steps_seconds) / (to.steps - from.steps).max(1.0);
        let (first, last) = (self.samples.first(), self.samples.last());
        let middle = self.samples.get(self.samples.len() / 2);
        match (first, middle, last) {
            (Some(first), Some(middle), Some(last)) => (mean(first, middle), mean(middle, last)),
            _ => (f64::NAN, f64::NAN),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcomes = BTreeMap::<&str, usize>::new();
        for job in &self.jobs {
            *outcomes.entry(job.state.as_str()).or_default() += 1;
        }
        let Plan { sockets, streams, unruly, .. } = self.plan;
        let ((before, after), (first, second)) = (self.memory(), self.step_seconds());
        let seen = self.seen;
        writeln!(
            f,
            "{:.0} s, {sockets} sockets and {streams} streams, {unruly} of them unruly",
            self.duration.as_secs_f64()
        )?;
        writeln!(f, "jobs        {} {outcomes:?}", self.jobs.len())?;
        writeln!(
            f,
            "logs        {} whole and in order, {} events, {} previews",
            seen.logs, seen.events, seen.previews
        )?;
        writeln!(f, "unruliness  {} stalls, {} resumed, {} left for good", seen.stalls, seen.resumes, seen.left)?;
        let dropped = self.samples.last().map_or(0.0, |sample| sample.previews_dropped);
        writeln!(f, "dropped     {dropped} previews that viewers were too slow for")?;
        writeln!(f, "memory      {:.1} MB in the third quarter, {:.1} MB in the last", before / 1e6, after / 1e6)?;
        write!(f, "step        {:.1} ms in the first half, {:.1} ms in the second", first * 1e3, second * 1e3)
    }
}
