//! candle with a CUDA that is looked for when a worker starts, so that one program runs with a driver and without.
//!
//! candle links with CUDA, and such a program does not even start where a library of it is missing. Two small changes
//! make the difference; each is checked to find what it changes, so that another release of candle is noticed:
//!
//! * `candle-core` asks its bindings, `cudarc`, to load libraries instead of linking with them;
//! * `candle-kernels` compiles the kernels that are handed to the driver as PTX, which every newer GPU can run, and leaves
//!   out those for quantised language models, which link with CUDA and are most of the work and of the size.
//!
//! Cargo replaces a crate for a whole workspace and writes that into its lock file. So the changed crates go with a
//! workspace of their own under `target/cuda`: links to the folders of this one, and a copy of its lock file.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use fs_err as fs;
use xshell::{Cmd, Shell, cmd};

use crate::workspace;

/// What the workspace has in common with this one.
const LINKED: [&str; 7] = ["Cargo.toml", "clippy.toml", "protocol", "tests", "web-client", "worker", "xtask"];

/// How candle names the way to its libraries, and how it should.
const LINKING: &str = "\"dynamic-linking\"";
const LOADING: &str = "\"fallback-dynamic-loading\"";

/// The build script of `candle-kernels` without what is linked.
const COMPILE_KERNELS: &str = r#"fn main() -> cudaforge::Result<()> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    let kernels = cudaforge::KernelBuilder::new()
        .source_dir("src")
        .exclude(&["moe_*.cu", "mmvq_gguf.cu", "mmq_*.cu"])
        .arg("--expt-relaxed-constexpr")
        .arg("-std=c++17")
        .arg("-O3")
        .build_ptx()?;
    kernels.write(&out.join("ptx.rs")).map(drop)
}
"#;

/// The same with empty kernels: enough for the compiler to check what calls them, without CUDA's own compiler.
const NAME_KERNELS: &str = r#"fn main() {
    let names = ["AFFINE", "BINARY", "CAST", "CONV", "FILL", "INDEXING", "QUANTIZED", "REDUCE", "SORT", "TERNARY", "UNARY"];
    let lines: String = names.iter().map(|name| format!("pub const {name}: &str = \"\";\n")).collect();
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("ptx.rs"), lines).expect("cargo's own folder can be written");
}
"#;

/// What becomes of the kernels.
#[derive(Clone, Copy)]
pub(crate) enum Kernels {
    /// Compiled by `nvcc`.
    Compiled,
    /// Empty, for a check of types.
    Named,
}

/// A workspace whose candle loads CUDA.
pub(crate) struct CudaWorkspace {
    folder: PathBuf,
    crates: PathBuf,
}

impl CudaWorkspace {
    /// Makes one, or brings it up to date; what is as it should be keeps its time, so that cargo compiles nothing again.
    ///
    /// # Errors
    /// When candle has changed, or a file cannot be written.
    pub(crate) fn prepare(shell: &Shell, kernels: Kernels) -> anyhow::Result<Self> {
        let (name, build) = match kernels {
            Kernels::Compiled => ("workspace", COMPILE_KERNELS),
            Kernels::Named => ("check", NAME_KERNELS),
        };
        let folder = workspace::target().join("cuda").join(name);
        // Beside it, because crates within a workspace are linted as its own.
        let crates = workspace::target().join("cuda/candle").join(name);
        fs::create_dir_all(&folder)?;
        for name in LINKED {
            let made = symlink(workspace::root().join(name), folder.join(name));
            made.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
        }
        fs::copy(workspace::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;

        let sources = sources(shell)?;
        let manifest = fs::read_to_string(sources.core.join("Cargo.toml"))?;
        ensure!(manifest.matches(LINKING).count() == 1, "candle-core has changed: {LINKING} is not there once");
        let manifest = manifest.replace(LINKING, LOADING);
        copy(&sources.core, &crates.join("candle-core"), ("Cargo.toml", &manifest))?;

        let original = fs::read_to_string(sources.kernels.join("build.rs"))?;
        let known = ["build_ptx()", "libmoe.a", "dylib=cudart"].iter().all(|part| original.contains(part));
        ensure!(known, "candle-kernels has changed: its build script is not the one that ours takes the place of");
        copy(&sources.kernels, &crates.join("candle-kernels"), ("build.rs", build))?;
        Ok(Self { folder, crates })
    }

    /// `cargo SUBCOMMAND` in this workspace.
    pub(crate) fn cargo<'a>(&self, shell: &'a Shell, subcommand: &str) -> Cmd<'a> {
        let (cargo, manifest) = (workspace::cargo(), self.folder.join("Cargo.toml"));
        let mut command = cmd!(shell, "{cargo} {subcommand} --manifest-path {manifest}");
        for name in ["candle-core", "candle-kernels"] {
            let path = self.crates.join(name);
            command =
                command.arg("--config").arg(format!("patch.crates-io.{name}.path={:?}", path.display().to_string()));
        }
        command
    }
}

/// Where cargo keeps candle.
struct Sources {
    core: PathBuf,
    kernels: PathBuf,
}

fn sources(shell: &Shell) -> anyhow::Result<Sources> {
    let cargo = workspace::cargo();
    let text = cmd!(shell, "{cargo} metadata --format-version 1 --locked --features sd-worker/cuda").quiet().read()?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let folder = |name: &str| -> anyhow::Result<PathBuf> {
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let manifest =
            packages.filter(|package| package["name"] == name).find_map(|package| package["manifest_path"].as_str());
        let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
        Ok(folder.with_context(|| format!("the worker does not use {name} any more"))?.to_owned())
    };
    Ok(Sources { core: folder("candle-core")?, kernels: folder("candle-kernels")? })
}

/// Copies the crate in `from` to `to`, with another text in one of its files.
fn copy(from: &Path, to: &Path, (changed, text): (&str, &str)) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, ("", ""))?;
        } else if entry.file_name().to_str() == Some(changed) {
            write(&target, text.as_bytes())?;
        } else {
            write(&target, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Writes a file that is not as it should be.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    Ok(fs::write(path, bytes)?)
}
