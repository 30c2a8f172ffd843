//! What is kept in the browser between visits.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The jobs that the next visit looks for.
pub(crate) const JOBS: &str = "sd-worker.jobs";
/// The form as it was left.
pub(crate) const DRAFT: &str = "sd-worker.draft";

/// What was kept under `key`, if it is there and readable.
pub(crate) fn load<T: DeserializeOwned>(key: &str) -> Option<T> {
    serde_json::from_str(&storage()?.get_item(key).ok()??).ok()
}

/// Keeps `value` under `key`, where the browser allows it.
pub(crate) fn save<T: Serialize>(key: &str, value: &T) {
    let Some(storage) = storage() else { return };
    if let Ok(text) = serde_json::to_string(value)
        && let Err(refusal) = storage.set_item(key, &text)
    {
        web_sys::console::warn_2(&"could not keep this for the next visit:".into(), &refusal);
    }
}

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok()?
}
