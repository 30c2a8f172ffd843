//! The models that are loaded: as many as the budget holds, and of these the ones used last.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;

use super::{LoadError, ModelLoader, OnProgress};
use crate::diffusion::Pipeline;
use crate::metrics::Metrics;

/// Part of a device's memory that models may fill unless told otherwise, in percent. The rest is for the
/// activations of the job that runs (several GB when a VAE decodes 1024 × 1024 px in f32), the page cache through which
/// the next model is read, and everybody else.
const DEFAULT_BUDGET_PERCENT: u64 = 60;

/// A number of bytes, written as `8GiB`, `500MB` or `1048576`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteSize(pub u64);

/// What is wrong with a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size in bytes, such as 8GiB, 500MB or 1048576")]
pub struct InvalidSize(String);

/// What a unit multiplies by.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize(text.into());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit = unit.trim().to_uppercase();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let number: f64 = number.parse().map_err(|_| invalid())?;
        Ok(Self((number * *factor as f64) as u64))
    }
}

impl TryFrom<String> for ByteSize {
    type Error = InvalidSize;

    fn try_from(text: String) -> Result<Self, InvalidSize> {
        text.parse()
    }
}

impl ByteSize {
    /// The budget of an operator who names none: a part of the device's memory, or of what this process may use of the
    /// machine's where the device has none of its own.
    pub fn default_model_memory(device_bytes: Option<u64>) -> Self {
        Self(device_bytes.unwrap_or_else(machine_bytes) / 100 * DEFAULT_BUDGET_PERCENT)
    }
}

fn machine_bytes() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    // In a container the machine's memory is not ours.
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    system.total_memory().min(limit)
}

/// The loaded models.
pub struct LoadedModels {
    metrics: Arc<Metrics>,
    budget_bytes: u64,
    /// What the metrics know of.
    counted_bytes: u64,
    /// The least recently used first.
    models: Vec<Loaded>,
}

struct Loaded {
    name: String,
    size_bytes: u64,
    pipeline: Box<dyn Pipeline>,
}

impl LoadedModels {
    /// No model, and room for `budget`.
    pub fn new(budget: ByteSize, metrics: Arc<Metrics>) -> Self {
        Self { metrics, budget_bytes: budget.0, counted_bytes: 0, models: Vec::new() }
    }

    /// Names of the loaded models, the least recently used first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|loaded| loaded.name.as_str())
    }

    /// The pipeline of a model, loaded if need be. Models leave before it is loaded, the least recently used first,
    /// until it fits; one that is larger than the whole budget is loaded alone.
    ///
    /// # Errors
    /// Those of `loader`. Models that left to make room stay away.
    pub fn get(
        &mut self,
        name: &str,
        loader: &mut dyn ModelLoader,
        progress: &mut OnProgress<'_>,
    ) -> Result<&mut dyn Pipeline, LoadError> {
        match self.models.iter().position(|loaded| loaded.name == name) {
            Some(at) => {
                let used = self.models.remove(at);
                self.models.push(used);
            }
            None => {
                let started = Instant::now();
                let size_bytes = loader.prepare(name, progress)?;
                self.make_room(name, size_bytes);
                let pipeline = loader.load(name)?;
                let seconds = started.elapsed().as_secs_f32();
                tracing::info!(model = name, size_mb = size_bytes / 1_000_000, seconds, "model loaded");
                self.models.push(Loaded { name: name.to_owned(), size_bytes, pipeline });
                self.metrics.model_loaded(name);
                self.count_bytes();
            }
        }
        Ok(self.models.last_mut().expect("pushed in either case").pipeline.as_mut())
    }

    /// Drops all models but one.
    pub fn keep_only(&mut self, name: &str) {
        self.models.retain(|loaded| loaded.name == name);
        self.count_bytes();
    }

    /// Drops a model, so that it will be loaded anew.
    pub fn forget(&mut self, name: &str) {
        self.models.retain(|loaded| loaded.name != name);
        self.count_bytes();
    }

    fn count_bytes(&mut self) {
        let held_bytes = self.models.iter().map(|loaded| loaded.size_bytes).sum();
        self.metrics.models_hold(self.counted_bytes, held_bytes);
        self.counted_bytes = held_bytes;
    }

    fn make_room(&mut self, name: &str, size_bytes: u64) {
        if size_bytes > self.budget_bytes {
            let budget_mb = self.budget_bytes / 1_000_000;
            let size_mb = size_bytes / 1_000_000;
            tracing::warn!(model = name, size_mb, budget_mb, "a model is larger than --model-memory and stays alone");
        }
        let mut room = self.budget_bytes.saturating_sub(size_bytes);
        // From the most recently used on: what no longer fits, and all before it, leaves.
        let kept = self.models.iter().rev().take_while(|loaded| {
            let fits = loaded.size_bytes <= room;
            room = room.saturating_sub(loaded.size_bytes);
            fits
        });
        let leaving = self.models.len() - kept.count();
        for left in self.models.drain(..leaving) {
            tracing::info!(model = left.name, size_mb = left.size_bytes / 1_000_000, "model unloaded");
        }
    }
}

#[cfg(test)]
mod tests;
