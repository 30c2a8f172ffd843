//! What the worker has under an address, asked for with the token that it may want.

use js_sys::{ArrayBuffer, Uint8Array};
use sd_protocol::Secret;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

use super::{errors, page};

/// Something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// A status that is no success.
    #[error("the worker answered with status {0}")]
    Refused(u16),
    /// No answer.
    #[error("the browser could not fetch it: {0}")]
    Browser(String),
}

impl From<JsValue> for FetchError {
    fn from(thrown: JsValue) -> Self {
        Self::Browser(errors::message(&thrown))
    }
}

/// The answer to a `GET` that succeeded.
pub(crate) async fn get(url: &str, token: Option<&Secret>) -> Result<Response, FetchError> {
    let options = RequestInit::new();
    if let Some(token) = token {
        let headers = Headers::new()?;
        headers.set("authorization", &format!("Bearer {}", token.reveal()))?;
        options.set_headers(&headers);
    }
    let response = JsFuture::from(page::window().fetch_with_str_and_init(url, &options)).await?;
    let response = Response::from(response);
    if response.ok() { Ok(response) } else { Err(FetchError::Refused(response.status())) }
}

/// Its body.
pub(crate) async fn bytes(url: &str, token: Option<&Secret>) -> Result<Vec<u8>, FetchError> {
    let buffer = JsFuture::from(get(url, token).await?.array_buffer()?).await?;
    Ok(Uint8Array::new(&ArrayBuffer::from(buffer)).to_vec())
}
