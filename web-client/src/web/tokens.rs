//! How a prompt falls into tokens, asked of the worker while it is written.

use leptos::prelude::*;
use sd_protocol::{Secret, TokensView};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::fetch::{self, FetchError};
use super::window;
use crate::session::Session;

/// Time without a key after which the worker is asked, in milliseconds.
const PAUSE_MS: u32 = 250;

/// The newest count of the `(model, prompt)` that is written; `None` where the worker has no answer.
pub(crate) fn counted(
    session: RwSignal<Session>,
    written: impl Fn() -> (String, String) + Send + Sync + 'static,
) -> ReadSignal<Option<TokensView>> {
    let (tokens, set_tokens) = signal(None);
    let newest = StoredValue::new(String::new());
    Effect::new(move |_| {
        let (model, prompt) = written();
        let both = [model.as_str(), prompt.as_str()].join("\n");
        // The form changes in other places too.
        if newest.with_value(|newest| *newest == both) {
            return;
        }
        newest.set_value(both.clone());
        if model.is_empty() || prompt.trim().is_empty() {
            return set_tokens.set(None);
        }
        let is_newest = move || newest.try_with_value(|newest| *newest == both) == Some(true);
        window::after(PAUSE_MS, move || {
            if !is_newest() {
                return;
            }
            let token = session.read_untracked().token().cloned();
            spawn_local(async move {
                let counted = count(&model, &prompt, token.as_ref()).await;
                if is_newest() {
                    // Nobody misses a count that cannot be had.
                    set_tokens.set(counted.ok().flatten());
                }
            });
        });
    });
    tokens
}

async fn count(model: &str, prompt: &str, token: Option<&Secret>) -> Result<Option<TokensView>, FetchError> {
    let url = ["/v1/models/", &String::from(js_sys::encode_uri_component(model)), "/tokens"].concat();
    let body = js_sys::Object::new();
    js_sys::Reflect::set(&body, &"prompt".into(), &prompt.into())?;
    let body = String::from(js_sys::JSON::stringify(&body)?);
    let answer = JsFuture::from(fetch::post(&url, token, &body).await?.text()?).await?;
    Ok(answer.as_string().and_then(|text| sd_protocol::read(&text).ok()))
}
