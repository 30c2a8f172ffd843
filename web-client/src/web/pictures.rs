//! Addresses that an `<img>` can load. It cannot send a token, so where the worker asks for one, a picture is fetched
//! with it and shown from a copy in memory.

use js_sys::{Array, Object, Reflect};
use leptos::prelude::*;
use sd_protocol::Secret;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, ClipboardItem, Url};

use super::fetch::{self, FetchError};
use super::{errors, window};
use crate::session::Session;

/// A copy in memory, there for as long as this value, and the address under which it is.
pub(crate) struct Copy(String);

impl Copy {
    /// Of a file.
    pub(crate) fn of(file: &Blob) -> Result<Self, FetchError> {
        Ok(Self(Url::create_object_url_with_blob(file)?))
    }

    /// The address.
    pub(crate) fn url(&self) -> &str {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(thrown) = Url::revoke_object_url(&self.0) {
            errors::warn(&FetchError::from(thrown));
        }
    }
}

/// Where an `<img>` can load what is at `url` on the worker; `None` until that is known. The copy leaves with the view
/// that asked.
pub(crate) fn source(
    session: RwSignal<Session>,
    url: impl Fn() -> Option<String> + 'static,
) -> ReadSignal<Option<String>> {
    let (source, set_source) = signal(None);
    let copy = StoredValue::new_local(None::<Copy>);
    let wanted = StoredValue::new(None::<String>);
    Effect::new(move |_| {
        let url = url();
        wanted.set_value(url.clone());
        let token = session.read_untracked().token().cloned();
        let (Some(url), Some(token)) = (url.clone(), token) else {
            copy.set_value(None);
            return set_source.set(url);
        };
        set_source.set(None);
        copy.set_value(None);
        spawn_local(async move {
            let fetched = fetch_copy(&url, &token).await;
            // Another picture may be wanted by now, or none.
            if wanted.try_with_value(|wanted| wanted.as_ref() == Some(&url)) != Some(true) {
                return;
            }
            match fetched {
                Ok(fetched) => {
                    set_source.set(Some(fetched.url().to_owned()));
                    copy.set_value(Some(fetched));
                }
                Err(fault) => errors::warn(&fault),
            }
        });
    });
    source
}

async fn fetch_copy(url: &str, token: &Secret) -> Result<Copy, FetchError> {
    Copy::of(&fetch::blob(url, Some(token)).await?)
}

/// Puts the PNG at `url` on the worker into the clipboard.
pub(crate) async fn copy(url: &str, token: Option<&Secret>) -> Result<(), FetchError> {
    let response = fetch::get(url, token).await?;
    let record = Object::new();
    // A promise of the picture: a browser that asks for a recent click takes no item that comes later.
    Reflect::set(&record, &"image/png".into(), response.blob()?.as_ref()).map_err(FetchError::from)?;
    let item = ClipboardItem::new_with_record_from_str_to_blob_promise(&record)?;
    JsFuture::from(window::window().navigator().clipboard().write(&Array::of1(&item))).await?;
    Ok(())
}
