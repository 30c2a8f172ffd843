//! A [`Session`] with a real socket, clock and storage.

use leptos::prelude::*;
use sd_protocol::Secret;
use wasm_bindgen_futures::spawn_local;

use super::socket::{Heard, Socket};
use super::{errors, fetch, page, storage};
use crate::session::{Command, FrameFault, Session, Wake};

/// Name and version of this client, for the worker's log.
const CLIENT: &str = concat!("sd-web-client/", env!("CARGO_PKG_VERSION"));

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
            session: RwSignal::new(Session::new(CLIENT, storage::token())),
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
        let Some(commands) = self.session.try_update(|session| {
            input(session);
            take_commands(session)
        }) else {
            return;
        };
        self.run(commands);
    }

    /// Shows the worker a token, which is kept for this tab, or for later visits where `longer` says so.
    pub(crate) fn unlock(self, token: Secret, longer: bool) {
        storage::keep_token(&token, longer);
        self.act(|session| session.unlock(token));
    }

    fn hear(self, heard: Heard) {
        match heard {
            Heard::Opened => self.act(Session::opened),
            Heard::Closed => self.act(|session| session.closed(page::random())),
            Heard::Text(text) => self.act(|session| warn_of(session.text(&text))),
            // Previews come many times a second and change nothing but the canvas.
            Heard::Binary(frame) => {
                let commands = self.session.try_update_untracked(|session| {
                    warn_of(session.binary(frame));
                    take_commands(session)
                });
                self.run(commands.unwrap_or_default());
            }
        }
    }

    fn run(self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Connect => self.connect(),
                Command::Send(frame) => {
                    let text = sd_protocol::write(&frame);
                    self.socket.with_value(|socket| {
                        if let Some(Err(fault)) = socket.as_ref().map(|socket| socket.send(&text)) {
                            errors::warn(&fault);
                        }
                    });
                }
                Command::After { delay_ms, then } => {
                    page::after(delay_ms, move || self.act(|session| session.due(then)));
                }
                Command::Call(call) => spawn_local(async move {
                    let Some(token) = self.session.try_with_untracked(|session| session.token().cloned()) else {
                        return;
                    };
                    let answer = fetch::call(&call, token.as_ref()).await;
                    self.act(|session| warn_of(session.answered(call, answer)));
                }),
                Command::Draw => self.preview.notify(),
                Command::ForgetToken => storage::forget_token(),
            }
        }
    }

    fn connect(self) {
        match Socket::open(&page::socket_url(), move |heard| self.hear(heard)) {
            Ok(socket) => self.socket.set_value(Some(socket)),
            Err(fault) => {
                errors::warn(&fault);
                page::after(0, move || self.hear(Heard::Closed));
            }
        }
    }
}

fn take_commands(session: &mut Session) -> Vec<Command> {
    std::iter::from_fn(|| session.next_command()).collect()
}

fn warn_of(result: Result<(), FrameFault>) {
    if let Err(fault) = result {
        errors::warn(&fault);
    }
}
