//! `cargo xtask cuda`: a worker that draws on NVIDIA GPUs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use fs_err as fs;
use xshell::Shell;

use crate::candle::{CudaWorkspace, Kernels};
use crate::stage::Stages;
use crate::toolchain::WasmToolchain;
use crate::{install, web, workspace};

/// What CUDA's compiler needs, as NVIDIA publishes it on PyPI.
const TOOLKIT: &str = "\
nvidia-cuda-nvcc==13.0.88
nvidia-cuda-crt==13.0.88
nvidia-nvvm==13.0.88
nvidia-cuda-runtime==13.0.96
nvidia-cuda-cccl==13.0.85
";

/// Arguments of the command.
#[derive(clap::Args)]
pub(crate) struct CudaArgs {
    /// The oldest GPUs that can run the worker, by their compute capability without the dot; newer ones can as well.
    #[arg(long, default_value_t = 80)]
    pub(crate) compute_capability: u32,
}

/// How many stages [`build`] is.
pub(crate) const STAGES: usize = 5;

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &CudaArgs) -> anyhow::Result<()> {
    let mut stages = Stages::new(STAGES);
    let worker = build(shell, args, &mut stages)?;
    stages.summarize();
    println!("{}", worker.display());
    Ok(())
}

/// Builds the worker, and tells where it is.
///
/// # Errors
/// What is missing and what to do about it.
pub(crate) fn build(shell: &Shell, args: &CudaArgs, stages: &mut Stages) -> anyhow::Result<PathBuf> {
    let nvcc = stages.run("CUDA's compiler", || nvcc(shell))?;
    let workspace = stages.run("candle that loads CUDA", || CudaWorkspace::prepare(shell, Kernels::Compiled))?;
    let toolchain = stages.run("a compiler for the browser", || WasmToolchain::obtain(shell))?;
    stages.run("the browser client", || web::build(shell, &toolchain))?;
    let built = workspace::target().join("cuda/build");
    stages.run("the worker, in release", || {
        let folder = nvcc.parent().context("a program lies in a folder")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([folder.to_owned()].into_iter().chain(std::env::split_paths(&path)))?;
        let cargo = workspace.cargo(shell, "build").args(["--release", "--package", "sd-worker"]);
        // CUDA's own folders are asked for before the `PATH`, and may hold another release of it.
        Ok(cargo
            .args(["--features", "cuda,embed-client", "--target-dir"])
            .arg(&built)
            .env("PATH", path)
            .env("NVCC", &nvcc)
            .env("CUDA_COMPUTE_CAP", args.compute_capability.to_string())
            .run()?)
    })?;
    Ok(built.join("release/sd-worker"))
}

/// CUDA's compiler: the one that is installed, or one for this repository alone.
fn nvcc(shell: &Shell) -> anyhow::Result<PathBuf> {
    if let Ok(found) = xshell::cmd!(shell, "sh -c").arg("command -v nvcc").quiet().ignore_stderr().read() {
        return Ok(found.into());
    }
    let folder = workspace::target().join("python");
    fs::create_dir_all(&folder)?;
    let requirements = folder.join("cuda.txt");
    fs::write(&requirements, TOOLKIT)?;
    let python = install::python_environment(shell, &folder.join("cuda"), &requirements)?;
    let print = "import nvidia; print(list(nvidia.__path__)[0])";
    let packages = xshell::cmd!(shell, "{python} -c {print}").quiet().read()?;
    let nvcc = Path::new(&packages).join("cu13/bin/nvcc");
    anyhow::ensure!(nvcc.exists(), "{} is not among what PyPI brought", nvcc.display());
    Ok(nvcc)
}
