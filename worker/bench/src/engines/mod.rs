//! Who computes a case: each in a process of its own, so that memory and threads are its own.
//!
//! | module | what it holds |
//! |---|---|
//! | [`process`] | an engine as this program sees it: a process that reads commands and answers with seconds |
//! | [`serve`] | such a process from the inside, for the engines that are written in Rust |
//! | [`ours`] `stock` | the two of them |
//!
//! The others are in `python/`, behind the same protocol.

pub(crate) mod ours;
pub(crate) mod process;
pub(crate) mod serve;
#[cfg(feature = "stock-candle")]
mod stock;

use std::time::Duration;

use crate::cases::{Case, Dtype, Work};

/// One line of the table of engines.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) dtypes: &'static [Dtype],
    pub(crate) program: Program,
    /// Copies of the weights that it holds while it computes.
    pub(crate) copies: f64,
    /// Why it computes no such thing, where it does not.
    pub(crate) refuses: fn(&Work) -> Option<&'static str>,
    /// Whether `--quick` has time for it.
    pub(crate) is_quick: fn(&Work) -> bool,
}

/// What is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// A module of `python/`.
    Python(&'static str),
    /// The same with the Python that has stable-diffusion.cpp.
    SdCpp,
    /// This program.
    Own,
}

impl Engine {
    /// Whether rows of a case are about it.
    pub(crate) fn takes_part(&self, case: &Case) -> bool {
        let scaling = case.id == "C10";
        self.dtypes.contains(&case.dtype) && (!scaling || self.name == OURS)
    }
}

/// Between the turn of an engine and that of the next. OpenMP's threads look for work in a loop for about 15 ms before they
/// sleep, and would keep it from its cores.
pub(crate) const REST: Duration = Duration::from_millis(50);

/// The name of ours in the table.
pub(crate) const OURS: &str = "ours";
/// The engine that all outputs are compared with, in fp32.
pub(crate) const REFERENCE: &str = "torch eager";
/// The name of candle as it is published.
pub(crate) const STOCK: &str = "stock candle";
/// The name of stable-diffusion.cpp.
pub(crate) const SDCPP: &str = "stable-diffusion.cpp";

/// Every engine.
pub(crate) const ENGINES: &[Engine] = &[
    Engine { name: OURS, copies: 1.1, ..Engine::OWN },
    Engine { name: REFERENCE, copies: 1.3, is_quick: |work| !work.is_network(), ..Engine::TORCH },
    Engine {
        name: "torch channels_last",
        refuses: |work| matches!(work, Work::Linear { .. }).then_some("a product has no channels to put last"),
        ..Engine::TORCH
    },
    // The faster of the two that are compiled.
    Engine { name: "torch compile channels_last", ..Engine::COMPILED },
    Engine { name: "OpenVINO", program: Program::Python("openvino_engine"), copies: 2.1, ..Engine::TORCH },
    Engine {
        name: SDCPP,
        dtypes: &[Dtype::Fp32],
        program: Program::SdCpp,
        refuses: |work| match work {
            Work::Unet { batch: 1, .. } => None,
            Work::Unet { .. } => Some("its library draws pictures one by one"),
            _ => Some("its library draws whole pictures, and its callback tells the time of a step alone"),
        },
        is_quick: |_| false,
        ..Engine::TORCH
    },
    Engine {
        name: STOCK,
        dtypes: &[Dtype::Fp32],
        is_quick: |work| !work.is_network(),
        // The module is private, so that builds without its feature say why the row is empty.
        ..Engine::OWN
    },
];

impl Engine {
    const OWN: Self = Self {
        name: "",
        dtypes: &Dtype::ALL,
        program: Program::Own,
        copies: 1.3,
        refuses: |_| None,
        is_quick: |_| true,
    };
    const TORCH: Self = Self { program: Program::Python("torch_engine"), copies: 1.5, ..Self::OWN };
    const COMPILED: Self = Self {
        copies: 2.2,
        refuses: |work| match work {
            Work::Conv2d { .. } | Work::Linear { .. } => Some("there is nothing around one operation to compile"),
            Work::Unet { batch: 2.., .. } => Some("it is compiled for a batch of 1 alone, which takes minutes"),
            Work::Unet { .. } | Work::Vae { .. } => None,
        },
        is_quick: |_| false,
        ..Self::TORCH
    };
}

#[cfg(not(feature = "stock-candle"))]
mod stock {
    //! This build has no stock candle.

    use super::serve::{Compute, Spec};

    pub(super) fn prepare(_: &Spec) -> anyhow::Result<Compute> {
        anyhow::bail!("this build is without the feature `stock-candle`")
    }
}
