//! Who computes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use crate::cases::Case;
use crate::{ours, torch};

/// What all engines share.
pub(crate) struct Setting {
    pub(crate) python: PathBuf,
    /// Of weights, inputs and outputs.
    pub(crate) folder: PathBuf,
    pub(crate) threads: usize,
}

impl Setting {
    /// The model folder of the UNet, in the diffusers layout.
    pub(crate) fn model(&self) -> PathBuf {
        self.folder.join("sd15")
    }
}

/// One engine, ready to compute one case again and again.
pub(crate) trait Ready {
    /// Computes it; `[batch, height, width, channels]` or `[rows, channels]` comes back.
    fn output(&mut self) -> anyhow::Result<Tensor>;

    /// Computes it and says how long that took.
    fn time(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        self.output()?;
        Ok(start.elapsed())
    }
}

/// Makes an engine ready for a case whose inputs lie in a file.
type Prepare = fn(&Case, &Path, &Setting) -> anyhow::Result<Box<dyn Ready>>;

/// Every engine; the first is what outputs are compared with.
pub(crate) const ENGINES: &[(&str, Prepare)] = &[
    ("torch", |case, inputs, setting| torch::prepare(case, inputs, setting, torch::Mode::Eager)),
    ("torch channels_last", |case, inputs, setting| torch::prepare(case, inputs, setting, torch::Mode::ChannelsLast)),
    (OURS, ours::prepare),
    #[cfg(feature = "stock-candle")]
    ("stock candle", crate::stock::prepare),
];

/// The name of ours in the table.
pub(crate) const OURS: &str = "ours";

/// The tensors of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<HashMap<String, Tensor>> {
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?)
}

/// An engine that a function of ours calls.
pub(crate) struct Called<F>(pub(crate) F);

impl<F: FnMut() -> anyhow::Result<Tensor>> Ready for Called<F> {
    fn output(&mut self) -> anyhow::Result<Tensor> {
        (self.0)()
    }
}
