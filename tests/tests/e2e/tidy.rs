//! The rules that keep the tree readable: which folder may know what, how long a file is, where `cfg` and `unsafe`
//! may stand. A rule here names the files that break it.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Longest source file, in lines.
const LINES_MAX: usize = 500;

const CRATES: [&str; 5] = ["protocol", "tests", "web-client", "worker", "xtask"];

struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// The lines that are code: no comments, which may talk about anything.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the workspace with one of these endings, build output left out.
fn sources(endings: &[&str]) -> Vec<Source> {
    fn visit(folder: &Path, endings: &[&str], found: &mut Vec<Source>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["dist", "target", "__pycache__"].contains(&name.as_str()) {
                    visit(&path, endings, found)?;
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path)?;
                let path = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    for name in CRATES {
        visit(&root().join(name), endings, &mut found).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(!found.is_empty(), "no file ends with any of {endings:?}");
    found
}

/// Asserts that no line of code in the files that `concerned` picks holds one of `words`.
fn check(rule: &str, words: &[&str], concerned: impl Fn(&Source) -> bool) {
    let sources = sources(&[".rs"]);
    let concerned: Vec<_> = sources.iter().filter(|source| concerned(source)).collect();
    assert!(!concerned.is_empty(), "{rule}: no file is concerned, so the rule has lost its folder");
    let mut broken = Vec::new();
    for source in concerned {
        for (at, line) in source.code() {
            if words.iter().any(|word| has_word(line, word)) {
                broken.push(format!("{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{rule}\n{}", broken.join("\n"));
}

/// Whether `word` stands in `line` and is no part of a longer name, as of a flag or a header.
fn has_word(line: &str, word: &str) -> bool {
    let in_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(in_name)
            && !line[at + word.len()..].chars().next().is_some_and(in_name)
    })
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("use tokio::sync;", "tokio"));
    assert!(!has_word("use tokio_util::sync;", "tokio"));
    assert!(!has_word("unsafe_op_in_unsafe_fn", "unsafe"));
    assert!(!has_word("\"--enable-unsafe-webgpu\"", "unsafe"));
    assert!(has_word("unsafe { read() }", "unsafe"));
}

#[test]
fn the_computation_knows_no_server() {
    let words = ["tokio", "tokio_util", "tokio_stream", "axum", "tower_http", "sd_protocol", "rusqlite"];
    check("worker/src/diffusion is pure compute", &words, |source| source.is_under(&["worker/src/diffusion/"]));
}

#[test]
fn only_the_worker_knows_candle() {
    let words = ["candle_core", "candle_nn"];
    check("only worker computes with tensors", &words, |source| {
        !source.is_under(&["worker/", "tests/tests/e2e/tidy.rs"])
    });
    check("the edge of the worker sees no tensor", &words, |source| {
        source.is_under(&["worker/src/http/", "worker/src/jobs/", "worker/src/outlet", "worker/src/intake"])
    });
}

#[test]
fn the_protocol_does_nothing() {
    let words =
        ["tokio", "std::fs", "std::net", "std::io", "std::process", "std::thread", "std::env", "Instant", "SystemTime"];
    // A formatter of serde_json is told of its writer by a trait of `std::io`, also where that is memory.
    let formatter = ["protocol/src/writing.rs"];
    check("protocol turns bytes into values and nothing else", &words, |source| {
        source.is_under(&["protocol/src/"]) && !source.is_under(&formatter)
    });
}

#[test]
fn only_one_folder_knows_the_browser() {
    let words = ["web_sys", "js_sys", "wasm_bindgen_futures"];
    check("only web-client/src/web talks to the browser", &words, |source| {
        source.is_under(&["web-client/src/"]) && !source.is_under(&["web-client/src/web/"])
    });
    let words = ["leptos", "wgpu", "web_sys", "js_sys", "wasm_bindgen"];
    check("the session and the preview's mathematics run anywhere", &words, |source| {
        source.is_under(&["web-client/src/session/", "web-client/src/preview/"])
    });
}

#[test]
fn conditions_stand_where_they_belong() {
    let allowed = ["web-client/src/web/", "web-client/src/lib.rs", "tests/tests/e2e/tidy.rs"];
    check("wasm32 is a matter of web-client/src/web", &["target_arch = \"wasm32\""], |source| {
        !source.is_under(&allowed)
    });
    let devices = ["feature = \"cuda\"", "feature = \"cudnn\"", "feature = \"metal\"", "feature = \"flash-attn\""];
    let allowed = ["worker/src/device/", "worker/src/diffusion/ops/mod.rs", "worker/cuda/", "tests/tests/e2e/tidy.rs"];
    check("devices are chosen in worker/src/device, operations in ops", &devices, |source| !source.is_under(&allowed));
}

#[test]
fn unsafe_code_is_in_kernels_and_mappings() {
    let allowed = ["worker/kernels/", "worker/cuda/", "worker/src/diffusion/weights/", "tests/tests/e2e/tidy.rs"];
    check("unsafe is for kernels and the mapping of weights", &["unsafe"], |source| !source.is_under(&allowed));
}

#[test]
fn files_are_short() {
    let long: Vec<_> = sources(&[".rs", ".wgsl", ".cu", ".cuh", ".cpp", ".hpp", ".py", ".css", ".html", ".js"])
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "a file beyond {LINES_MAX} lines wants a seam: {long:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // In two halves, so that this file does not break its own rule.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut left = Vec::new();
    for source in
        sources(&[".rs", ".wgsl", ".cu", ".cuh", ".cpp", ".hpp", ".py", ".css", ".html", ".js", ".toml", ".md"])
    {
        for (at, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| has_word(line, mark)) {
                left.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    assert!(left.is_empty(), "write an issue instead:\n{}", left.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|source| source.path.contains("/src/") && !source.path.ends_with("/tests.rs"))
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "a file opens with what it is: {silent:?}");
}
