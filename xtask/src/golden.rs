//! `cargo xtask golden`: what the tests compare with, made anew.

use clap::{Args, Subcommand};
use xshell::{Shell, cmd};

use crate::stage::Stages;
use crate::{install, workspace};

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct GoldenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The reference numbers under tests/goldens, with diffusers.
    Numbers,
    /// The OpenAPI and AsyncAPI documents under worker/tests/documents, and web-client/pkg/protocol.d.ts.
    Documents,
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &GoldenArgs) -> anyhow::Result<()> {
    match args.what {
        What::Numbers => numbers(shell),
        What::Documents => documents(shell),
    }
}

fn numbers(shell: &Shell) -> anyhow::Result<()> {
    let goldens = workspace::root().join("tests/goldens");
    let mut stages = Stages::new(2);
    let python = stages.run("diffusers, in a Python environment", || {
        let folder = workspace::target().join("python/goldens");
        install::python_environment(shell, &folder, &goldens.join("requirements.txt"))
    })?;
    let script = goldens.join("make.py");
    stages.run("reference numbers", || Ok(cmd!(shell, "{python} {script}").run()?))?;
    stages.summarize();
    Ok(())
}

fn documents(shell: &Shell) -> anyhow::Result<()> {
    let cargo = workspace::cargo();
    let test = cmd!(shell, "{cargo} test --quiet --package sd-worker --test documents as_reviewed");
    Ok(test.env("SD_UPDATE_GOLDENS", "1").run()?)
}
