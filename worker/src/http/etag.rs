//! Readers that may have a file already.

use axum::http::{HeaderMap, HeaderValue, header};

/// The `ETag` of a file with this hash.
pub fn of_hash(hash: &str) -> String {
    format!("\"{hash}\"")
}

/// Whether `If-None-Match` names `etag`.
pub fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).map(HeaderValue::to_str);
    known.is_some_and(|known| {
        known.is_ok_and(|list| list.split(',').any(|known| known.trim() == etag || known.trim() == "*"))
    })
}
