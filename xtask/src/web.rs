//! `cargo xtask web`: the browser client, built, bound to JavaScript and compressed, in `web-client/dist`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use brotli::enc::BrotliEncoderParams;
use fs_err as fs;
use wasm_bindgen_cli_support::Bindgen;
use xshell::Shell;

use crate::stage::Stages;
use crate::toolchain::{self, WasmToolchain};
use crate::workspace;

/// Files that a web server sends compressed; pictures are compressed already.
const COMPRESSIBLE: [&str; 8] = ["css", "html", "js", "json", "svg", "ts", "wasm", "webmanifest"];

/// Runs the command.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let mut stages = Stages::new(2);
    let toolchain = stages.run("a compiler for the browser", || WasmToolchain::obtain(shell))?;
    stages.run("the browser client", || build(shell, &toolchain))
}

/// Builds the client; a client that has not changed costs a second.
pub(crate) fn build(shell: &Shell, toolchain: &WasmToolchain) -> anyhow::Result<()> {
    toolchain.cargo(shell, "build").args(["--package", "sd-web-client", "--profile", "web"]).run()?;
    let module = toolchain::target_dir().join(toolchain::TARGET).join("web/sd_web_client.wasm");
    let bound = toolchain::target_dir().join("bindgen");
    bind(&module, &bound)?;
    publish(&[bound, workspace::root().join("web-client/assets")], &workspace::root().join("web-client/dist"))
}

/// Writes `client.js`, its types and `client_bg.wasm` for `module` into `folder`.
fn bind(module: &Path, folder: &Path) -> anyhow::Result<()> {
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if written(&folder.join("client_bg.wasm")).is_ok_and(|bound| written(module).is_ok_and(|built| built <= bound)) {
        return Ok(());
    }
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name("client").typescript(true).remove_producers_section(true);
    bindgen.web(true)?.generate(folder).context("wasm-bindgen could not bind the client to JavaScript")?;
    // Types of the raw module: `client.d.ts` has all that a caller sees.
    Ok(fs::remove_file(folder.join("client_bg.wasm.d.ts"))?)
}

/// Makes `dist` hold exactly the files of `sources`, each with its compressed form; what is there is kept.
fn publish(sources: &[PathBuf], dist: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dist)?;
    let mut published = BTreeSet::new();
    for source in sources {
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let target = dist.join(entry.file_name());
            let bytes = fs::read(entry.path())?;
            let compressible = target.extension().is_some_and(|kind| COMPRESSIBLE.iter().any(|known| kind == *known));
            let compressed = brotli_path(&target);
            let stale = fs::read(&target).ok().as_deref() != Some(&bytes) || (compressible && !compressed.exists());
            if stale && compressible {
                // Before the file itself, so that an interrupted run leaves a pair that counts as stale.
                fs::write(&compressed, brotli(&bytes)?)?;
            }
            if stale {
                fs::write(&target, bytes)?;
            }
            if compressible {
                published.insert(compressed);
            }
            published.insert(target);
        }
    }
    for entry in fs::read_dir(dist)? {
        let path = entry?.path();
        if !published.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    report(&published)
}

fn brotli_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".br");
    name.into()
}

fn brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let best = BrotliEncoderParams { quality: 11, size_hint: bytes.len(), ..BrotliEncoderParams::default() };
    brotli::BrotliCompress(&mut &*bytes, &mut compressed, &best)?;
    Ok(compressed)
}

/// Prints the size of each file on the disk and on the wire.
fn report(published: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for path in published.iter().filter(|path| path.extension().is_none_or(|kind| kind != "br")) {
        let kib = |path: &Path| fs::metadata(path).map(|metadata| metadata.len() as f64 / 1024.0);
        let name = path.strip_prefix(workspace::root())?.display();
        let compressed = brotli_path(path);
        if published.contains(&compressed) {
            eprintln!("{:>9.1} KiB, {:>7.1} KiB compressed  {name}", kib(path)?, kib(&compressed)?);
        } else {
            eprintln!("{:>9.1} KiB                          {name}", kib(path)?);
        }
    }
    Ok(())
}
