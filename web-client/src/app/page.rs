//! The frame around everything: header, connection, keys.

use leptos::ev;
use leptos::prelude::*;

use super::form::Prompt;
use super::gallery::Gallery;
use super::settings::Settings;
use super::stage::Stage;
use super::unlock::Unlock;
use super::{App, strings};
use crate::session::Link;

#[component]
pub(super) fn Page() -> impl IntoView {
    let app = App::get();
    let keys = window_event_listener(ev::keydown, move |event| match event.key().as_str() {
        "Enter" if event.ctrl_key() || event.meta_key() => {
            event.prevent_default();
            app.submit();
        }
        "Escape" => app.cancel(),
        _ => {}
    });
    on_cleanup(move || keys.remove());
    view! {
        <a class="skip" href="#job">{strings::SKIP_TO_PICTURE}</a>
        <header class="top">
            <h1><img src="/favicon.svg" alt="" width="26" height="26"/>{strings::TITLE}</h1>
            <Connection/>
        </header>
        <main>
            <form class="controls" novalidate on:submit=move |event| { event.prevent_default(); app.submit() }>
                <Prompt/>
                <Settings/>
            </form>
            <div class="pictures">
                <Stage/>
                <Gallery/>
            </div>
        </main>
        <Unlock/>
    }
}

#[component]
fn Connection() -> impl IntoView {
    let app = App::get();
    let state = move || match (app.link(), app.session.with(|session| session.worker().is_some())) {
        (Link::Locked { .. }, _) => ("locked", strings::LOCKED),
        (Link::Connected, _) => ("connected", strings::CONNECTED),
        (Link::Connecting { .. } | Link::Waiting { .. }, false) => ("connecting", strings::CONNECTING),
        (Link::Connecting { .. } | Link::Waiting { .. }, true) => ("reconnecting", strings::RECONNECTING),
    };
    let server = move || app.session.with(|session| session.worker().map(|worker| worker.server.clone()));
    view! {
        <p id="connection" class="connection" role="status" data-state=move || state().0 title=server>
            <span>{move || state().1}</span>
        </p>
    }
}
