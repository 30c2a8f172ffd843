//! `cargo xtask bench …`: the worker beside other programs, outputs compared before times are printed.

use clap::{Args, Subcommand};
use xshell::{Shell, cmd};

use crate::stage::Stages;
use crate::{install, workspace};

/// Arguments of the command.
#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    device: Device,
}

#[derive(Subcommand)]
enum Device {
    /// Operations and the UNet of Stable Diffusion 1.5 on the CPU, beside stock candle and PyTorch. The table goes to
    /// target/bench/cpu.md and cpu.json; weights of 3.4 GB stay beside it.
    Cpu {
        /// Latents of 32×32 and fewer repeats.
        #[arg(long)]
        quick: bool,
        /// Threads of every engine; all cores where nothing is said.
        #[arg(long)]
        threads: Option<usize>,
        /// Parts of the names of cases to compute instead of all.
        #[arg(last = true)]
        names: Vec<String>,
    },
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &BenchArgs) -> anyhow::Result<()> {
    let Device::Cpu { quick, threads, names } = &args.device;
    let mut stages = Stages::new(3);
    let python = stages.run("PyTorch and diffusers, in a Python environment", || {
        let requirements = workspace::root().join("tests/goldens/requirements.txt");
        install::python_environment(shell, &workspace::target().join("python/goldens"), &requirements)
    })?;
    let cargo = workspace::cargo();
    let package = ["--package", "sd-bench", "--features", "stock-candle"];
    stages.run("the benchmark, built", || Ok(cmd!(shell, "{cargo} build --release {package...}").run()?))?;
    stages.run("times", || {
        let out = workspace::target().join("bench");
        let quick = quick.then_some("--quick");
        let run = cmd!(shell, "{cargo} run --quiet --release {package...} -- --python {python} --out {out}");
        let run = run.args(quick).arg("--").args(names);
        match threads {
            Some(threads) => Ok(run.env("RAYON_NUM_THREADS", threads.to_string()).run()?),
            None => Ok(run.run()?),
        }
    })?;
    stages.summarize();
    Ok(())
}
