//! The frame around everything: header and connection.

use leptos::prelude::*;

use super::editor::card::ImageCard;
use super::form::Prompt;
use super::gallery::Gallery;
use super::keys::{self, Shortcuts};
use super::queue::Queue;
use super::settings::Settings;
use super::stage::Stage;
use super::unlock::Unlock;
use super::{App, strings};
use crate::session::Link;
use crate::web::canvas::Backend;

#[component]
pub(super) fn Page() -> impl IntoView {
    let app = App::get();
    keys::listen(app);
    view! {
        <a class="skip" href="#job">{strings::SKIP_TO_PICTURE}</a>
        <header class="top">
            <h1>{strings::TITLE}</h1>
            <Connection/>
            <Shortcuts/>
        </header>
        <main>
            <form class="controls" novalidate on:submit=move |event| { event.prevent_default(); app.submit() }>
                <Prompt/>
                <ImageCard/>
                <Settings/>
            </form>
            <div class="pictures">
                <Stage/>
                <Queue/>
                <Gallery/>
            </div>
        </main>
        <About/>
        <Unlock/>
    }
}

#[component]
fn Connection() -> impl IntoView {
    let app = App::get();
    let state = move || match (app.link(), app.session.read().worker().is_some()) {
        (Link::Locked { .. }, _) => ("locked", strings::LOCKED),
        (Link::Connected, _) => ("connected", strings::CONNECTED),
        (Link::Connecting { .. } | Link::Waiting { .. }, false) => ("connecting", strings::CONNECTING),
        (Link::Connecting { .. } | Link::Waiting { .. }, true) => ("reconnecting", strings::RECONNECTING),
    };
    let server = Signal::derive(move || app.session.read().worker().map(|worker| worker.server.clone()));
    view! {
        <p id="connection" class="connection" role="status" data-state=Signal::derive(move || state().0) title=server>
            <span>{Signal::derive(move || state().1)}</span>
        </p>
    }
}

/// Which worker draws, and how its previews are shown.
#[component]
fn About() -> impl IntoView {
    let app = App::get();
    let server = Signal::derive(move || app.session.read().worker().map(|worker| worker.server.clone()));
    let previews = Signal::derive(move || match app.backend.get() {
        Some(Backend::WebGpu) => strings::PREVIEW_WEBGPU,
        Some(Backend::Canvas2d) => strings::PREVIEW_CANVAS2D,
        None => "",
    });
    view! {
        <footer class="about">
            <p id="previews">{previews}</p>
            <p>{server}</p>
        </footer>
    }
}
