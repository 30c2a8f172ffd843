//! `cargo xtask serve`: builds everything in release and becomes the worker.

use std::process::Command;

use xshell::{Shell, cmd};

use crate::stage::Stages;
use crate::toolchain::WasmToolchain;
use crate::{web, workspace};

/// Arguments of the command.
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// Flags of `sd-worker serve`; see `cargo xtask serve -- --help`.
    #[arg(last = true)]
    flags: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &ServeArgs) -> anyhow::Result<()> {
    let mut stages = Stages::new(4);
    let toolchain = stages.run("a compiler for the browser", || WasmToolchain::obtain(shell))?;
    stages.run("the browser client", || web::build(shell, &toolchain))?;
    let cargo = workspace::cargo();
    let build = cmd!(shell, "{cargo} build --release --package sd-worker --features embed-client");
    stages.run("the worker, in release", || Ok(build.run()?))?;
    let worker = workspace::target().join("release/sd-worker");
    let mut worker = Command::new(worker);
    worker.arg("serve").args(&args.flags);
    stages.run("the worker starts", || Err(replace_with(&mut worker)))
}

/// Becomes `command`, so that signals reach it and its exit status is ours; returns only if that is impossible.
fn replace_with(command: &mut Command) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    command.exec().into()
}
