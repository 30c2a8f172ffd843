//! The real client against a small hub on the loopback.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hf_hub::HFClient;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{download, is_id_part};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

type Files = Arc<Vec<(&'static str, &'static str)>>;

/// Serves `owner/model` with these files.
async fn hub(files: &[(&'static str, &'static str)]) -> (String, JoinHandle<()>) {
    async fn tree(State(files): State<Files>) -> impl IntoResponse {
        let entry =
            |(path, text): &(&str, &str)| json!({"type": "file", "oid": path, "size": text.len(), "path": path});
        axum::Json(files.iter().map(entry).collect::<Vec<_>>())
    }
    async fn file(State(files): State<Files>, UrlPath(path): UrlPath<String>) -> impl IntoResponse {
        match files.iter().find(|(name, _)| *name == path) {
            Some((name, text)) => {
                let headers = [(header::ETAG, format!("\"{}\"", name.replace('/', "-")))];
                (StatusCode::OK, headers, [("x-repo-commit", COMMIT)], *text).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
    let router = Router::new()
        .route("/api/models/owner/model/revision/main", get(|| async { axum::Json(json!({"sha": COMMIT})) }))
        .route(&format!("/api/models/owner/model/tree/{COMMIT}"), get(tree))
        .route(&format!("/owner/model/resolve/{COMMIT}/{{*path}}"), get(file))
        .with_state(Arc::new(files.to_vec()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (endpoint, server)
}

fn client(endpoint: &str, cache: &Path) -> HFClient {
    HFClient::builder().endpoint(endpoint).cache_dir(cache).retry_max_attempts(0).build().unwrap()
}

#[tokio::test]
async fn a_model_is_fetched_once_and_works_without_the_hub() {
    let cache = tempfile::tempdir().unwrap();
    let files = [
        ("model_index.json", "{}"),
        ("unet/config.json", "{\"a\": 1}"),
        ("unet/diffusion_pytorch_model.safetensors", "weights"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "half"),
        ("tokenizer/merges.txt", "a b"),
        ("model.ckpt", "pickle"),
        ("safety_checker/model.safetensors", "checker"),
    ];
    let (endpoint, server) = hub(&files).await;
    let folder = download(&client(&endpoint, cache.path()), "m", "owner", "model").await.unwrap();
    for (path, text) in files {
        let is_wanted = !(path.contains("fp16") || path.contains("ckpt") || path.contains("safety"));
        let found = std::fs::read_to_string(folder.join(path)).ok();
        assert_eq!(found.as_deref(), is_wanted.then_some(text), "{path}");
    }

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    let offline = client(&endpoint, cache.path());
    assert_eq!(download(&offline, "m", "owner", "model").await.unwrap(), folder);
    assert!(download(&offline, "m", "owner", "other").await.is_err());
}

#[test]
fn ids_are_no_paths() {
    assert!(is_id_part("stable-diffusion-v1.5"));
    for odd in ["", "..", ".hidden", "a/b", "a b"] {
        assert!(!is_id_part(odd), "{odd:?}");
    }
}
