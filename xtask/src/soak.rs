//! `cargo xtask soak`: minutes of many viewers, some of them unruly.

use std::env;

use clap::Args;
use xshell::{Shell, cmd};

use crate::workspace;

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct SoakArgs {
    /// Minutes in which new jobs come.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &SoakArgs) -> anyhow::Result<()> {
    let cargo = workspace::cargo();
    // The whole workspace, so that what its tests have compiled serves here again.
    cmd!(shell, "{cargo} build --workspace --bins").run()?;
    let program = |name: &str| workspace::target().join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let (soak, minutes) = (program("soak"), args.minutes.to_string());
    Ok(cmd!(shell, "{soak} {minutes}").env("SD_WORKER_BIN", program("sd-worker")).run()?)
}
