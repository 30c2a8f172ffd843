//! The browser client, embedded when the worker is built with `embed-client`.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sd_protocol::ErrorCode;

use super::error::ApiError;
use super::etag;

/// The files of `web-client/dist`, each also as `.br`.
#[cfg(feature = "embed-client")]
#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web-client/dist"]
struct Client;

/// Nothing but the network is between the page and the worker, and nothing else may be: no inline script, no
/// other origin, no frame around it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The header of whatever a browser shows.
pub(super) const PROTECTION: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)];

/// Any path that is no route: a file of the client, or 404.
pub async fn serve(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ApiError::new(ErrorCode::NotFound, "no such route; /v1/jobs takes jobs").into_response();
    }
    let path = match request.uri().path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let accepts = |header: header::HeaderName, wanted: &str| {
        let value = request.headers().get(header).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.split(',').any(|item| item.trim().split(';').next() == Some(wanted)))
    };
    let Some(file) = find(path, accepts(header::ACCEPT_ENCODING, "br")) else {
        return ApiError::new(ErrorCode::NotFound, format!("no file or route {path:?} here")).into_response();
    };
    let etag = file.etag;
    if etag::is_known(request.headers(), &etag) {
        let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, cache_control(path).to_owned())];
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, file.content_type.to_owned()),
        (header::ETAG, etag),
        (header::CACHE_CONTROL, cache_control(path).to_owned()),
        (header::VARY, "accept-encoding".to_owned()),
    ];
    let mut response = (PROTECTION, headers, file.bytes).into_response();
    if file.is_brotli {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    response
}

struct File {
    bytes: std::borrow::Cow<'static, [u8]>,
    content_type: &'static str,
    etag: String,
    is_brotli: bool,
}

#[cfg(feature = "embed-client")]
fn find(path: &str, accepts_brotli: bool) -> Option<File> {
    // A compressed copy is an encoding of its file, not a file of its own.
    if path.ends_with(".br") {
        return None;
    }
    let compressed = accepts_brotli.then(|| Client::get(&format!("{path}.br"))).flatten();
    let is_brotli = compressed.is_some();
    let file = compressed.or_else(|| Client::get(path))?;
    let hash: String = file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(File { bytes: file.data, content_type: content_type(path), etag: etag::of_hash(&hash), is_brotli })
}

#[cfg(not(feature = "embed-client"))]
fn find(path: &str, _accepts_brotli: bool) -> Option<File> {
    const PAGE: &str = "<!doctype html><meta charset=utf-8><title>sd-worker</title>\
        <p>This worker was built without the browser client. <code>cargo xtask serve</code> builds one with it; \
        the API is under <a href=/v1/models>/v1</a>.";
    (path == "index.html").then(|| File {
        bytes: PAGE.as_bytes().into(),
        content_type: content_type(path),
        etag: etag::of_hash("no-client"),
        is_brotli: false,
    })
}

/// How long a browser may go without asking again: for ever, where the name is made of the content.
fn cache_control(path: &str) -> &'static str {
    if is_hashed(path) { "public, max-age=31536000, immutable" } else { "no-cache" }
}

/// Whether a name ends in 16 hexadecimal digits before its kind, as `cargo xtask web` makes them of the content.
fn is_hashed(path: &str) -> bool {
    let hash = path.rsplit_once('.').and_then(|(stem, _)| stem.rsplit_once('-')).map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        Some("ts") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::is_hashed;

    #[test]
    fn names_made_of_content_are_known() {
        let hashed = ["client-0123456789abcdef.js", "client_bg-00000000deadbeef.wasm"];
        let plain = ["index.html", "pkg/index.js", "client-short.js", "0123456789abcdef.js", "a-0123456789abcdeg.js"];
        assert_eq!((hashed.map(is_hashed), plain.map(is_hashed)), ([true; 2], [false; 5]));
    }
}
