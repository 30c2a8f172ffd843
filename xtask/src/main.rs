//! `cargo xtask …`: what a fresh machine needs, in one word each.
//!
//! | module | what it holds |
//! |---|---|
//! | [`web`] | `cargo xtask web`: the browser client, built, bound to JavaScript and compressed |
//! | [`serve`] | `cargo xtask serve`: the client, the worker around it, and the worker running |
//! | [`mod@test`] | `cargo xtask test`: every check of the repository |
//! | [`cuda`] | `cargo xtask cuda`: a worker that draws on NVIDIA GPUs |
//! | [`devices`] | `cargo xtask check-devices`: the code for GPUs, as far as a compiler can tell |
//! | [`sanitizer`] | the kernels under AddressSanitizer, a stage of the tests |
//! | [`fuzz`] | `cargo xtask fuzz`: the fuzz targets, built and run |
//! | [`golden`] | `cargo xtask golden`: what the tests compare with, made anew |
//! | [`gpu_kit`] | `cargo xtask gpu-kit`: what shows on another machine what the worker does on its GPU |
//! | [`peers`] | `cargo xtask peers`: the same jobs on the worker and on another program |
//! | [`mod@bench`] | `cargo xtask bench`: the worker beside other programs, outputs compared before times are printed |
//! | [`soak`] | `cargo xtask soak`: minutes of many viewers, some of them unruly |
//! | [`candle`] | a workspace whose candle loads CUDA instead of linking with it |
//! | [`toolchain`] | a compiler for `wasm32-unknown-unknown`, however this machine can have one |
//! | [`install`] | Debian packages and Python environments, installed once |
//! | [`stage`] | numbered stages and the time each took |
//! | [`workspace`] | where things lie |
//!
//! # Invariants
//! * What is there already is used; a second run installs and builds nothing.
//! * A missing piece that cannot be had is named together with what to do about it.
//! * Nothing is written outside `target`, `web-client/dist`, `web-client/pkg` and the user's cache, except packages.

mod bench;
mod candle;
mod cuda;
mod devices;
mod fuzz;
mod glue;
mod golden;
mod gpu_kit;
mod install;
mod peers;
mod sanitizer;
mod serve;
mod soak;
mod stage;
mod test;
mod toolchain;
mod web;
mod workspace;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, serves and tests the worker.")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the browser client and the worker, then serves on 127.0.0.1:8484.
    Serve(serve::ServeArgs),
    /// Runs every check: format, lints, documentation, tests, a real browser.
    Test(test::TestArgs),
    /// Builds the browser client into web-client/dist, and the package for other pages into web-client/pkg.
    Web,
    /// Builds a worker that draws on NVIDIA GPUs, and on the CPU where there is none.
    Cuda(cuda::CudaArgs),
    /// Packs that worker with what shows, on a machine with a GPU, how well and how fast it draws.
    GpuKit(gpu_kit::GpuKitArgs),
    /// Checks the code for NVIDIA's and Apple's GPUs on a machine that has neither.
    CheckDevices,
    /// Runs the fuzz targets, which look for bytes that break a promise.
    Fuzz(fuzz::FuzzArgs),
    /// Makes what the tests compare with anew.
    Golden(golden::GoldenArgs),
    /// Compares pictures with those of another program.
    Peers(peers::PeersArgs),
    /// Measures how fast the worker is beside other programs.
    Bench(bench::BenchArgs),
    /// Lets 128 viewers, some of them unruly, watch jobs for minutes, and prints what became of them.
    Soak(soak::SoakArgs),
}

fn main() -> anyhow::Result<()> {
    let shell = workspace::shell()?;
    match Args::parse().command {
        Command::Serve(args) => serve::run(&shell, &args),
        Command::Test(args) => test::run(&shell, &args),
        Command::Web => web::run(&shell),
        Command::Cuda(args) => cuda::run(&shell, &args),
        Command::GpuKit(args) => gpu_kit::run(&shell, &args),
        Command::CheckDevices => devices::run(&shell),
        Command::Fuzz(args) => fuzz::run(&shell, &args),
        Command::Golden(args) => golden::run(&shell, &args),
        Command::Peers(args) => peers::run(&shell, &args),
        Command::Bench(args) => bench::run(&shell, &args),
        Command::Soak(args) => soak::run(&shell, &args),
    }
}
