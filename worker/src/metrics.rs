//! What an operator watches: counters, times and levels, in the text form of OpenMetrics, which Prometheus reads.
//!
//! A leaf: everyone may count here, and this module knows nobody. Levels that somebody else owns (the queue, the
//! process) are read when they are asked for.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A name among those that a label may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transport {
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cache {
    cache: &'static str,
}

/// The wire that something left on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The WebSocket.
    Socket,
    /// Server-sent events.
    Sse,
}

impl Wire {
    fn label(self) -> Transport {
        Transport { transport: if self == Self::Socket { "websocket" } else { "sse" } }
    }
}

/// Levels that are read when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that are drawn, encoded or stored.
    pub running: usize,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    waiting: Gauge,
    running: Gauge,
    memory: Gauge,
    jobs: Family<Outcome, Counter>,
    steps: Histogram,
    cancels: Histogram,
    queued: Histogram,
    previews_sent: Family<Transport, Counter>,
    previews_dropped: Family<Transport, Counter>,
    sent_bytes: Family<Transport, Counter>,
    viewers: Family<Transport, Gauge>,
    model_loads: Family<Model, Counter>,
    model_bytes: Gauge,
    cache_hits: Family<Cache, Counter>,
    cache_misses: Family<Cache, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sd_worker");
        let metrics = Self {
            waiting: Gauge::default(),
            running: Gauge::default(),
            memory: Gauge::default(),
            jobs: Family::default(),
            // 1 ms to 32 s: a GPU's step and a slow CPU's.
            steps: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            cancels: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            queued: Histogram::new(exponential_buckets(0.01, 4.0, 10)),
            previews_sent: Family::default(),
            previews_dropped: Family::default(),
            sent_bytes: Family::default(),
            viewers: Family::default(),
            model_loads: Family::default(),
            model_bytes: Gauge::default(),
            cache_hits: Family::default(),
            cache_misses: Family::default(),
            registry: Registry::default(),
        };
        registry.register("jobs_waiting", "Jobs in the queue", metrics.waiting.clone());
        registry.register("jobs_running", "Jobs that are drawn, encoded or stored", metrics.running.clone());
        registry.register("jobs", "Jobs that ended, by outcome", metrics.jobs.clone());
        let seconds = |registry: &mut Registry, name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        seconds(&mut registry, "step", "Time of a denoising step", &metrics.steps);
        seconds(&mut registry, "cancel", "Time from the wish to end a job to its end", &metrics.cancels);
        seconds(&mut registry, "queued", "Time that a job waited for the engine", &metrics.queued);
        registry.register("previews_sent", "Previews that left for a viewer", metrics.previews_sent.clone());
        registry.register(
            "previews_dropped",
            "Previews that a viewer was too slow for, or did not ask for",
            metrics.previews_dropped.clone(),
        );
        registry.register_with_unit(
            "sent",
            "What left for viewers of jobs: events and previews",
            Unit::Bytes,
            metrics.sent_bytes.clone(),
        );
        registry.register("viewers", "Open WebSockets and event streams", metrics.viewers.clone());
        registry.register("model_loads", "Times that a model was loaded", metrics.model_loads.clone());
        registry.register_with_unit("models", "Weights that are loaded", Unit::Bytes, metrics.model_bytes.clone());
        registry.register("cache_hits", "Parts of jobs that were computed before", metrics.cache_hits.clone());
        registry.register("cache_misses", "Parts of jobs that had to be computed", metrics.cache_misses.clone());
        registry.register_with_unit("memory", "Resident memory of the process", Unit::Bytes, metrics.memory.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// A job ended.
    pub fn job_ended(&self, outcome: &'static str) {
        self.jobs.get_or_create(&Outcome { outcome }).inc();
    }

    /// A job left the queue.
    pub fn dequeued(&self, waited: Duration) {
        self.queued.observe(waited.as_secs_f64());
    }

    /// A denoising step is done.
    pub fn stepped(&self, time: Duration) {
        self.steps.observe(time.as_secs_f64());
    }

    /// A job ended because somebody wished it.
    pub fn canceled(&self, after: Duration) {
        self.cancels.observe(after.as_secs_f64());
    }

    /// Something left for a viewer.
    pub fn sent(&self, wire: Wire, bytes: usize) {
        self.sent_bytes.get_or_create(&wire.label()).inc_by(bytes as u64);
    }

    /// A preview left for a viewer, who missed so many before it.
    pub fn preview_sent(&self, wire: Wire, missed: u32) {
        self.previews_sent.get_or_create(&wire.label()).inc();
        self.previews_dropped.get_or_create(&wire.label()).inc_by(missed.into());
    }

    /// Counts a viewer as long as the guard lives.
    pub fn viewer(&self, wire: Wire) -> ViewerGuard {
        let viewers = self.viewers.get_or_create_owned(&wire.label());
        viewers.inc();
        ViewerGuard(viewers)
    }

    /// Parts of a job were taken from a cache, or went into it.
    pub fn cache_used(&self, cache: &'static str, hits: u64, misses: u64) {
        self.cache_hits.get_or_create(&Cache { cache }).inc_by(hits);
        self.cache_misses.get_or_create(&Cache { cache }).inc_by(misses);
    }

    /// A model was loaded.
    pub fn model_loaded(&self, model: &str) {
        self.model_loads.get_or_create(&Model { model: model.into() }).inc();
    }

    /// The weights that are loaded on one device now, after those that were.
    pub fn models_hold(&self, before_bytes: u64, bytes: u64) {
        self.model_bytes.inc_by(bytes as i64 - before_bytes as i64);
    }

    /// Everything, as [`CONTENT_TYPE`].
    pub fn encode(&self, levels: Levels) -> String {
        self.waiting.set(levels.waiting as i64);
        self.running.set(levels.running as i64);
        self.memory.set(resident_bytes() as i64);
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry).expect("a string takes every character");
        encoded
    }
}

/// Somebody watches.
#[derive(Debug)]
pub struct ViewerGuard(Gauge);

impl Drop for ViewerGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Memory that this process has; zero where the system does not say.
pub(crate) fn resident_bytes() -> u64 {
    let Ok(id) = sysinfo::get_current_pid() else { return 0 };
    let mut system = System::new();
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[id]),
        false,
        ProcessRefreshKind::nothing().with_memory(),
    );
    system.process(id).map_or(0, sysinfo::Process::memory)
}
