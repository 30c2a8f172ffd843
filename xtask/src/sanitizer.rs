//! The kernels' tests under AddressSanitizer, which sees every read and write beyond the memory that it belongs to.

use std::path::Path;

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::workspace;

/// The machine that kernels with instructions of their own are for; others run portable ones.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Why the tests cannot run here, where that is so.
pub(crate) fn lacks(shell: &Shell) -> Option<String> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some("it is set up for Linux on x86-64".into());
    }
    let library = match cmd!(shell, "rustc --print target-libdir").quiet().read() {
        Ok(library) => Path::new(&library).join("librustc-stable_rt.asan.a"),
        Err(error) => return Some(format!("the compiler does not say where its libraries are: {error}")),
    };
    (!library.exists()).then(|| format!("the compiler came without {}; rustup's has it", library.display()))
}

/// Runs them.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let cargo = workspace::cargo();
    let target_dir = workspace::target().join("sanitizer");
    cmd!(shell, "{cargo} test --package sd-kernels --tests --target {TARGET} --target-dir {target_dir}")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // The flag is one of the unstable ones, and what it does has not changed for years.
        .env("RUSTC_BOOTSTRAP", "1")
        .run()
        .context("a kernel leaves its memory, or a test of one failed")
}
