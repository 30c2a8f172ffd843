//! `cargo xtask gpu-kit`: one file that shows, on a machine with a GPU and without Rust, what the worker does there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::ensure;
use fs_err as fs;
use xshell::{Shell, cmd};

use crate::cuda::{self, CudaArgs};
use crate::stage::Stages;
use crate::workspace;

/// What the script compares with, of `tests/goldens`.
const GOLDENS: [&str; 9] =
    ["families", "families.json", "pictures", "pictures.json", "sd1", "sd2", "sdxl", "sdxl_refiner", "tokenizer"];

/// Arguments of the command.
#[derive(clap::Args)]
pub(crate) struct GpuKitArgs {
    /// The GPUs that the worker in it runs on, as `cargo xtask cuda` takes them.
    #[arg(long, default_value_t = 90)]
    compute_capability: u32,
}

/// Most bytes of the packed kit.
const BYTES_MAX: u64 = 60_000_000;

/// Runs the command.
pub(crate) fn run(shell: &Shell, args: &GpuKitArgs) -> anyhow::Result<()> {
    let mut stages = Stages::new(cuda::STAGES + 1);
    let build = CudaArgs { compute_capability: args.compute_capability };
    let worker = cuda::build(shell, &build, &mut stages)?;
    let packed = workspace::target().join("gpu-kit.tar.xz");
    stages.run("the kit", || pack(shell, &worker, &packed))?;
    stages.summarize();
    println!("{}", packed.display());
    Ok(())
}

fn pack(shell: &Shell, worker: &Path, packed: &Path) -> anyhow::Result<()> {
    let (target, tests) = (workspace::target(), workspace::root().join("tests"));
    let kit = target.join("gpu-kit");
    if kit.exists() {
        fs::remove_dir_all(&kit)?;
    }
    fs::create_dir_all(kit.join("goldens"))?;
    fs::copy(worker, kit.join("sd-worker"))?;
    for name in ["drawing.py", "peers.py", "report.py", "speed.py", "worker.py"] {
        fs::copy(tests.join("gpu_kit").join(name), kit.join(name))?;
    }
    fs::copy(tests.join("gpu_kit/run.py"), kit.join("run"))?;
    fs::set_permissions(kit.join("run"), PermissionsExt::from_mode(0o755))?;
    let configs = workspace::root().join("worker/data/checkpoints");
    let goldens = GOLDENS.map(|name| tests.join("goldens").join(name));
    let (known, compared) = (kit.join("checkpoints"), kit.join("goldens"));
    cmd!(shell, "cp --recursive {configs} {known}").run()?;
    cmd!(shell, "cp --recursive {goldens...} {compared}").run()?;
    cmd!(shell, "tar --create --xz --file {packed} --directory {target} gpu-kit").run()?;
    let bytes = fs::metadata(packed)?.len();
    ensure!(bytes <= BYTES_MAX, "the kit has {bytes} bytes, more than {BYTES_MAX}");
    Ok(())
}
