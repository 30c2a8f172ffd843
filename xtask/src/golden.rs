//! `cargo xtask golden`: the reference numbers under `tests/goldens`, made anew with diffusers.

use xshell::{Shell, cmd};

use crate::stage::Stages;
use crate::{install, workspace};

/// Runs the command.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
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
