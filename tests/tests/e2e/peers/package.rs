//! The package for other people's pages, as npm packs it and as a TypeScript program takes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use sd_tests::within;
use serde_json::Value;

use super::{client, node, script};

fn package() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-client/pkg");
    ensure!(folder.join("dist/core_bg.wasm").exists(), "the package is not built; `cargo xtask web` builds it");
    Ok(folder)
}

/// Packs the package into `folder`; what npm tells of it.
async fn pack(folder: &Path) -> Result<Value> {
    let npm = client("npm")
        .args(["pack", "--json", "--offline", "--pack-destination"])
        .arg(folder)
        .current_dir(package()?)
        .stdout(Stdio::piped())
        .output();
    let output = within("npm", npm).await??;
    ensure!(output.status.success(), "npm pack ended with {}", output.status);
    let mut told: Value = serde_json::from_slice(&output.stdout)?;
    Ok(told[0].take())
}

#[tokio::test]
async fn the_package_has_what_it_needs_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let packed = pack(folder.path()).await?;
    let files = packed["files"].as_array().context("files")?.iter().filter_map(|file| file["path"].as_str());
    let expected = [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "dist/core.js",
        "dist/core_bg.wasm",
        "example.html",
        "index.d.ts",
        "index.js",
        "package.json",
        "protocol.d.ts",
    ];
    assert_eq!(files.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    let name = (packed["name"].as_str(), packed["version"].as_str());
    assert_eq!(name, (Some("sd-worker-client"), Some(env!("CARGO_PKG_VERSION"))), "it goes with the workspace");
    println!("{} bytes packed, {} unpacked", packed["size"], packed["unpackedSize"]);
    let example = std::fs::read_to_string(package()?.join("example.html"))?;
    assert!(example.lines().count() <= 20, "an example is read at a glance");
    Ok(())
}

#[tokio::test]
async fn a_strict_typescript_program_takes_the_package() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let packed = pack(folder.path()).await?;
    let installed = folder.path().join("node_modules/sd-worker-client");
    std::fs::create_dir_all(&installed)?;
    let archive = folder.path().join(packed["filename"].as_str().context("an archive")?);
    let unpack = client("tar").arg("-xzf").arg(archive).arg("-C").arg(&installed).arg("--strip-components=1").status();
    let status = within("tar", unpack).await??;
    assert!(status.success(), "{status}");
    std::fs::copy(script("consumer.ts"), folder.path().join("consumer.ts"))?;
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#)?;
    let compiler = client(node()?.join("node_modules/.bin/tsc"))
        .args(["--noEmit", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"])
        .args(["--target", "es2022", "--lib", "es2022,dom", "--types", "", "--module", "nodenext", "consumer.ts"])
        .current_dir(&folder)
        .status();
    let status = within("the TypeScript compiler", compiler).await??;
    assert!(status.success(), "{status}");
    Ok(())
}
