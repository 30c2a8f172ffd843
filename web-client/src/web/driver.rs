//! The page's [`Session`], with signals for its views, and the storage of the browser.

use leptos::prelude::*;
use sd_protocol::Secret;
use wasm_bindgen_futures::spawn_local;

use super::host::{self, Host};
use super::socket::Socket;
use super::{fetch, page, storage};
use crate::session::{Call, Selection, Session, Wake};

/// Runs a session: hands it what comes in and carries out what it asks for.
#[derive(Clone, Copy)]
pub(crate) struct Driver {
    session: RwSignal<Session>,
    preview: RwSignal<()>,
    socket: StoredValue<Option<Socket>, LocalStorage>,
}

impl Driver {
    /// A session that connects at once.
    pub(crate) fn start() -> Self {
        let driver = Self {
            session: RwSignal::new(Session::new(host::CLIENT, storage::token())),
            preview: RwSignal::new(()),
            socket: StoredValue::new_local(None),
        };
        let online = window_event_listener(leptos::ev::online, move |_| driver.act(|session| session.due(Wake::Retry)));
        on_cleanup(move || online.remove());
        driver.act(|_| ());
        driver
    }

    /// What is known; changes with everything but previews.
    pub(crate) fn session(self) -> RwSignal<Session> {
        self.session
    }

    /// Notifies whenever another preview should be on the canvas.
    pub(crate) fn preview(self) -> RwSignal<()> {
        self.preview
    }

    /// Gives the session an input, tells the page that something changed, and does what follows from it.
    pub(crate) fn act(self, input: impl FnOnce(&mut Session)) {
        Host::act(&self, input);
    }

    /// Shows the worker a token, which is kept for this tab, or for later visits where `longer` says so.
    pub(crate) fn unlock(self, token: Secret, longer: bool) {
        storage::keep_token(&token, longer);
        self.act(|session| session.unlock(token));
    }
}

impl Host for Driver {
    fn socket_url(&self) -> String {
        page::socket_url()
    }

    fn session<T>(&self, then: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.session.try_update_untracked(then)
    }

    fn socket(&self, then: impl FnOnce(&mut Option<Socket>)) {
        self.socket.try_update_value(then);
    }

    fn changed(&self) {
        self.session.notify();
    }

    /// The views ask for it.
    fn previewed(&self, _: Selection) {}

    fn draw(&self) {
        self.preview.notify();
    }

    fn call(&self, call: Call) {
        let driver = *self;
        spawn_local(async move {
            let Some(token) = driver.session.try_with_untracked(|session| session.token().cloned()) else {
                return;
            };
            let answer = fetch::call(&call, token.as_ref()).await;
            driver.act(|session| host::warn_of(session.answered(call, answer)));
        });
    }

    fn forget_token(&self) {
        storage::forget_token();
    }
}
