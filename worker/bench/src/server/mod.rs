//! C6–C9: a real worker in a process of its own, asked over real sockets.
//!
//! | module | what it holds |
//! |---|---|
//! | [`host`] | the worker, started and asked |
//! | [`pictures`] | C6: whole pictures, beside diffusers and stable-diffusion.cpp |
//! | [`previews`] | C7: the first preview, and what previews cost |
//! | [`cancels`] | C7: how soon a canceled job ends |
//! | [`viewers`] | C8: many viewers, one of which does not read |
//! | [`start`] | C9: from the start of the process to its first step |
//! | [`quantity`] | what was measured |

mod cancels;
mod host;
mod pictures;
mod previews;
pub(crate) mod quantity;
pub(crate) mod start;
mod viewers;

pub(crate) use self::quantity::Quantity;
use crate::setting::Setting;

/// One benchmark of the server.
pub(crate) struct Benchmark {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    run: fn(&Setting, &tokio::runtime::Runtime) -> anyhow::Result<Vec<Quantity>>,
}

/// All of them.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    Benchmark { id: "C6", name: "whole pictures", run: |setting, runtime| runtime.block_on(pictures::run(setting)) },
    Benchmark { id: "C7", name: "previews", run: |setting, runtime| runtime.block_on(previews::run(setting)) },
    Benchmark { id: "C7", name: "cancels", run: |setting, runtime| runtime.block_on(cancels::run(setting)) },
    Benchmark { id: "C8", name: "viewers", run: |setting, runtime| runtime.block_on(viewers::run(setting)) },
    Benchmark { id: "C9", name: "start", run: |setting, runtime| runtime.block_on(start::run(setting)) },
];

impl Benchmark {
    /// Measures; a benchmark that fails is a quantity that says why.
    ///
    /// # Errors
    /// When there are no threads to run on.
    pub(crate) fn run(&self, setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
        eprintln!("{} {}", self.id, self.name);
        // One thread, so that clients take as little as they can from what they measure.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok((self.run)(setting, &runtime).unwrap_or_else(|error| {
            eprintln!("  {error:#}");
            vec![Quantity::absent(self.id, self.name, crate::engines::OURS, format!("{error:#}"))]
        }))
    }
}
