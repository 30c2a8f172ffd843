//! What the worker has under an address, asked for with the token that it may want.

use js_sys::{ArrayBuffer, Uint8Array};
use sd_protocol::{ErrorEnvelope, Secret};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, Headers, RequestInit, Response};

use super::{errors, window};
use crate::session::{Call, Refusal};

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
    succeeded(send("GET", url, token, None).await?)
}

/// The answer to a `POST` of `json` that succeeded.
pub(crate) async fn post(url: &str, token: Option<&Secret>, json: &str) -> Result<Response, FetchError> {
    succeeded(send("POST", url, token, Some(&json.into())).await?)
}

fn succeeded(response: Response) -> Result<Response, FetchError> {
    if response.ok() { Ok(response) } else { Err(FetchError::Refused(response.status())) }
}

/// What becomes of a call of the session.
pub(crate) async fn call(call: &Call, token: Option<&Secret>) -> Result<String, Refusal> {
    let read = async {
        let body = call.body();
        let body = body.as_deref().map(JsValue::from_str);
        let response = send(call.method(), &call.path(), token, body.as_ref()).await?;
        Ok::<_, FetchError>((response.ok(), text(&response).await?))
    };
    match read.await {
        Ok((true, text)) => Ok(text),
        // A proxy between may answer in words of its own.
        Ok((false, text)) => match sd_protocol::read::<ErrorEnvelope>(&text) {
            Ok(envelope) => Err(Refusal::Refused(envelope.error)),
            Err(_) => Err(Refusal::NoAnswer),
        },
        Err(fault) => {
            errors::warn(&fault);
            Err(Refusal::NoAnswer)
        }
    }
}

/// Status and text of the answer to a `POST` of a file.
pub(super) async fn send_file(url: &str, token: Option<&Secret>, file: &Blob) -> Result<(u16, String), FetchError> {
    let response = send("POST", url, token, Some(file)).await?;
    Ok((response.status(), text(&response).await?))
}

async fn text(response: &Response) -> Result<String, FetchError> {
    Ok(JsFuture::from(response.text()?).await?.as_string().unwrap_or_default())
}

/// `body` is JSON as text, or a file, which says its own type.
async fn send(method: &str, url: &str, token: Option<&Secret>, body: Option<&JsValue>) -> Result<Response, FetchError> {
    let options = RequestInit::new();
    options.set_method(method);
    let headers = Headers::new()?;
    if let Some(token) = token {
        headers.set("authorization", &["Bearer ", token.reveal()].concat())?;
    }
    if let Some(body) = body {
        if body.is_string() {
            headers.set("content-type", "application/json")?;
        }
        options.set_body(body);
    }
    options.set_headers(&headers);
    let response = JsFuture::from(window::window().fetch_with_str_and_init(url, &options)).await?;
    Ok(Response::from(response))
}

/// Its body.
pub(crate) async fn bytes(url: &str, token: Option<&Secret>) -> Result<Vec<u8>, FetchError> {
    let buffer = JsFuture::from(get(url, token).await?.array_buffer()?).await?;
    Ok(Uint8Array::new(&ArrayBuffer::from(buffer)).to_vec())
}

/// Its body, as a file.
pub(crate) async fn blob(url: &str, token: Option<&Secret>) -> Result<Blob, FetchError> {
    Ok(JsFuture::from(get(url, token).await?.blob()?).await?.into())
}

/// What is in a file.
pub(crate) async fn bytes_of(file: &Blob) -> Result<Vec<u8>, FetchError> {
    let buffer = JsFuture::from(file.array_buffer()).await?;
    Ok(Uint8Array::new(&ArrayBuffer::from(buffer)).to_vec())
}
