//! Where things lie, and what all engines share.

use std::path::{Path, PathBuf};

/// The folder of the Python engines.
pub(crate) const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");
const WORKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What all engines share.
#[derive(Debug)]
pub(crate) struct Setting {
    /// A Python that has torch, diffusers and OpenVINO.
    pub(crate) python: PathBuf,
    /// A Python that has stable-diffusion.cpp, or why there is none.
    pub(crate) sdcpp: Result<PathBuf, String>,
    /// Of weights, inputs, outputs and logs.
    pub(crate) folder: PathBuf,
    pub(crate) threads: usize,
    pub(crate) quick: bool,
}

impl Setting {
    /// The networks in f32, in the diffusers layout.
    pub(crate) fn model(&self) -> PathBuf {
        self.folder.join("sd15")
    }

    /// The whole pipeline in f16, in the diffusers layout.
    pub(crate) fn pipeline(&self) -> PathBuf {
        self.folder.join("sd15-f16")
    }

    /// The Python that has stable-diffusion.cpp.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn sdcpp(&self) -> anyhow::Result<&Path> {
        self.sdcpp.as_deref().map_err(|why| anyhow::anyhow!("{why}"))
    }

    /// What is worth keeping from one run to the next, and may be thrown away.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// What engines said beside their answers.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{}.log", name.replace([' ', ',', '/'], "-")))
    }
}

/// Configurations of Stable Diffusion 1.5's networks.
pub(crate) fn configurations() -> PathBuf {
    Path::new(WORKER).join("data/checkpoints/sd1")
}

/// CLIP's vocabulary as it was published.
pub(crate) fn vocabulary() -> PathBuf {
    Path::new(WORKER).join("data/clip/bpe_simple_vocab_16e6.txt.gz")
}

/// The model inside the worker, as a folder.
pub(crate) fn builtin() -> PathBuf {
    Path::new(WORKER).join("builtin/model")
}
