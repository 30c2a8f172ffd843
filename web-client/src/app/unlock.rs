//! The question for a token, where the worker asks for one.

use leptos::html;
use leptos::prelude::*;
use sd_protocol::Secret;

use super::parts::{announced, effect, memo, when};
use super::{App, strings};
use crate::session::Link;

#[component]
pub(super) fn Unlock() -> impl IntoView {
    let app = App::get();
    let is_locked = memo(move || matches!(app.link(), Link::Locked { .. }));
    when(move || is_locked.get(), || view! { <Question/> }.into_any())
}

/// Modal, because nothing behind it does anything yet.
#[component]
fn Question() -> impl IntoView {
    let app = App::get();
    let (dialog, field, keep) =
        (NodeRef::<html::Dialog>::new(), NodeRef::<html::Input>::new(), NodeRef::<html::Input>::new());
    effect(move || {
        if let Some(dialog) = dialog.get() {
            // The browser refuses a dialog that is open already, and that is what is wanted.
            dialog.show_modal().ok();
        }
    });
    let unlock = move || {
        let (Some(field), Some(keep)) = (field.get_untracked(), keep.get_untracked()) else { return };
        let token = field.value();
        if !token.trim().is_empty() {
            app.driver.unlock(Secret::new(token.trim()), keep.checked());
        }
    };
    let note = move || {
        let is_refused = matches!(app.link(), Link::Locked { refused: true });
        if is_refused { strings::UNLOCK_REFUSED.to_owned() } else { strings::UNLOCK_TEXT.to_owned() }
    };
    view! {
        <dialog
            id="unlock"
            class="unlock"
            aria-labelledby="unlock-title"
            node_ref=dialog
            on:keydown=|event| if event.key() == "Escape" { event.prevent_default() }
        >
            <form on:submit=move |event| { event.prevent_default(); unlock() }>
                <h2 id="unlock-title">{strings::UNLOCK_TITLE}</h2>
                {announced("unlock-note", "", note)}
                <label>
                    <span>{strings::TOKEN}</span>
                    <input id="token" type="password" autocomplete="current-password" required node_ref=field/>
                </label>
                <label class="check">
                    <input id="keep-token" type="checkbox" node_ref=keep/>
                    <span>{strings::KEEP_TOKEN}</span>
                </label>
                <button type="submit" class="primary">{strings::UNLOCK}</button>
            </form>
        </dialog>
    }
}
