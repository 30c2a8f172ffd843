//! A compiler for the browser, however this machine can have one:
//!
//! 1. the Rust toolchain in use has the target already;
//! 2. rustup adds it (not where `WASM_NO_RUSTUP` is set, as on machines that cannot reach rustup's servers);
//! 3. Debian's `rustc-web` with its source, from which the standard library is built once and kept in the
//!    user's cache.
//!
//! The third way compiles the web crates with another release of Rust than the rest, so they have an output
//! directory of their own on every machine.

use std::env;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fs_err as fs;
use xshell::{Cmd, Shell, cmd};

use crate::{install, workspace};

/// The target of browser code.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler for browser code, its source, its lints, and the linker of the same LLVM.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "rust-web-clippy", "lld-22"];
const DEBIAN_LINKER: &str = "wasm-ld-22";
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Longest wait for rustup; a machine without a way to its servers would otherwise wait for ever.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(120);

/// A compiler that knows [`TARGET`].
pub(crate) enum WasmToolchain {
    /// The one that compiles everything else.
    Native,
    /// Debian's, with the standard library that was built for it.
    Debian {
        /// Holds `bin/rustc`, `bin/rustdoc` and `lib/rustlib`.
        sysroot: PathBuf,
    },
}

impl WasmToolchain {
    /// Finds or installs one.
    ///
    /// # Errors
    /// What is missing and what to do about it.
    pub(crate) fn obtain(shell: &Shell) -> anyhow::Result<Self> {
        if knows_target(shell, TARGET) {
            return Ok(Self::Native);
        }
        let Err(no_rustup) = add_with_rustup(shell, TARGET) else { return Ok(Self::Native) };
        eprintln!("{TARGET} does not come from rustup ({no_rustup}); taking Debian's {}", DEBIAN_PACKAGES[0]);
        match debian_sysroot(shell) {
            Ok(sysroot) => Ok(Self::Debian { sysroot }),
            Err(no_debian) => bail!(
                "the Rust target {TARGET} is missing. Run `rustup target add {TARGET}`, or on Debian `apt-get install \
                 {}`, and start again.\n  rustup: {no_rustup}\n  Debian: {no_debian:#}",
                DEBIAN_PACKAGES.join(" ")
            ),
        }
    }

    /// `cargo SUBCOMMAND` for the browser, in the output directory of the web crates.
    pub(crate) fn cargo<'a>(&self, shell: &'a Shell, subcommand: &str) -> Cmd<'a> {
        let target_dir = target_dir();
        let cargo = workspace::cargo();
        let command = match self {
            Self::Debian { sysroot } if subcommand == "clippy" => {
                // `cargo clippy` would find the native lint driver, which cannot read these libraries.
                cmd!(shell, "/usr/bin/cargo-clippy clippy").env("SYSROOT", sysroot).env("CARGO", &cargo)
            }
            _ => cmd!(shell, "{cargo} {subcommand}"),
        };
        let command = command.args(["--target", TARGET]).arg("--target-dir").arg(target_dir);
        match self {
            Self::Native => command,
            Self::Debian { sysroot } => command
                .env("RUSTC", sysroot.join("bin/rustc"))
                .env("RUSTDOC", sysroot.join("bin/rustdoc"))
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER),
        }
    }
}

/// Output directory of everything that is compiled for the browser.
pub(crate) fn target_dir() -> PathBuf {
    workspace::target().join("wasm")
}

/// Whether the toolchain in use has the standard library of `target`.
pub(crate) fn knows_target(shell: &Shell, target: &str) -> bool {
    let libraries = cmd!(shell, "rustc --print target-libdir --target {target}").quiet().ignore_stderr().read();
    libraries.is_ok_and(|folder| {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).any(|name| name.starts_with("libcore-"))
    })
}

/// Asks rustup for `target`; the error is a phrase that says why that did not work.
pub(crate) fn add_with_rustup(shell: &Shell, target: &str) -> Result<(), &'static str> {
    if env::var_os("WASM_NO_RUSTUP").is_some() {
        return Err("WASM_NO_RUSTUP is set");
    }
    let spawned = Command::new("rustup").args(["target", "add", target]).stdin(Stdio::null()).spawn();
    let mut rustup = spawned.map_err(|_| "rustup is not installed")?;
    let deadline = Instant::now() + RUSTUP_TIMEOUT;
    let status = loop {
        match rustup.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            Ok(None) => {
                rustup.kill().and_then(|()| rustup.wait()).map_err(|_| "rustup hangs and cannot be stopped")?;
                return Err("rustup did not answer within two minutes");
            }
            Err(_) => return Err("rustup cannot be waited for"),
        }
    };
    if status.success() && knows_target(shell, target) { Ok(()) } else { Err("`rustup target add` failed") }
}

/// The sysroot for Debian's compiler, built on first use; one per release of that compiler.
fn debian_sysroot(shell: &Shell) -> anyhow::Result<PathBuf> {
    install::debian_packages(shell, &DEBIAN_PACKAGES)?;
    let version = cmd!(shell, "{DEBIAN_RUSTC} --version").quiet().read()?;
    let release = version.split_whitespace().nth(1).with_context(|| format!("{version:?} names no release"))?;
    let sysroot = cache()?.join("wasm-sysroot").join(release);
    if !sysroot.exists() {
        build_sysroot(shell, &sysroot).context("could not build the standard library for the browser")?;
    }
    Ok(sysroot)
}

fn cache() -> anyhow::Result<PathBuf> {
    let user = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let user = user.filter(|path| path.is_absolute());
    let user = user.or_else(|| Some(env::home_dir()?.join(".cache")));
    Ok(user.context("neither XDG_CACHE_HOME nor HOME is set")?.join("sd-worker"))
}

/// Builds `std` for [`TARGET`] and lays it out as a sysroot at `sysroot`, all or nothing.
fn build_sysroot(shell: &Shell, sysroot: &Path) -> anyhow::Result<()> {
    eprintln!("building the standard library for {TARGET}, once: about a minute");
    let parent = sysroot.parent().context("a sysroot lies in the cache")?;
    fs::create_dir_all(parent)?;
    let work = parent.join(format!("building-{}", std::process::id()));
    fs::create_dir_all(work.join("crate/src"))?;
    // `-Z build-std` builds the standard library for a crate, so there has to be one.
    fs::write(work.join("crate/src/lib.rs"), "#![no_std]\n")?;
    fs::write(
        work.join("crate/Cargo.toml"),
        "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
    )?;
    let (cargo, manifest, output) = (workspace::cargo(), work.join("crate/Cargo.toml"), work.join("target"));
    // Bitcode, because link-time optimisation of the client goes through the standard library too.
    let mut build = cmd!(shell, "{cargo} build --release --target {TARGET} --manifest-path {manifest}")
        .args(["-Z", "build-std=std,panic_abort,test,proc_macro", "--target-dir"])
        .arg(&output)
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Cembed-bitcode=yes");
    for foreign in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"]
    {
        build = build.env_remove(foreign);
    }
    build.run()?;

    let layout = work.join("sysroot");
    let libraries = layout.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries)?;
    for entry in fs::read_dir(output.join(TARGET).join("release/deps"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(entry.path(), libraries.join(name))?;
        }
    }
    // Build scripts and macros run here, so the compiler needs its own libraries beside the browser's.
    let host = PathBuf::from(cmd!(shell, "{DEBIAN_RUSTC} --print target-libdir").quiet().read()?);
    let host = host.parent().context("the compiler's libraries lie in a folder of their target")?;
    symlink(host, layout.join("lib/rustlib").join(host.file_name().context("a target has a name")?))?;
    // A wrapper rather than RUSTFLAGS: a user's own RUSTFLAGS would replace ours.
    fs::create_dir_all(layout.join("bin"))?;
    for tool in ["rustc", "rustdoc"] {
        let script = layout.join("bin").join(tool);
        fs::write(&script, format!("#!/bin/sh\nexec /usr/bin/{tool} --sysroot '{}' \"$@\"\n", sysroot.display()))?;
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
    }
    fs::rename(&layout, sysroot)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}
