//! `cargo xtask bench …`: the worker beside other programs, outputs compared before times are printed.

use std::env;
use std::path::PathBuf;

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
    /// The benchmarks C0–C10 on the CPU, beside PyTorch, OpenVINO, stable-diffusion.cpp and stock candle. The tables go
    /// to target/bench/cpu.md and cpu.json, and those of a whole run into docs/performance.md as well; some 20 GB of
    /// weights, packed ones, converted models and compiled ones stay in target/bench.
    Cpu {
        /// Latents of 32×32, and fewer cases, engines and repeats.
        #[arg(long)]
        quick: bool,
        /// Threads of every engine; all cores where nothing is said.
        #[arg(long)]
        threads: Option<usize>,
        /// What to measure instead of all: ids such as C1, or parts of names such as linear or viewers.
        #[arg(last = true)]
        names: Vec<String>,
    },
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &BenchArgs) -> anyhow::Result<()> {
    let Device::Cpu { quick, threads, names } = &args.device;
    let mut stages = Stages::new(4);
    let (python, remark) = stages.run("PyTorch, diffusers and OpenVINO, in a Python environment", || torch(shell))?;
    remark.into_iter().for_each(|remark| stages.remark(remark));
    let sdcpp = stages.run("stable-diffusion.cpp, built for this machine", || Ok(sdcpp(shell)))?;
    if let Err(error) = &sdcpp {
        stages.remark(format!("The rows of stable-diffusion.cpp stay empty, for it cannot be installed: {error:#}"));
    }
    let cargo = workspace::cargo();
    let packages = ["--package", "sd-bench", "--package", "sd-worker", "--features", "sd-bench/stock-candle"];
    stages.run("the benchmark and the worker, in release", || {
        Ok(cmd!(shell, "{cargo} build --release {packages...}").run()?)
    })?;
    let program = |name: &str| workspace::target().join("release").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let (bench, out) = (program("sd-bench"), workspace::target().join("bench"));
    let document = workspace::root().join("docs/performance.md");
    stages.run("times", || {
        let mut run = cmd!(shell, "{bench} run --python {python} --out {out} --document {document}");
        run = run.args(["--command", &said(args)]).args(quick.then_some("--quick"));
        run = match &sdcpp {
            Ok(python) => run.arg("--sdcpp-python").arg(python),
            Err(why) => run.args(["--sdcpp-absent", &format!("it cannot be installed: {why:#}")]),
        };
        if let Some(threads) = threads {
            run = run.env("RAYON_NUM_THREADS", threads.to_string());
        }
        Ok(run.env("SD_WORKER_BIN", program("sd-worker")).arg("--").args(names).run()?)
    })?;
    stages.summarize();
    Ok(())
}

/// A Python with PyTorch, and OpenVINO where it can be had; and what to say where it cannot.
fn torch(shell: &Shell) -> anyhow::Result<(PathBuf, Option<String>)> {
    // The compiled mode of PyTorch calls a compiler of C++.
    if !install::has(shell, "g++") {
        install::debian_packages(shell, &["g++"])?;
    }
    let folder = |name: &str| workspace::target().join("python").join(name);
    let requirements = workspace::root().join("worker/bench/python/requirements.txt");
    match install::python_environment(shell, &folder("bench"), &requirements) {
        Ok(python) => Ok((python, None)),
        Err(error) => {
            let requirements = workspace::root().join("tests/goldens/requirements.txt");
            let python = install::python_environment(shell, &folder("goldens"), &requirements)?;
            Ok((python, Some(format!("OpenVINO's rows stay empty, for it cannot be installed: {error:#}"))))
        }
    }
}

/// A Python with stable-diffusion.cpp.
fn sdcpp(shell: &Shell) -> anyhow::Result<PathBuf> {
    if !install::has(shell, "g++") {
        install::debian_packages(shell, &["g++"])?;
    }
    let requirements = workspace::root().join("worker/bench/python/requirements-sdcpp.txt");
    // `-march=native`; pip brings a cmake and a ninja of its own for the build.
    let _native = shell.push_env("CMAKE_ARGS", "-DGGML_NATIVE=ON");
    install::python_environment(shell, &workspace::target().join("python/bench-sdcpp"), &requirements)
}

/// The command as a person would give it.
fn said(args: &BenchArgs) -> String {
    let Device::Cpu { quick, threads, names } = &args.device;
    let mut words = vec!["cargo xtask bench cpu".to_owned()];
    words.extend(quick.then(|| "--quick".to_owned()));
    words.extend(threads.map(|threads| format!("--threads {threads}")));
    if !names.is_empty() {
        words.push(format!("-- {}", names.join(" ")));
    }
    words.join(" ")
}
