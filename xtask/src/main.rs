//! `cargo xtask …`: what a fresh machine needs, in one word each.
//!
//! | module | what it holds |
//! |---|---|
//! | [`web`] | `cargo xtask web`: the browser client, built, bound to JavaScript and compressed |
//! | [`serve`] | `cargo xtask serve`: the client, the worker around it, and the worker running |
//! | [`mod@test`] | `cargo xtask test`: every check of the repository |
//! | [`fuzz`] | `cargo xtask fuzz`: the fuzz targets, built and run |
//! | [`golden`] | `cargo xtask golden`: what the tests compare with, made anew |
//! | [`peers`] | `cargo xtask peers`: the same jobs on the worker and on another program |
//! | [`mod@bench`] | `cargo xtask bench`: the worker beside other programs, outputs compared before times are printed |
//! | [`soak`] | `cargo xtask soak`: minutes of many viewers, some of them unruly |
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
mod fuzz;
mod glue;
mod golden;
mod install;
mod peers;
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
        Command::Fuzz(args) => fuzz::run(&shell, &args),
        Command::Golden(args) => golden::run(&shell, &args),
        Command::Peers(args) => peers::run(&shell, &args),
        Command::Bench(args) => bench::run(&shell, &args),
        Command::Soak(args) => soak::run(&shell, &args),
    }
}
