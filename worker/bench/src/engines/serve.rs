//! An engine from the inside: the protocol of `python/serve.py`, for ours and for stock candle.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use sd_worker::{allocator, cores};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{OURS, STOCK, ours, stock};
use crate::cases::{Dtype, Work};

/// What a process is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    #[serde(flatten)]
    pub(crate) work: Work,
    pub(crate) dtype: Dtype,
    /// Its name in the table.
    pub(crate) engine: String,
    /// Of `python/`.
    pub(crate) module: String,
    pub(crate) threads: usize,
    /// A file with `x`, and `weight` and `bias` or a `context`.
    pub(crate) inputs: PathBuf,
    /// The networks in f32.
    pub(crate) model: PathBuf,
    /// The whole pipeline in f16.
    pub(crate) pipeline: PathBuf,
    /// Where outputs go.
    pub(crate) output: PathBuf,
    /// For what is worth keeping.
    pub(crate) cache: PathBuf,
}

impl Spec {
    /// The tensors of the case.
    pub(super) fn inputs(&self) -> anyhow::Result<HashMap<String, Tensor>> {
        Ok(candle_core::safetensors::load(&self.inputs, &Device::Cpu)?)
    }
}

/// Computes a case; channels last.
pub(super) type Compute = Box<dyn FnMut() -> anyhow::Result<Tensor>>;

/// Answers commands until there are no more; with `worker_threads` on so many threads of the worker's pool, and with memory
/// kept as it keeps it.
///
/// # Errors
/// When there are no such threads, and when an answer reaches nobody.
pub(crate) fn serve(worker_threads: Option<NonZeroUsize>) -> anyhow::Result<()> {
    if let Some(threads) = worker_threads {
        allocator::keep_freed();
        cores::start_pool(Some(threads))?;
    }
    let mut ready = None;
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&line?, &mut ready);
        say(answer.unwrap_or_else(|error| json!({ "error": format!("{error:#}") })))?;
    }
    Ok(())
}

/// What comes of a command.
fn answer(command: &str, ready: &mut Option<(Spec, Compute)>) -> anyhow::Result<Value> {
    let start = Instant::now();
    if let Some(spec) = command.strip_prefix("case ") {
        *ready = None;
        let spec: Spec = serde_json::from_str(spec)?;
        let compute = match spec.engine.as_str() {
            OURS => ours::prepare(&spec)?,
            STOCK => stock::prepare(&spec)?,
            other => anyhow::bail!("{other} is no engine of this program"),
        };
        *ready = Some((spec, compute));
        return Ok(json!({ "seconds": start.elapsed().as_secs_f64() }));
    }
    let (spec, compute) = ready.as_mut().context("no case is ready")?;
    let value = compute()?;
    let seconds = start.elapsed().as_secs_f64();
    if command == "write" {
        value.to_dtype(DType::F32)?.contiguous()?.save_safetensors("output", &spec.output)?;
    }
    Ok(json!({ "seconds": seconds }))
}

fn say(answer: Value) -> anyhow::Result<()> {
    let mut to = std::io::stdout().lock();
    writeln!(to, "{answer}")?;
    Ok(to.flush()?)
}
