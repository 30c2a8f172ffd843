//! `/openapi.json`, `/asyncapi.json` and `/docs`: what the worker offers, read off its routes and types.
//!
//! | module | what it holds |
//! |---|---|
//! | [`operation`] | `Operation`: what a route takes and answers, said where the route is made |
//! | [`openapi`] | operations → an OpenAPI 3.1 document |
//! | [`page`] | both documents → the page for people |
//! | [`markup`] | schemas and prose → HTML |
//!
//! # Invariants
//! * Documents are made once, when the router is; a request only copies them.
//! * The page is one file of HTML and one of CSS, without a script.

pub mod markup;
pub mod openapi;
pub mod operation;
pub mod page;

use std::sync::Arc;

use axum::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sd_protocol::schema;
use serde_json::Value;

pub use self::operation::{Answer, Bytes, Door, Operation};

/// Version of the worker, which is that of its documents.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const STYLE: &str = include_str!("style.css");

/// What the worker says about itself.
#[derive(Debug)]
pub struct Documents {
    /// OpenAPI 3.1, as JSON.
    pub openapi: String,
    /// AsyncAPI 3, as JSON.
    pub asyncapi: String,
    /// Both for people, as HTML.
    pub page: String,
}

impl Documents {
    /// The documents of a worker with these operations.
    pub fn of(operations: &[Operation]) -> Self {
        let (openapi, asyncapi) = (openapi::openapi(operations, VERSION), schema::asyncapi(VERSION));
        let page = page::page(&openapi, &asyncapi).into_string();
        Self { page, openapi: text(&openapi), asyncapi: text(&asyncapi) }
    }
}

fn text(document: &Value) -> String {
    format!("{document:#}\n")
}

/// `GET /openapi.json`
pub async fn serve_openapi(Extension(documents): Extension<Arc<Documents>>) -> Response {
    answer("application/json", documents.openapi.clone())
}

/// `GET /asyncapi.json`
pub async fn serve_asyncapi(Extension(documents): Extension<Arc<Documents>>) -> Response {
    answer("application/json", documents.asyncapi.clone())
}

/// `GET /docs`
pub async fn serve_page(Extension(documents): Extension<Arc<Documents>>) -> Response {
    answer("text/html; charset=utf-8", documents.page.clone())
}

/// `GET /docs/style.css`
pub async fn serve_style() -> Response {
    answer("text/css; charset=utf-8", STYLE.to_owned())
}

fn answer(content_type: &'static str, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")];
    (super::assets::PROTECTION, headers, body).into_response()
}
