//! `cargo xtask check-devices`: the code for NVIDIA's and Apple's GPUs, as far as a compiler can tell on a machine that has
//! neither, nor CUDA's compiler, nor Apple's.

use std::os::unix::fs::PermissionsExt;

use anyhow::Context;
use fs_err as fs;
use xshell::{Cmd, Shell, cmd};

use crate::candle::{CudaWorkspace, Kernels};
use crate::stage::Stages;
use crate::{install, toolchain, workspace};

/// The version of CUDA that the bindings are made for, where no compiler of CUDA tells it.
const CUDA_VERSION: &str = "13000";

/// Takes the place of a C compiler and of `ar`: what it makes is there, and empty. Build scripts of C code want to
/// compile it even where only Rust is checked, and there is no C compiler for Apple's systems elsewhere.
const EMPTY_OUTPUT: &str = "\
#!/bin/sh
previous=
for argument in \"$@\"; do
  case \"$previous\" in -o) : > \"$argument\" ;; esac
  case \"$argument\" in *.a) : > \"$argument\" ;; esac
  previous=$argument
done
";

/// The system whose code with Metal is checked.
const APPLE: &str = "aarch64-apple-darwin";

/// Debian's compiler and its source, from which the standard library for Apple's systems is read.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Runs the command.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let mut stages = Stages::new(3);
    stages.run("lints of the code for GPUs", || lint(shell))?;
    let toolchain = stages.run("a compiler for Apple's systems", || AppleToolchain::obtain(shell))?;
    stages.run("the worker for Apple's systems", || metal(shell, &toolchain))?;
    stages.summarize();
    Ok(())
}

/// Lints the worker's code for NVIDIA's GPUs, over empty kernels, and for Apple's, over what stands in for Metal in a
/// candle without it.
///
/// # Errors
/// What the compiler says.
pub(crate) fn lint(shell: &Shell) -> anyhow::Result<()> {
    let clippy = CudaWorkspace::prepare(shell, Kernels::Named)?.cargo(shell, "clippy");
    Ok(clippy
        .args(["--package", "sd-worker", "--package", "sd-cuda-kernels"])
        .args(["--features", "sd-worker/cuda,sd-cuda-kernels/cuda"])
        // What does not know of CUDA was checked there already.
        .arg("--target-dir")
        .arg(workspace::target())
        // The worker's own feature alone: candle's would ask for Apple's libraries.
        .args(["--", "--deny", "warnings", "--cfg", "feature=\"metal\""])
        .env("CUDARC_CUDA_VERSION", CUDA_VERSION)
        .env("SD_CUDA_KERNELS", "named")
        .run()?)
}

/// Checks the worker with the feature `metal` as it is built on a Mac.
fn metal(shell: &Shell, toolchain: &AppleToolchain) -> anyhow::Result<()> {
    let tools = workspace::target().join("metal/tools");
    fs::create_dir_all(&tools)?;
    let tool = tools.join("empty-output");
    fs::write(&tool, EMPTY_OUTPUT)?;
    fs::set_permissions(&tool, PermissionsExt::from_mode(0o755))?;
    // Asked for and not opened, as nothing is compiled with it.
    let mut check = toolchain
        .cargo(shell, "check")
        .args(["--package", "sd-worker", "--features", "metal", "--target-dir"])
        .arg(workspace::target().join("metal"))
        .env("SDKROOT", tools.join("MacOSX.sdk"));
    for name in ["CC", "CXX", "AR"] {
        check = check.env(format!("{name}_{}", APPLE.replace('-', "_")), &tool);
    }
    Ok(check.run()?)
}

/// A compiler that knows [`APPLE`].
enum AppleToolchain {
    /// The one that compiles everything else.
    Native,
    /// Debian's, which reads the standard library as it reads everything else.
    Debian,
}

impl AppleToolchain {
    /// Finds or installs one.
    ///
    /// # Errors
    /// What is missing and what to do about it.
    fn obtain(shell: &Shell) -> anyhow::Result<Self> {
        if toolchain::knows_target(shell, APPLE) {
            return Ok(Self::Native);
        }
        let Err(no_rustup) = toolchain::add_with_rustup(shell, APPLE) else { return Ok(Self::Native) };
        eprintln!("{APPLE} does not come from rustup ({no_rustup}); taking Debian's {}", DEBIAN_PACKAGES[0]);
        install::debian_packages(shell, &DEBIAN_PACKAGES)
            .with_context(|| format!("run `rustup target add {APPLE}` and start again"))?;
        Ok(Self::Debian)
    }

    /// `cargo SUBCOMMAND` for Apple's systems.
    fn cargo<'a>(&self, shell: &'a Shell, subcommand: &str) -> Cmd<'a> {
        let cargo = workspace::cargo();
        let command = cmd!(shell, "{cargo} {subcommand} --target {APPLE}");
        match self {
            Self::Native => command,
            Self::Debian => command
                .args(["-Z", "build-std=std,panic_abort"])
                .env("RUSTC", toolchain::DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1"),
        }
    }
}
