//! `cargo xtask test`: every check of the repository, in the order in which a fault shows soonest.

use std::env;

use anyhow::Context;
use xshell::{Cmd, Shell, cmd};

use crate::stage::Stages;
use crate::toolchain::WasmToolchain;
use crate::{devices, fuzz, install, sanitizer, web, workspace};

/// Features of the worker that the tests spawn: the client inside, so that a browser has a page to open.
const WORKER_FEATURES: &str = "sd-worker/embed-client";

/// Arguments of the command.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Leaves out format, lints and documentation.
    #[arg(long)]
    fast: bool,
    /// Names of tests to run instead of all.
    #[arg(last = true)]
    names: Vec<String>,
}

/// Tests that this machine cannot run.
struct Skip {
    /// Module of the tests.
    module: &'static str,
    /// What is missing and what to do about it.
    reason: String,
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &TestArgs) -> anyhow::Result<()> {
    let unsanitized = sanitizer::lacks(shell);
    let mut stages = Stages::new(if args.fast { 5 } else { 11 + usize::from(unsanitized.is_none()) });
    if !args.fast {
        stages.run("format", || Ok(cargo(shell, "fmt").args(["--all", "--check"]).run()?))?;
    }
    let toolchain = stages.run("compilers for the browser and of C++", || {
        // Kernels for GPUs run on the CPU as C++.
        if !install::has(shell, "c++") {
            install::debian_packages(shell, &["g++"])?;
        }
        WasmToolchain::obtain(shell)
    })?;
    stages.run("the browser client", || web::build(shell, &toolchain))?;
    if !args.fast {
        let deny = ["--", "--deny", "warnings"];
        stages.run("lints", || {
            Ok(cargo(shell, "clippy")
                .args(["--workspace", "--all-targets", "--features", WORKER_FEATURES])
                .args(deny)
                .run()?)
        })?;
        stages.run("lints of the browser code", || {
            // The profile of the client's build, whose compiled macros and build scripts serve here again.
            let crates = ["--package", "sd-protocol", "--package", "sd-web-client", "--profile", "web"];
            for build in ["sd-web-client/page", "sd-web-client/package"] {
                let features = ["--no-default-features", "--features", build];
                toolchain.cargo(shell, "clippy").args(crates).args(features).args(deny).run()?;
            }
            Ok(())
        })?;
        stages.run("lints of the code for GPUs", || devices::lint(shell))?;
        stages.run("documentation", || {
            let doc = cargo(shell, "doc").args(["--workspace", "--no-deps", "--features", WORKER_FEATURES]);
            Ok(doc.env("RUSTDOCFLAGS", "--deny warnings").run()?)
        })?;
    }
    let skips = stages.run("a browser and other clients to test with", || Ok(skips(shell)))?;
    for Skip { module, reason } in &skips {
        stages.remark(format!("SKIPPED: the {module} tests, because {reason}"));
    }
    // All targets at once: the worker that the end-to-end tests spawn is built with the features that the tests
    // of the same crates are built with, so nothing is compiled twice.
    stages.run("tests, built", || {
        Ok(cargo(shell, "build").args(["--workspace", "--all-targets", "--features", WORKER_FEATURES]).run()?)
    })?;
    if !args.fast {
        stages.run("fuzz targets, built", || fuzz::build(shell))?;
        match unsanitized {
            None => stages.run("kernels under AddressSanitizer", || sanitizer::run(shell))?,
            Some(why) => stages.remark(format!("SKIPPED: the kernels under AddressSanitizer, because {why}")),
        }
    }
    stages.run("tests", || tests(shell, &skips, &args.names))?;
    stages.summarize();
    Ok(())
}

fn cargo<'a>(shell: &'a Shell, subcommand: &str) -> Cmd<'a> {
    let cargo = workspace::cargo();
    cmd!(shell, "{cargo} {subcommand}")
}

/// Gets what the end-to-end tests need beside Rust; what cannot be had leaves its tests out.
fn skips(shell: &Shell) -> Vec<Skip> {
    let mut skips = Vec::new();
    let present = install::has(shell, "chromium") && install::has(shell, "chromedriver");
    if !present && let Err(error) = install::debian_packages(shell, &["chromium", "chromium-driver"]) {
        skips.push(Skip { module: "browser", reason: format!("there is no chromium with chromedriver: {error:#}") });
    }
    // Shaders run natively on whatever Vulkan there is; Mesa brings one that needs no GPU.
    if !install::has_vulkan()
        && let Err(error) = install::debian_packages(shell, &["mesa-vulkan-drivers"])
    {
        skips.push(Skip { module: "gpu", reason: format!("there is no Vulkan driver: {error:#}") });
    }
    let (peers, target) = (workspace::root().join("tests/peers"), workspace::target());
    let requirements = peers.join("requirements.txt");
    if let Err(error) = install::python_environment(shell, &target.join("python/peers"), &requirements) {
        skips.push(Skip { module: "peers", reason: format!("the Python clients cannot be installed: {error:#}") });
    }
    if let Err(error) = install::node_environment(shell, &target.join("node/peers"), &peers) {
        skips.push(Skip { module: "peers", reason: format!("the clients from npm cannot be installed: {error:#}") });
    }
    let requirements = peers.join("autobahn/requirements.txt");
    if let Err(error) = install::python2_environment(shell, &target.join("python/autobahn"), &requirements) {
        skips.push(Skip { module: "autobahn", reason: format!("its fuzzing client cannot be installed: {error:#}") });
    }
    skips
}

/// Runs documentation tests, then all others; the last line of the last runner tells how many.
fn tests(shell: &Shell, skips: &[Skip], names: &[String]) -> anyhow::Result<()> {
    let nextest = cargo(shell, "nextest").arg("--version").quiet().ignore_stdout().ignore_stderr().run().is_ok();
    let features = ["--workspace", "--features", WORKER_FEATURES];
    let mut runner = if nextest {
        if names.is_empty() {
            cargo(shell, "test").arg("--doc").args(features).run()?;
        }
        cargo(shell, "nextest").arg("run").args(features)
    } else {
        eprintln!("cargo-nextest is not installed; cargo's own runner takes its place");
        cargo(shell, "test").args(features)
    };
    // Both runners pass what follows `--` to the same effect: tests whose names contain it, or do not.
    runner = runner.arg("--").args(names);
    for Skip { module, .. } in skips {
        runner = runner.arg("--skip").arg(format!("{module}::"));
    }
    let worker = workspace::target().join("debug").join(format!("sd-worker{}", env::consts::EXE_SUFFIX));
    runner
        .env("SD_WORKER_BIN", worker)
        .env("SD_PEERS_PYTHON", workspace::target().join("python/peers/bin/python"))
        .env("SD_PEERS_AUTOBAHN", workspace::target().join("python/autobahn"))
        .env("SD_PEERS_NODE", workspace::target().join("node/peers"))
        .run()
        .context("a test failed")
}
