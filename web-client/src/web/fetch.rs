//! What the worker has under an address, asked for with the token that it may want.

use js_sys::{ArrayBuffer, Uint8Array};
use sd_protocol::{ErrorEnvelope, Secret};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

use super::{errors, page};
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
    succeeded(send("POST", url, token, Some(json)).await?)
}

fn succeeded(response: Response) -> Result<Response, FetchError> {
    if response.ok() { Ok(response) } else { Err(FetchError::Refused(response.status())) }
}

/// What becomes of a call of the session.
pub(crate) async fn call(call: &Call, token: Option<&Secret>) -> Result<String, Refusal> {
    let read = async {
        let body = call.body();
        let response = send(call.method(), &call.path(), token, body.as_deref()).await?;
        let text = JsFuture::from(response.text()?).await?.as_string().unwrap_or_default();
        Ok::<_, FetchError>((response.ok(), text))
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

async fn send(method: &str, url: &str, token: Option<&Secret>, json: Option<&str>) -> Result<Response, FetchError> {
    let options = RequestInit::new();
    options.set_method(method);
    let headers = Headers::new()?;
    if let Some(token) = token {
        headers.set("authorization", &["Bearer ", token.reveal()].concat())?;
    }
    if let Some(json) = json {
        headers.set("content-type", "application/json")?;
        options.set_body(&json.into());
    }
    options.set_headers(&headers);
    let response = JsFuture::from(page::window().fetch_with_str_and_init(url, &options)).await?;
    Ok(Response::from(response))
}

/// Its body.
pub(crate) async fn bytes(url: &str, token: Option<&Secret>) -> Result<Vec<u8>, FetchError> {
    let buffer = JsFuture::from(get(url, token).await?.array_buffer()?).await?;
    Ok(Uint8Array::new(&ArrayBuffer::from(buffer)).to_vec())
}
