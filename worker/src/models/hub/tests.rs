//! The real client against a small hub on the loopback.

use std::error::Error as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hf_hub::HFClient;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Hub, HubError, HubId, NoHubId, RemoteFile, choice};
use crate::diffusion::weights::LoadError as FilesError;
use crate::diffusion::{Placement, families};
use crate::models::source::{Remote, Resolved};
use crate::models::{LoadProgress, ModelSource};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// What the small hub has, and what it was asked.
struct Shelf {
    files: Vec<(String, String)>,
    /// Bytes of weights that it still gives; then it fails.
    allowance: AtomicUsize,
    /// `Authorization` and `Range` of each request for weights.
    asked: Mutex<Vec<(Option<String>, Option<String>)>>,
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn tree(State(shelf): State<Arc<Shelf>>) -> axum::Json<Vec<Value>> {
    let entry = |(path, text): &(String, String)| {
        let mut entry = json!({"type": "file", "oid": digest(path), "size": text.len(), "path": path});
        if path.ends_with(".safetensors") {
            entry["lfs"] = json!({"oid": digest(text), "size": text.len(), "pointerSize": 134});
        }
        entry
    };
    axum::Json(shelf.files.iter().map(entry).collect())
}

async fn file(State(shelf): State<Arc<Shelf>>, UrlPath(path): UrlPath<String>, headers: HeaderMap) -> Response {
    let Some((_, text)) = shelf.files.iter().find(|(name, _)| *name == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let is_large = path.ends_with(".safetensors");
    let etag = if is_large { digest(text) } else { digest(&path) };
    let named = [(header::ETAG, format!("\"{etag}\""))];
    let commit = [("x-repo-commit", COMMIT)];
    let value = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap().to_owned());
    let Some(range) = value(header::RANGE) else { return (named, commit, text.clone()).into_response() };
    shelf.asked.lock().unwrap().push((value(header::AUTHORIZATION), Some(range.clone())));
    let (begin, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (begin, end): (usize, usize) = (begin.parse().unwrap(), end.parse::<usize>().unwrap() + 1);
    let given = (end - begin).min(shelf.allowance.load(Ordering::SeqCst));
    shelf.allowance.fetch_sub(given, Ordering::SeqCst);
    if given == 0 {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    (StatusCode::PARTIAL_CONTENT, named, commit, text[begin..begin + given].to_owned()).into_response()
}

/// Serves `owner/model` with these files.
async fn serve(files: &[(&str, &str)]) -> (String, Arc<Shelf>, JoinHandle<()>) {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let shelf = Shelf { files, allowance: AtomicUsize::new(usize::MAX), asked: Mutex::default() };
    let shelf = Arc::new(shelf);
    let router = Router::new()
        .route("/api/models/owner/model/revision/{revision}", get(|| async { axum::Json(json!({"sha": COMMIT})) }))
        .route(&format!("/api/models/owner/model/tree/{COMMIT}"), get(tree))
        .route(&format!("/owner/model/resolve/{COMMIT}/{{*path}}"), get(file))
        .with_state(Arc::clone(&shelf));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (endpoint, shelf, server)
}

fn hub(endpoint: &str, cache: &Path, is_offline: bool) -> Hub {
    let builder = HFClient::builder().endpoint(endpoint).cache_dir(cache).token("secret").retry_max_attempts(0);
    Hub::with_client(builder.build().unwrap(), is_offline)
}

fn id() -> HubId {
    "owner/model".parse().unwrap()
}

const PIPELINE: [(&str, &str); 8] = [
    ("model_index.json", "{}"),
    ("unet/config.json", "{\"a\": 1}"),
    (UNET, "the weights of the network"),
    ("unet/diffusion_pytorch_model.fp16.safetensors", "half"),
    ("text_encoder_2/model.fp16.safetensors", "half a text"),
    ("tokenizer_2/merges.txt", "a b"),
    ("model.ckpt", "pickle"),
    ("safety_checker/model.safetensors", "checker"),
];

fn is_there(folder: &Path, path: &str) -> bool {
    let expected = PIPELINE.iter().find(|(name, _)| *name == path).unwrap().1;
    match std::fs::read_to_string(folder.join(path)) {
        Ok(found) => found == expected || panic!("{path} has {found:?}"),
        Err(_) => false,
    }
}

#[tokio::test]
async fn small_files_come_first_and_weights_when_they_are_needed() {
    let cache = tempfile::tempdir().unwrap();
    let (endpoint, shelf, server) = serve(&PIPELINE).await;
    let online = hub(&endpoint, cache.path(), false);
    let folder = online.small_files(&id()).await.unwrap();
    for (path, _) in PIPELINE {
        let is_small = path.ends_with(".json") || path.ends_with(".txt");
        assert_eq!(is_there(&folder, path), is_small, "{path}");
    }

    let mut seen: Vec<LoadProgress> = Vec::new();
    let mut progress = |so_far: &LoadProgress| {
        seen.push(so_far.clone());
        ControlFlow::Continue(())
    };
    online.weights(&id(), &folder, None, &mut progress).await.unwrap();
    for (path, _) in PIPELINE {
        let is_wanted = !path.starts_with("unet/diffusion_pytorch_model.fp16") && !path.contains("ck");
        assert_eq!(is_there(&folder, path), is_wanted, "{path}");
    }
    let last = seen.last().unwrap();
    assert_eq!((last.done_bytes, last.total_bytes), (37, 37));
    assert!(seen.is_sorted_by_key(|progress| progress.done_bytes));
    assert!(shelf.asked.lock().unwrap().iter().all(|(token, _)| token.as_deref() == Some("Bearer secret")));

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    for is_offline in [false, true] {
        let without = hub(&endpoint, cache.path(), is_offline);
        assert_eq!(without.small_files(&id()).await.unwrap(), folder);
        assert!(without.small_files(&"owner/other".parse().unwrap()).await.is_err());
    }
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let cache = tempfile::tempdir().unwrap();
    let (endpoint, shelf, _server) = serve(&PIPELINE[..3]).await;
    let hub = hub(&endpoint, cache.path(), false);
    let folder = hub.small_files(&id()).await.unwrap();
    shelf.allowance.store(10, Ordering::SeqCst);
    assert!(hub.weights(&id(), &folder, None, &mut |_| ControlFlow::Continue(())).await.is_err());
    assert!(!folder.join(UNET).exists());
    shelf.asked.lock().unwrap().clear();

    shelf.allowance.store(usize::MAX, Ordering::SeqCst);
    hub.weights(&id(), &folder, None, &mut |_| ControlFlow::Continue(())).await.unwrap();
    assert!(is_there(&folder, UNET));
    let asked: Vec<_> = shelf.asked.lock().unwrap().iter().map(|(_, range)| range.clone().unwrap()).collect();
    assert_eq!(asked, ["bytes=10-25"]);
}

#[tokio::test]
async fn whoever_listens_may_stop_it() {
    let cache = tempfile::tempdir().unwrap();
    let (endpoint, _shelf, _server) = serve(&PIPELINE[..3]).await;
    let hub = hub(&endpoint, cache.path(), false);
    let folder = hub.small_files(&id()).await.unwrap();
    let stopped = hub.weights(&id(), &folder, None, &mut |_| ControlFlow::Break(())).await;
    assert!(matches!(stopped, Err(HubError::Stopped)));
    hub.weights(&id(), &folder, None, &mut |_| ControlFlow::Continue(())).await.unwrap();
    assert!(is_there(&folder, UNET));
}

/// A safetensors file that looks like Stable Diffusion 1, in bytes that are text.
fn tiny_checkpoint() -> String {
    let header = r#"{"cond_stage_model.transformer.x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "model.diffusion_model.input_blocks.0.0.weight":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[4,20]}}"#;
    let length = header.len().next_multiple_of(256);
    let low = [length as u8, (length >> 8) as u8, 0, 0, 0, 0, 0, 0];
    let zeros = "\0".repeat(20);
    format!("{}{header:length$}{zeros}", String::from_utf8(low.to_vec()).unwrap())
}

#[tokio::test]
async fn of_a_single_file_the_header_comes_first() {
    const FILE: &str = "old/sd.safetensors";
    let (folder, text) = (tempfile::tempdir().unwrap(), tiny_checkpoint());
    let (endpoint, shelf, server) = serve(&[(FILE, &text), ("model_index.json", "{}"), (UNET, "other weights")]).await;
    let (endpoint, cache) = (endpoint.as_str(), folder.path());
    let source: ModelSource = format!("sd=owner/model/{FILE}").parse().unwrap();
    let resolve = |is_offline| source.resolve(move || Ok(hub(endpoint, cache, is_offline)));
    assert!(resolve(true).await.is_err(), "nothing is cached");

    let Resolved { files, remote } = resolve(false).await.unwrap();
    let Remote { hub: online, id, folder } = remote.unwrap();
    assert_eq!(families::inspect(&files).unwrap().family, "sd");
    let measured = || families::measure(&files, &Placement::cpu()).unwrap_err();
    assert!(matches!(measured(), FilesError::Missing { .. }), "{}", measured());
    let ranges: Vec<_> = shelf.asked.lock().unwrap().iter().map(|(_, range)| range.clone().unwrap()).collect();
    assert_eq!(ranges, ["bytes=0-7".to_owned(), format!("bytes=0-{}", text.len() - 21)]);

    online.weights(&id, &folder, None, &mut |_| ControlFlow::Continue(())).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.join(FILE)).unwrap(), text);
    assert!(!folder.join(UNET).exists() && !folder.join("model_index.json").exists());
    let error = measured().to_string();
    assert!(error.contains(FILE) && error.contains("has no tensor"), "{error}");

    let missing: ModelSource = "sd=owner/model/new.safetensors".parse().unwrap();
    let refused = missing.resolve(|| Ok(hub(endpoint, cache, false))).await.unwrap_err();
    let refused = format!("{refused}: {}", refused.source().unwrap());
    let says = "sd: owner/model/new.safetensors is not here and could not be downloaded: owner/model has no file";
    assert!(refused.starts_with(says), "{refused}");

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    for is_offline in [false, true] {
        let cached = resolve(is_offline).await.unwrap();
        assert_eq!(families::inspect(&cached.files).unwrap().family, "sd");
    }
}

#[tokio::test]
async fn a_revision_is_asked_for_by_name() {
    let cache = tempfile::tempdir().unwrap();
    let (endpoint, _shelf, _server) = serve(&PIPELINE).await;
    let id = "owner/model@refs-v2".parse().unwrap();
    hub(&endpoint, cache.path(), false).small_files(&id).await.unwrap();
    let noted = std::fs::read_to_string(cache.path().join("models--owner--model/refs/refs-v2")).unwrap();
    assert_eq!(noted, COMMIT);
}

#[test]
fn one_set_of_weights_is_chosen_for_each_network() {
    let file = |path: &&str| RemoteFile { path: (*path).into(), size_bytes: 1, oid: String::new(), is_large: true };
    let check = |paths: &[&str], variant, expected: &[&str]| {
        let files: Vec<RemoteFile> = paths.iter().map(file).collect();
        let chosen: Vec<String> = choice::weights(&files, variant).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(chosen, expected, "{variant:?} of {paths:?}");
    };
    let full = "vae/diffusion_pytorch_model.safetensors";
    let half = "vae/diffusion_pytorch_model.fp16.safetensors";
    check(&[half, full], None, &[full]);
    check(&[half, full], Some("fp16"), &[half]);
    check(&[full], Some("fp16"), &[full]);
    check(&[half], None, &[half]);
    let shards = [
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    ];
    check(&shards, None, &shards);
    check(&["unet/diffusion_pytorch_model.non_ema.safetensors", "safety_checker/model.safetensors"], None, &[]);
    let pickled = [file(&"text_encoder/pytorch_model.bin")];
    assert!(
        matches!(choice::weights(&pickled, None), Err(HubError::OnlyPickles { folder }) if folder == "text_encoder")
    );
}

#[test]
fn ids_are_no_paths() {
    let id = |text: &str| text.parse::<HubId>();
    let parsed = id("stabilityai/sd-turbo_1.5@fp16").unwrap();
    assert_eq!((parsed.owner.as_str(), parsed.name.as_str()), ("stabilityai", "sd-turbo_1.5"));
    assert_eq!(parsed.revision.as_deref(), Some("fp16"));
    assert_eq!(parsed.file(), None);
    let single = id("owner/name/all in one/v1-5 (pruned).safetensors@v1").unwrap();
    assert_eq!((single.name.as_str(), single.file()), ("name", Some("all in one/v1-5 (pruned).safetensors")));
    assert_eq!(single.revision.as_deref(), Some("v1"));
    let odd_files =
        ["a/b/../c.safetensors", "a/b//c.safetensors", "a/b/*.safetensors", "a/b/c.ckpt", "./b/c.safetensors"];
    for odd in ["", "a", "..", "../a", "a/.hidden", "a/b/c", "a/b c", "a/b@", "/a"].into_iter().chain(odd_files) {
        assert_eq!(id(odd), Err(NoHubId), "{odd:?}");
    }
}
