//! The files of the page: names, caches, size.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use reqwest::StatusCode;
use sd_tests::worker::Worker;

/// Most bytes of the page and all that it loads, compressed.
const PAGE_BYTES_MAX: usize = 300 * 1024;

/// The paths that a document names in its attributes.
fn named(page: &str) -> BTreeSet<&str> {
    let attributes = ["href=\"/", "src=\"/"];
    let paths = attributes.iter().flat_map(|attribute| page.split(attribute).skip(1));
    paths.filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_page_is_small_and_kept_by_browsers_for_ever() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let page = api.get("/").await?.error_for_status()?;
    assert_eq!(page.headers()["cache-control"], "no-cache");
    let etag = page.headers()["etag"].to_str()?.to_owned();
    let text = page.text().await?;
    let again = api.get_with("/", &[("if-none-match", &etag)]).await?;
    assert_eq!((again.status(), &again.headers()["cache-control"]), (StatusCode::NOT_MODIFIED, &"no-cache".parse()?));

    let compressed = async |path: &str| {
        let file = api.get_with(path, &[("accept-encoding", "br")]).await?.error_for_status()?;
        assert_eq!(file.headers()["content-encoding"], "br", "{path}");
        let cached = file.headers()["cache-control"].to_str()?.to_owned();
        anyhow::Ok((file.bytes().await?.len(), cached))
    };
    let mut bytes = compressed("/").await?.0;
    let files = named(&text);
    assert!(files.len() >= 5, "styles, icon, script, module and binary: {files:?}");
    for file in &files {
        let (size, cached) = compressed(&format!("/{file}")).await.with_context(|| (*file).to_owned())?;
        println!("{size:>7} bytes  {file}");
        assert!(cached.contains("immutable"), "{file}: {cached}");
        bytes += size;
    }
    println!("{bytes:>7} bytes  the whole page");
    assert!(bytes <= PAGE_BYTES_MAX, "the page has {bytes} bytes compressed");

    // What the files name is what the page names: nothing is loaded that was not foreseen, and nothing twice.
    let file = |start: &str| files.iter().find(|file| file.starts_with(start)).copied().context("it is loaded");
    let content = async |path: &str| anyhow::Ok(api.get(&format!("/{path}")).await?.text().await?);
    assert!(content(file("boot-")?).await?.contains(file("client-")?), "boot.js imports what is preloaded");
    assert!(content(file("client-")?).await?.contains(file("client_bg-")?), "client.js fetches what is preloaded");
    Ok(())
}

#[tokio::test]
async fn other_pages_find_the_package_under_names_that_last() -> Result<()> {
    let worker = Worker::spawn(&["--ephemeral", "--cors-origin", "https://page.example"]).await?;
    let mut bytes = 0;
    for (name, kind) in [
        ("index.js", "text/javascript; charset=utf-8"),
        ("dist/core.js", "text/javascript; charset=utf-8"),
        ("dist/core_bg.wasm", "application/wasm"),
        ("index.d.ts", "text/plain; charset=utf-8"),
        ("protocol.d.ts", "text/plain; charset=utf-8"),
    ] {
        let path = format!("/pkg/{name}");
        let headers = [("accept-encoding", "br"), ("origin", "https://page.example")];
        let file = worker.api().get_with(&path, &headers).await?.error_for_status().context(path)?;
        let header = |name: &str| file.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!((header("content-type"), header("cache-control")), (kind, "no-cache"), "{name}");
        assert_eq!(header("content-encoding"), "br", "{name}");
        assert_eq!(header("access-control-allow-origin"), "https://page.example", "{name}");
        let size = file.bytes().await?.len();
        println!("{size:>7} bytes  {name}");
        bytes += if name.ends_with(".d.ts") { 0 } else { size };
    }
    println!("{bytes:>7} bytes  what a page loads");
    Ok(())
}
