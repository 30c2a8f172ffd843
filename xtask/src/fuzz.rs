//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer, on the stable toolchain.
//!
//! Only our crates and the decoders of pictures are compiled anew, with coverage; the rest is what the tests were
//! built from. Inputs that take a new path are kept under `target/fuzz/corpus`, a finding under
//! `target/fuzz/findings`: copied to `tests/fuzz/seeds/TARGET`, it is a test from then on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fs_err as fs;
use xshell::{Shell, cmd};

use crate::stage::Stages;
use crate::{install, workspace};

/// Decoders that are compiled with checks for overflow, and with coverage by `tests/fuzz/instrument.sh`.
const DECODERS: [&str; 8] = ["fdeflate", "gif", "image", "image-webp", "png", "weezl", "zune-core", "zune-jpeg"];

/// Longest time for one input; what takes longer is a finding.
const INPUT_TIMEOUT: Duration = Duration::from_secs(20);
/// Memory of a target, in MiB; what takes more is a finding.
const MEMORY_MIB: u32 = 2048;
/// Largest input, in bytes.
const INPUT_BYTES_MAX: u32 = 16 << 10;

/// Arguments of the command.
#[derive(clap::Args)]
pub(crate) struct FuzzArgs {
    /// Time for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Names from tests/fuzz/fuzz_targets; all of them unless told otherwise.
    targets: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &FuzzArgs) -> anyhow::Result<()> {
    let known = targets()?;
    for name in &args.targets {
        ensure!(known.contains(name), "no target {name:?}; there are {}", known.join(", "));
    }
    let chosen = if args.targets.is_empty() { known } else { args.targets.clone() };
    let mut stages = Stages::new(2);
    stages.run("the fuzz targets, built", || build(shell))?;
    let mut last_words = Vec::new();
    stages.run("the fuzz targets, run", || {
        for name in &chosen {
            last_words.push(fuzz(name, args.seconds)?);
        }
        Ok(())
    })?;
    last_words.into_iter().for_each(|said| stages.remark(said));
    stages.summarize();
    Ok(())
}

/// Builds all targets.
pub(crate) fn build(shell: &Shell) -> anyhow::Result<()> {
    if !install::has(shell, "c++") {
        install::debian_packages(shell, &["g++"])?;
    }
    let wrapper = root().join("instrument.sh");
    let cargo = workspace::cargo();
    let checked = DECODERS
        .iter()
        .flat_map(|name| ["--config".into(), format!("profile.dev.package.{name}.debug-assertions=true")]);
    let programs = targets()?.into_iter().flat_map(|name| ["--bin".into(), name]);
    // The whole workspace, so that dependencies have the features that the tests built them with.
    cmd!(shell, "{cargo} build --workspace --features sd-fuzz/libfuzzer")
        .args(programs)
        .args(checked)
        .env("RUSTC_WRAPPER", &wrapper)
        .env("RUSTC_WORKSPACE_WRAPPER", &wrapper)
        .run()
        .context("the fuzz targets could not be built")
}

fn root() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

fn targets() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("fuzz_targets"))? {
        names.push(entry?.path().file_stem().context("a target has a name")?.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Runs one target; returns what it said last.
fn fuzz(name: &str, seconds: u64) -> anyhow::Result<String> {
    let folder = workspace::target().join("fuzz");
    let (corpus, findings) = (folder.join("corpus").join(name), folder.join("findings").join(name));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let log = folder.join(format!("{name}.log"));
    let status = Command::new(workspace::target().join("debug").join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={}", INPUT_TIMEOUT.as_secs()))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .args(dictionary(name))
        .arg(&corpus)
        .arg(root().join("seeds").join(name))
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log)?.into_file())
        .status()?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        let tail: Vec<&str> = said.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{name} found something, see {} and {}:\n{}", findings.display(), log.display(), tail.join("\n"));
    }
    let last = said.lines().rev().find(|line| line.contains(" cov: ")).unwrap_or_default();
    Ok(format!("{name}: {}", last.trim()))
}

/// Words that a target's language is made of, where there are some.
fn dictionary(name: &str) -> Option<String> {
    let path = root().join("dictionaries").join(format!("{name}.txt"));
    Path::exists(&path).then(|| format!("-dict={}", path.display()))
}
