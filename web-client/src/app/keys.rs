//! The keys of the page, and the list of them.

use leptos::ev::{self, KeyboardEvent};
use leptos::prelude::*;

use super::{App, strings};
use crate::web::page;

const LIST: &str = "shortcuts";
const BUTTON: &str = "help";

/// Obeys the keys that mean the same wherever the focus is.
pub(super) fn listen(app: App) {
    let keys = window_event_listener(ev::keydown, move |event| obey(app, &event));
    on_cleanup(move || keys.remove());
}

fn obey(app: App, event: &KeyboardEvent) {
    let is_command = event.ctrl_key() || event.meta_key();
    match event.key().as_str() {
        "Enter" if is_command => {
            event.prevent_default();
            app.submit();
        }
        // Esc closes first what lies over the page.
        "Escape" if !page::is_covered() => app.cancel(),
        // Texts have an undo of their own, and so may what has the focus.
        "z" if is_command && !event.shift_key() && !event.default_prevented() && !page::is_typing() => {
            event.prevent_default();
            app.undo();
        }
        "?" if !page::is_typing() => page::click(BUTTON),
        _ => {}
    }
}

/// The list of keys, behind a button.
#[component]
pub(super) fn Shortcuts() -> impl IntoView {
    let row = |(keys, meaning)| view! { <div><dt><kbd>{keys}</kbd></dt><dd>{meaning}</dd></div> }.into_any();
    view! {
        <button id=BUTTON type="button" class="help" title=strings::SHORTCUTS aria-label=strings::SHORTCUTS popovertarget=LIST>
            "?"
        </button>
        <div id=LIST class="shortcuts" popover="auto" role="dialog" aria-labelledby="shortcuts-title" tabindex="-1" autofocus>
            <h2 id="shortcuts-title">{strings::SHORTCUTS}</h2>
            <dl>{Vec::from(strings::SHORTCUT_LIST.map(row))}</dl>
        </div>
    }
    .into_any()
}
