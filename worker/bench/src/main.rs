//! The worker on a CPU beside other programs: C0–C10.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cases`] | operations and networks: what is computed |
//! | [`engines`] | who computes it, each in a process of its own |
//! | [`networks`] | C0–C4, C10: outputs compared, times taken in turns |
//! | [`server`] | C6–C9: a real worker, asked over real sockets |
//! | [`report`] | the tables, what the targets say of them, `docs/performance.md` |
//! | [`setting`] | where things lie |
//!
//! # Invariants
//! * All engines of a case have the same weights and the same inputs, from one file.
//! * An output is compared with torch's in fp32 before a time is printed; ours too far from it makes the run fail.
//! * Times are taken in turns, so that a machine that others use too is unfair to all alike; the fastest counts.
//! * An engine that cannot do something has a row that says why.

mod cases;
mod engines;
mod networks;
mod report;
mod server;
mod setting;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Parser, Subcommand};

use crate::report::Report;
use crate::setting::Setting;

#[derive(Parser)]
#[command(about = "Compares the worker on a CPU with other programs.")]
struct CommandLine {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures, on RAYON_NUM_THREADS threads, and needs the worker's binary in SD_WORKER_BIN.
    Run(RunArgs),
    /// Is one of the engines: reads commands and answers with seconds.
    Serve(ServeArgs),
}

#[derive(Args)]
struct RunArgs {
    /// A Python that has torch, diffusers and OpenVINO.
    #[arg(long)]
    python: PathBuf,
    /// A Python that has stable-diffusion.cpp.
    #[arg(long)]
    sdcpp_python: Option<PathBuf>,
    /// Why there is none.
    #[arg(long, default_value = "it is not installed")]
    sdcpp_absent: String,
    /// Where weights, inputs and the tables go.
    #[arg(long)]
    out: PathBuf,
    /// A document that gets the tables of a whole run between its markers.
    #[arg(long)]
    document: Option<PathBuf>,
    /// The command as a person would give it, for the document.
    #[arg(long, default_value = "sd-bench run")]
    command: String,
    /// Latents of 32×32, fewer cases, engines and repeats.
    #[arg(long)]
    quick: bool,
    /// Measures only what has one of these in its name, such as C1 or linear.
    #[arg(last = true)]
    names: Vec<String>,
}

#[derive(Args)]
struct ServeArgs {
    /// Computes as the worker does: on so many threads of its pool, and with memory kept as it keeps it.
    #[arg(long)]
    worker_threads: Option<NonZeroUsize>,
}

fn main() -> anyhow::Result<()> {
    match CommandLine::parse().command {
        What::Run(args) => run(args),
        What::Serve(args) => engines::serve::serve(args.worker_threads),
    }
}

fn run(args: RunArgs) -> anyhow::Result<()> {
    // `RAYON_NUM_THREADS`, which candle reads as well, or all cores.
    let threads = rayon::current_num_threads();
    let setting = Setting {
        python: args.python,
        sdcpp: args.sdcpp_python.ok_or(args.sdcpp_absent),
        folder: args.out,
        threads,
        quick: args.quick,
    };
    for folder in [&setting.folder.join("logs"), &setting.cache()] {
        std::fs::create_dir_all(folder)?;
    }
    make_weights(&setting)?;
    let is_chosen = |id: &str, name: &str| {
        // An id is meant as a whole: C1 is not C10.
        args.names.is_empty() || args.names.iter().any(|part| part == id || (name.contains(part.as_str())))
    };
    let mut report = Report::new(&setting, args.command);
    let cases = cases::all(setting.quick, threads);
    let cases: Vec<_> = cases.into_iter().filter(|case| is_chosen(case.id, &case.name)).collect();
    // Parts of a run are no table of record.
    let document = args.document.filter(|_| args.names.is_empty() && !setting.quick);
    networks::run(&cases, &setting, |outcome| {
        print!("{}", report::tables::case(&outcome, report.peaks(), threads));
        report.outcomes.push(outcome);
        report.save(&setting.folder, document.as_deref())
    })?;
    for benchmark in server::BENCHMARKS.iter().filter(|benchmark| is_chosen(benchmark.id, benchmark.name)) {
        report.quantities.extend(benchmark.run(&setting)?);
        report.save(&setting.folder, document.as_deref())?;
    }
    report.print();
    report.verify()
}

/// Makes weights that look random, unless they are there.
fn make_weights(setting: &Setting) -> anyhow::Result<()> {
    let mut command = Command::new(&setting.python);
    command.arg(Path::new(setting::PYTHON).join("weights.py")).arg(&setting.folder);
    let status = command.arg(setting::configurations()).arg(setting::vocabulary()).status()?;
    anyhow::ensure!(status.success(), "torch could not make weights in {}", setting.folder.display());
    Ok(())
}
