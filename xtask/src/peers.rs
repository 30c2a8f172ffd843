//! `cargo xtask peers …`: the same jobs on the worker and on another program, and how far apart they are.

use std::env;

use clap::{Args, Subcommand};
use xshell::{Shell, cmd};

use crate::stage::Stages;
use crate::{install, workspace};

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Subcommand)]
enum Peer {
    /// Draws random jobs through the HTTP API and with diffusers, and prints the largest difference of each.
    Diffusers {
        /// How many.
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// Chooses the jobs.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &PeersArgs) -> anyhow::Result<()> {
    let Peer::Diffusers { count, seed } = args.peer;
    let (count, seed) = (count.to_string(), seed.to_string());
    let mut stages = Stages::new(3);
    let python = stages.run("diffusers, in a Python environment", || {
        let requirements = workspace::root().join("tests/goldens/requirements.txt");
        install::python_environment(shell, &workspace::target().join("python/goldens"), &requirements)
    })?;
    let cargo = workspace::cargo();
    // The whole workspace, so that what its tests have compiled serves here again.
    stages.run("the worker, built", || Ok(cmd!(shell, "{cargo} build --workspace --bin sd-worker").run()?))?;
    let worker = workspace::target().join("debug").join(format!("sd-worker{}", env::consts::EXE_SUFFIX));
    let script = workspace::root().join("tests/peers/diffusers_pictures.py");
    stages.run("pictures", || Ok(cmd!(shell, "{python} {script} {worker} --count {count} --seed {seed}").run()?))?;
    stages.summarize();
    Ok(())
}
