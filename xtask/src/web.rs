//! `cargo xtask web`: the browser client, built, bound to JavaScript, named after its content and compressed, in
//! `web-client/dist`, and the package for other pages, in `web-client/pkg` for npm and in `dist/pkg` for the worker.
//!
//! What the page loads is kept by browsers for ever, because another content has another name. So only `index.html`,
//! where the names begin, and the package keep theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use brotli::enc::BrotliEncoderParams;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use wasm_bindgen_cli_support::Bindgen;
use xshell::Shell;

use crate::glue;
use crate::stage::Stages;
use crate::toolchain::{self, WasmToolchain};
use crate::workspace;

/// Files that a web server sends compressed; pictures are compressed already.
const COMPRESSIBLE: [&str; 8] = ["css", "html", "js", "json", "svg", "ts", "wasm", "webmanifest"];

/// What the page loads, each file after those that it names; `index.html` names the rest.
const LOADED: [&str; 5] = ["favicon.svg", "style.css", "client_bg.wasm", "client.js", "boot.js"];

/// What importing the package from a worker needs.
const IMPORTED: [&str; 5] = ["dist/core.js", "dist/core_bg.wasm", "index.d.ts", "index.js", "protocol.d.ts"];

/// Most bytes of the page and all that it loads, compressed.
const PAGE_BYTES_MAX: u64 = 300 * 1024;

/// Runs the command.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let mut stages = Stages::new(2);
    let toolchain = stages.run("a compiler for the browser", || WasmToolchain::obtain(shell))?;
    stages.run("the browser client", || build(shell, &toolchain))
}

/// Builds the client; a client that has not changed costs a second.
pub(crate) fn build(shell: &Shell, toolchain: &WasmToolchain) -> anyhow::Result<()> {
    let client = workspace::root().join("web-client");
    let mut files = page(&[module(shell, toolchain, "page", "client")?, client.join("assets")])?;
    files.extend(package(&module(shell, toolchain, "package", "core")?, &client.join("pkg"))?);
    publish(&files, &client.join("dist"))
}

/// Builds a module of the client and binds it to JavaScript: the folder of `NAME.js` and `NAME_bg.wasm`.
fn module(shell: &Shell, toolchain: &WasmToolchain, module: &str, name: &str) -> anyhow::Result<PathBuf> {
    let build = toolchain.cargo(shell, "build").args(["--package", "sd-web-client", "--profile", "web"]);
    build.args(["--no-default-features", "--features", module, "--example", module]).run()?;
    let built = toolchain::target_dir().join(toolchain::TARGET).join("web/examples").join(format!("{module}.wasm"));
    let folder = toolchain::target_dir().join("bindgen").join(module);
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let bound = written(&folder.join(format!("{name}_bg.wasm")));
    if bound.is_ok_and(|bound| written(&built).is_ok_and(|built| built <= bound)) {
        return Ok(folder);
    }
    let mut bindgen = Bindgen::new();
    bindgen.input_path(built).out_name(name).typescript(false).remove_producers_section(true).remove_name_section(true);
    // The module finds its binary beside itself, under the name that it is served by.
    bindgen.omit_default_module_path(false);
    let mut output =
        bindgen.web(true)?.generate_output().context("wasm-bindgen could not bind the client to JavaScript")?;
    let names = glue::shorten(output.wasm_mut());
    output.emit(&folder)?;
    let script = folder.join(format!("{name}.js"));
    fs::write(&script, glue::shortened(&fs::read_to_string(&script)?, &names))?;
    Ok(folder)
}

/// Completes the package in `folder` with the module and the licences; returns what the worker serves of it.
fn package(module: &Path, folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    fs::create_dir_all(folder.join("dist"))?;
    for name in ["core.js", "core_bg.wasm"] {
        fs::copy(module.join(name), folder.join("dist").join(name))?;
    }
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(workspace::root().join(name), folder.join(name))?;
    }
    IMPORTED.iter().map(|name| Ok((format!("pkg/{name}"), fs::read(folder.join(name))?))).collect()
}

/// The files of the page, which lie in `folders`, under the names that they are served by.
fn page(folders: &[PathBuf]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for folder in folders {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
        }
    }
    let mut names = Vec::new();
    for name in LOADED {
        let file = files.remove(name).with_context(|| format!("{name} is missing"))?;
        let file = renamed(file, &names);
        let hash: String = Sha256::digest(&file).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let (stem, kind) = name.rsplit_once('.').context("a file has a kind")?;
        let hashed = format!("{stem}-{hash}.{kind}");
        files.insert(hashed.clone(), file);
        names.push((name, hashed));
    }
    let page = files.remove("index.html").context("index.html is missing")?;
    files.insert("index.html".to_owned(), renamed(page, &names));
    Ok(files)
}

/// `file` with the new names of the files that it names; wasm names none.
fn renamed(file: Vec<u8>, names: &[(&str, String)]) -> Vec<u8> {
    match String::from_utf8(file) {
        Ok(text) => names.iter().fold(text, |text, (name, hashed)| text.replace(name, hashed)).into_bytes(),
        Err(binary) => binary.into_bytes(),
    }
}

/// Makes `dist` hold exactly `files`, each with its compressed form; what is there is kept.
fn publish(files: &BTreeMap<String, Vec<u8>>, dist: &Path) -> anyhow::Result<()> {
    let mut published = BTreeSet::new();
    for (name, bytes) in files {
        let target = dist.join(name);
        let compressible = target.extension().is_some_and(|kind| COMPRESSIBLE.iter().any(|known| kind == *known));
        let compressed = brotli_path(&target);
        fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
        let stale = fs::read(&target).ok().as_ref() != Some(bytes) || (compressible && !compressed.exists());
        if stale && compressible {
            // Before the file itself, so that an interrupted run leaves a pair that counts as stale.
            fs::write(&compressed, brotli(bytes)?)?;
        }
        if stale {
            fs::write(&target, bytes)?;
        }
        if compressible {
            published.insert(compressed);
        }
        published.insert(target);
    }
    clear(dist, &published)?;
    report(&published)
}

/// Removes what is in `folder`, and not `published`.
fn clear(folder: &Path, published: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            clear(&path, published)?;
        } else if !published.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
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
///
/// # Errors
/// When the page has become too large.
fn report(published: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let mut page = 0;
    for path in published.iter().filter(|path| path.extension().is_none_or(|kind| kind != "br")) {
        let size = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        let name = path.strip_prefix(workspace::root())?.display();
        let compressed = brotli_path(path);
        if published.contains(&compressed) {
            let (whole, sent) = (size(path)?, size(&compressed)?);
            eprintln!("{:>9.1} KiB, {:>7.1} KiB compressed  {name}", kib(whole), kib(sent));
            page += if is_loaded(path) { sent } else { 0 };
        } else {
            eprintln!("{:>9.1} KiB                          {name}", kib(size(path)?));
        }
    }
    eprintln!("           {:>11.1} KiB compressed  the whole page", page as f64 / 1024.0);
    ensure!(page <= PAGE_BYTES_MAX, "the page has {page} bytes compressed, more than {PAGE_BYTES_MAX}");
    Ok(())
}

/// Whether the page is this file or loads it.
fn is_loaded(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_page = |known: &str| known.rsplit_once('.').is_some_and(|(stem, _)| name.starts_with(&format!("{stem}-")));
    name == "index.html" || LOADED.iter().any(|known| of_page(known))
}
