//! What every [`Session`] in a browser does with its socket and its clock, wherever it lives.

use super::socket::{Heard, Socket};
use super::{errors, window};
use crate::session::{Call, Command, FrameFault, Selection, Session};

/// Name and version of this client, for the worker's log.
pub(super) const CLIENT: &str = concat!("sd-web-client/", env!("CARGO_PKG_VERSION"));

/// The place of a session, its socket, and whoever watches it.
pub(crate) trait Host: Clone + 'static {
    /// The address of the worker's socket.
    fn socket_url(&self) -> String;
    /// Lends the session out; `None` when there is none any more.
    fn session<T>(&self, then: impl FnOnce(&mut Session) -> T) -> Option<T>;
    /// Lends the place of the socket out, as long as there is a session.
    fn socket(&self, then: impl FnOnce(&mut Option<Socket>));
    /// Something has changed, and not only previews.
    fn changed(&self);
    /// A preview of this picture came.
    fn previewed(&self, picture: Selection);
    /// Another preview should be on the canvas.
    fn draw(&self);
    /// Asks the HTTP API.
    fn call(&self, call: Call);
    /// Keeps the token no longer.
    fn forget_token(&self);

    /// Gives the session an input, tells whoever watches, and does what follows from it.
    fn act(&self, input: impl FnOnce(&mut Session)) {
        let commands = self.session(|session| {
            input(session);
            take_commands(session)
        });
        if let Some(commands) = commands {
            self.changed();
            run(self, commands);
        }
    }
}

/// Tells of a frame that could not be read.
pub(super) fn warn_of(result: Result<(), FrameFault>) {
    if let Err(fault) = result {
        errors::warn(&fault);
    }
}

fn hear<H: Host>(host: &H, heard: Heard) {
    match heard {
        Heard::Opened => host.act(Session::opened),
        Heard::Closed => host.act(|session| session.closed(window::random())),
        Heard::Text(text) => host.act(|session| warn_of(session.text(&text))),
        // Previews come many times a second and change nothing but the canvas.
        Heard::Binary(frame) => {
            let heard = host.session(|session| (session.binary(frame), take_commands(session)));
            let Some((picture, commands)) = heard else { return };
            match picture {
                Ok(Some(picture)) => host.previewed(picture),
                Ok(None) => {}
                Err(fault) => errors::warn(&fault),
            }
            run(host, commands);
        }
    }
}

fn run<H: Host>(host: &H, commands: Vec<Command>) {
    for command in commands {
        match command {
            Command::Connect => connect(host),
            Command::Send(frame) => {
                let text = sd_protocol::write(&frame);
                host.socket(|socket| {
                    if let Some(Err(fault)) = socket.as_ref().map(|socket| socket.send(&text)) {
                        errors::warn(&fault);
                    }
                });
            }
            Command::After { delay_ms, then } => {
                let host = host.clone();
                window::after(delay_ms, move || host.act(|session| session.due(then)));
            }
            Command::Call(call) => host.call(call),
            Command::Draw => host.draw(),
            Command::ForgetToken => host.forget_token(),
        }
    }
}

fn connect<H: Host>(host: &H) {
    let ear = host.clone();
    match Socket::open(&host.socket_url(), move |heard| hear(&ear, heard)) {
        Ok(opened) => host.socket(|socket| *socket = Some(opened)),
        Err(fault) => {
            errors::warn(&fault);
            let host = host.clone();
            window::after(0, move || hear(&host, Heard::Closed));
        }
    }
}

fn take_commands(session: &mut Session) -> Vec<Command> {
    std::iter::from_fn(|| session.next_command()).collect()
}
