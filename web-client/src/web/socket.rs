//! One WebSocket as callbacks.

use js_sys::{ArrayBuffer, Uint8Array};
use sd_protocol::SUBPROTOCOL;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{BinaryType, CloseEvent, Event, MessageEvent, WebSocket};

use super::errors;

/// What a socket tells.
pub(crate) enum Heard {
    /// It is open.
    Opened,
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// It is closed, or could not be opened; nothing follows.
    Closed,
}

/// A socket could not be made or written to.
#[derive(Debug, thiserror::Error)]
#[error("the browser refused {what}: {message}")]
pub(crate) struct SocketError {
    what: &'static str,
    message: String,
}

/// An open or opening socket. Dropping it closes it, and then it tells nothing more.
pub(crate) struct Socket {
    socket: WebSocket,
    _on_open: Closure<dyn FnMut(Event)>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

impl Socket {
    /// Opens a socket to `url` in the worker's subprotocol.
    pub(crate) fn open(url: &str, heard: impl Fn(Heard) + Clone + 'static) -> Result<Self, SocketError> {
        let socket = WebSocket::new_with_str(url, SUBPROTOCOL).map_err(|thrown| refused("a socket", &thrown))?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let tell = heard.clone();
        let on_open = Closure::<dyn FnMut(Event)>::new(move |_| tell(Heard::Opened));
        let tell = heard.clone();
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
            let data = message.data();
            if let Some(text) = data.as_string() {
                tell(Heard::Text(text));
            } else if let Some(buffer) = data.dyn_ref::<ArrayBuffer>() {
                tell(Heard::Binary(Uint8Array::new(buffer).to_vec()));
            }
        });
        // A failed attempt fires `error` and then `close`; the second says all there is to know.
        let on_close = Closure::<dyn FnMut(CloseEvent)>::new(move |_| heard(Heard::Closed));
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Ok(Self { socket, _on_open: on_open, _on_message: on_message, _on_close: on_close })
    }

    /// Sends a text frame.
    pub(crate) fn send(&self, text: &str) -> Result<(), SocketError> {
        self.socket.send_with_str(text).map_err(|thrown| refused("a frame", &thrown))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        if let Err(thrown) = self.socket.close() {
            errors::warn(&refused("to close a socket", &thrown));
        }
    }
}

fn refused(what: &'static str, thrown: &wasm_bindgen::JsValue) -> SocketError {
    SocketError { what, message: errors::message(thrown) }
}
