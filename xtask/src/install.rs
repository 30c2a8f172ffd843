//! What cargo does not install: Debian packages, Python and Node environments, each once.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fs_err as fs;
use xshell::{Shell, cmd};

/// Makes sure that Debian packages are installed.
///
/// # Errors
/// Why they cannot be, with the command that a person would run.
pub(crate) fn debian_packages(shell: &Shell, names: &[&str]) -> anyhow::Result<()> {
    let format = "${Status}";
    let installed = |name: &str| {
        let status = cmd!(shell, "dpkg-query --show --showformat {format} {name}").quiet().ignore_stderr().read();
        status.is_ok_and(|status| status == "install ok installed")
    };
    let missing: Vec<_> = names.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let listed = missing.join(" ");
    if !has(shell, "apt-get") {
        bail!("there is no apt-get here; install what Debian calls {listed}");
    }
    let as_root: &[&str] = if cmd!(shell, "id -u").quiet().read()? == "0" {
        &["env"]
    } else if cmd!(shell, "sudo -n true").quiet().ignore_stdout().ignore_stderr().run().is_ok() {
        &["sudo", "-n", "env"]
    } else {
        bail!("installing {listed} needs root; run `sudo apt-get install {listed}`");
    };
    let (program, arguments) = as_root.split_first().context("a command has a name")?;
    let apt = || cmd!(shell, "{program} {arguments...} DEBIAN_FRONTEND=noninteractive apt-get -qq");
    // Stale lists may still do, so only the installation decides.
    if let Err(error) = apt().arg("update").run() {
        eprintln!("{error}");
    }
    apt()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(missing)
        .run()
        .with_context(|| format!("run `sudo apt-get install {listed}` by hand"))
}

/// Whether a program is on the `PATH`.
pub(crate) fn has(shell: &Shell, program: &str) -> bool {
    cmd!(shell, "sh -c").arg(format!("command -v {program}")).quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// Whether this machine has a driver that Vulkan finds, or Metal in its place.
pub(crate) fn has_vulkan() -> bool {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let is_filled = |folder: &&str| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    cfg!(target_os = "macos") || folders.iter().any(is_filled)
}

/// Makes sure that the virtual environment `folder` holds exactly what `requirements` lists; returns its Python.
///
/// # Errors
/// What could not be installed.
pub(crate) fn python_environment(shell: &Shell, folder: &Path, requirements: &Path) -> anyhow::Result<PathBuf> {
    let wanted = fs::read_to_string(requirements)?;
    let installed = folder.join("installed.txt");
    let python = folder.join("bin/python");
    if installed.exists() && fs::read_to_string(&installed)? == wanted {
        return Ok(python);
    }
    let create = || cmd!(shell, "python3 -m venv --clear {folder}").run();
    if create().is_err() {
        debian_packages(shell, &["python3", "python3-venv"])?;
        create()?;
    }
    cmd!(shell, "{python} -m pip install --quiet --disable-pip-version-check --requirement {requirements}").run()?;
    fs::write(installed, wanted)?;
    Ok(python)
}

/// Makes sure that `folder` holds the packages from npm that `package-lock.json` in `source` lists.
///
/// # Errors
/// What could not be installed.
pub(crate) fn node_environment(shell: &Shell, folder: &Path, source: &Path) -> anyhow::Result<()> {
    let files = ["package.json", "package-lock.json"];
    let installed = folder.join("node_modules/.package-lock.json");
    let is_same = |name: &&str| fs::read(folder.join(name)).ok() == fs::read(source.join(name)).ok();
    if installed.exists() && files.iter().all(is_same) {
        return Ok(());
    }
    if !has(shell, "node") || !has(shell, "npm") {
        debian_packages(shell, &["nodejs", "npm"])?;
    }
    fs::create_dir_all(folder)?;
    for name in files {
        fs::copy(source.join(name), folder.join(name))?;
    }
    Ok(cmd!(shell, "npm ci --prefix {folder} --no-audit --no-fund --loglevel=error").run()?)
}

/// Makes sure that `folder` holds `bin/python`, a Python 2.7, and what `requirements` lists for it, which it finds with
/// `PYTHONUSERBASE` set to `folder`.
///
/// # Errors
/// That there is no such Python, which Debian no longer has, or what could not be installed.
pub(crate) fn python2_environment(shell: &Shell, folder: &Path, requirements: &Path) -> anyhow::Result<()> {
    let wanted = fs::read_to_string(requirements)?;
    let installed = folder.join("installed.txt");
    if installed.exists() && fs::read_to_string(&installed)? == wanted {
        return Ok(());
    }
    let python = python2(shell).context("there is no Python 2.7 on the PATH or in pyenv")?;
    cmd!(shell, "{python} -m pip install --quiet --disable-pip-version-check --no-warn-script-location --user")
        .arg("--requirement")
        .arg(requirements)
        .env("PYTHONUSERBASE", folder)
        .run()?;
    let link = folder.join("bin/python");
    if !link.exists() {
        symlink(python, link)?;
    }
    Ok(fs::write(installed, wanted)?)
}

/// A Python 2.7, by its whole path.
fn python2(shell: &Shell) -> Option<PathBuf> {
    let pyenv = cmd!(shell, "pyenv root").quiet().ignore_stderr().read().unwrap_or_default();
    let versions = fs::read_dir(Path::new(&pyenv).join("versions")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin/python2.7")).collect();
    found.extend(
        cmd!(shell, "sh -c").arg("command -v python2.7").quiet().ignore_stderr().read().ok().map(PathBuf::from),
    );
    found
        .into_iter()
        .find(|python| cmd!(shell, "{python} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok())
}
