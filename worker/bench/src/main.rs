//! The worker's networks on a CPU beside those of other programs.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cases`] | what is computed: the table `CASES` |
//! | [`engines`] | who computes it: the trait `Engine`, and the table of them |
//! | [`ours`] `stock` [`torch`] | one engine each |
//! | [`round`] | one case: inputs, outputs compared, times taken in turns |
//! | [`report`] | the table, in Markdown and JSON |
//!
//! # Invariants
//! * All engines of a case have the same weights and the same inputs, from one file.
//! * An output is compared with torch's in f32 before a time is printed; ours too far from it is an error.
//! * Times are taken in turns, so that a machine that others use too is unfair to all alike; the fastest counts.

mod cases;
mod engines;
mod ours;
mod report;
mod round;
#[cfg(feature = "stock-candle")]
mod stock;
mod torch;

use std::path::PathBuf;

use clap::Parser;

use crate::engines::Setting;

#[derive(Parser)]
#[command(
    about = "Compares the worker's networks on a CPU with those of other programs, on RAYON_NUM_THREADS threads."
)]
struct Args {
    /// A Python that has torch and diffusers.
    #[arg(long)]
    python: PathBuf,
    /// Where weights, inputs and the table go.
    #[arg(long)]
    out: PathBuf,
    /// Latents of 32×32 and fewer repeats.
    #[arg(long)]
    quick: bool,
    /// Computes only cases whose names contain one of these.
    #[arg(last = true)]
    names: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // `RAYON_NUM_THREADS`, which candle reads as well, or all cores.
    let threads = rayon::current_num_threads();
    std::fs::create_dir_all(&args.out)?;
    let setting = Setting { python: args.python, folder: args.out.clone(), threads };
    let mut report = report::Report::new(threads, args.quick);
    let chosen = |name: &str| args.names.is_empty() || args.names.iter().any(|part| name.contains(part));
    for case in cases::all(args.quick).into_iter().filter(|case| chosen(&case.name)) {
        report.add(round::run(&case, &setting)?);
    }
    report.write(&args.out)?;
    Ok(())
}
