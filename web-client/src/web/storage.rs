//! What is kept in the browser between visits.

use sd_protocol::Secret;
use web_sys::Storage;

/// The token that the worker is shown.
const TOKEN: &str = "sd-worker.token";
/// The form as it was left.
pub(crate) const DRAFT: &str = "sd-worker.draft";
/// The picture that is worked on, and what was painted over it.
pub(crate) const PICTURE: &str = "sd-worker.picture";

/// What was kept under `key`.
pub(crate) fn load(key: &str) -> Option<String> {
    storage()?.get_item(key).ok()?
}

/// Keeps `text` under `key`, where the browser allows it.
pub(crate) fn save(key: &str, text: &str) {
    if let Some(storage) = storage()
        && let Err(refusal) = storage.set_item(key, text)
    {
        web_sys::console::warn_2(&"could not keep this for the next visit:".into(), &refusal);
    }
}

/// The token of this tab, or else the one that was kept for longer.
pub(crate) fn token() -> Option<Secret> {
    let kept = |storage: Option<Storage>| storage?.get_item(TOKEN).ok()?;
    kept(tab_storage()).or_else(|| kept(storage())).map(Secret::new)
}

/// Keeps the token for this tab, and for later visits only where that was asked for.
pub(crate) fn keep_token(token: &Secret, longer: bool) {
    forget_token();
    let Some(storage) = (if longer { storage() } else { tab_storage() }) else { return };
    if let Err(refusal) = storage.set_item(TOKEN, token.reveal()) {
        web_sys::console::warn_2(&"could not keep the token:".into(), &refusal);
    }
}

/// Keeps no token.
pub(crate) fn forget_token() {
    for storage in [tab_storage(), storage()].into_iter().flatten() {
        if let Err(refusal) = storage.remove_item(TOKEN) {
            web_sys::console::warn_2(&"could not forget the token:".into(), &refusal);
        }
    }
}

fn storage() -> Option<Storage> {
    web_sys::window()?.local_storage().ok()?
}

fn tab_storage() -> Option<Storage> {
    web_sys::window()?.session_storage().ok()?
}
