//! A [`Session`] for JavaScript: `Core`, which the package's `Client` wraps.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Uint8Array;
use sd_protocol::{ErrorBody, ErrorDetail, FrameHeader, JobId, JobRequest, Secret};
use wasm_bindgen::prelude::*;

use super::host::{self, Host};
use super::socket::Socket;
use super::{errors, window};
use crate::session::told::{News, Told};
use crate::session::{Call, Selection, Session, Wake};

#[wasm_bindgen]
extern "C" {
    /// Whoever listens to a [`Core`]. Nothing that it is called with is throws.
    pub type Listener;

    /// The worker greeted: `{server, limits, catalogue}`.
    #[wasm_bindgen(method)]
    fn worker(this: &Listener, json: &str);

    /// The connection is `connecting`, `connected`, `waiting` or `locked`.
    #[wasm_bindgen(method)]
    fn link(this: &Listener, name: &str);

    /// A job is new or has changed.
    #[wasm_bindgen(method)]
    fn job(this: &Listener, json: &str);

    /// A job will not be heard of again; `json` is the error, if there is one.
    #[wasm_bindgen(method)]
    fn gone(this: &Listener, id: &str, json: Option<String>);

    /// A preview came: a whole binary frame, and as JSON the basis of its job.
    #[wasm_bindgen(method)]
    fn preview(this: &Listener, id: &str, index: u16, step: u16, steps: u16, frame: Uint8Array, basis: &str);
}

/// A session of its own jobs that connects at once.
#[wasm_bindgen]
pub struct Core(Embedded);

#[wasm_bindgen]
impl Core {
    /// Connects to the worker at `origin`, such as `https://draw.example.org`.
    #[wasm_bindgen(constructor)]
    pub fn new(origin: String, token: Option<String>, listener: Listener) -> Self {
        errors::report_panics();
        // `ws` for `http`, `wss` for `https`.
        let socket_url = [&origin.replacen("http", "ws", 1), "/v1/ws"].concat();
        let embedded = Embedded(Rc::new(Inner {
            socket_url,
            listener,
            told: RefCell::new(Told::new(origin)),
            session: RefCell::new(Some(Session::of_own_jobs(host::CLIENT, token.map(Secret::new)))),
            socket: RefCell::new(None),
        }));
        embedded.act(|_| ());
        Self(embedded)
    }

    /// Asks for a picture; returns the name of the job.
    ///
    /// # Errors
    /// An `ErrorBody` as JSON, when the request cannot be read or names a job that has not ended.
    pub fn submit(&self, request: &str) -> Result<String, JsValue> {
        let request = read(request).map_err(thrown)?;
        let id = request.id.clone().unwrap_or_else(window::new_job_id);
        if self.0.session(|session| session.job(&id).is_some_and(|job| !job.ended())) == Some(true) {
            return Err(thrown(invalid("id", "this client follows a job of this name, which has not ended")));
        }
        self.0.act(|session| session.submit(request, id.clone()));
        Ok(id.as_str().to_owned())
    }

    /// Follows a job that was submitted elsewhere or before.
    ///
    /// # Errors
    /// An `ErrorBody` as JSON, when `id` is no name of a job.
    pub fn attach(&self, id: &str) -> Result<(), JsValue> {
        let id = JobId::parse(id).map_err(|fault| thrown(invalid("id", &fault.to_string())))?;
        self.0.act(|session| session.attach(id));
        Ok(())
    }

    /// Asks the worker to end a job.
    pub fn cancel(&self, id: &str) {
        if let Ok(id) = JobId::parse(id) {
            self.0.act(|session| session.cancel(&id));
        }
    }

    /// Shows the worker a token, and connects with it.
    pub fn unlock(&self, token: String) {
        self.0.act(|session| session.unlock(Secret::new(token)));
    }

    /// The network is back: tries at once what waits for its time.
    pub fn retry(&self) {
        self.0.act(|session| session.due(Wake::Retry));
    }

    /// Ends the connection; nothing is heard any more. Jobs go on.
    pub fn close(&self) {
        self.0.0.session.take();
        self.0.0.socket.take();
    }
}

/// The place of the session; the closures of its socket hold it too, until it is closed.
#[derive(Clone)]
struct Embedded(Rc<Inner>);

struct Inner {
    socket_url: String,
    listener: Listener,
    told: RefCell<Told>,
    session: RefCell<Option<Session>>,
    socket: RefCell<Option<Socket>>,
}

impl Host for Embedded {
    fn socket_url(&self) -> String {
        self.0.socket_url.clone()
    }

    fn session<T>(&self, then: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.0.session.borrow_mut().as_mut().map(then)
    }

    fn socket(&self, then: impl FnOnce(&mut Option<Socket>)) {
        if self.0.session.borrow().is_some() {
            then(&mut self.0.socket.borrow_mut());
        }
    }

    fn changed(&self) {
        // Listeners may call back, so nothing is borrowed while they are told.
        let news = self.session(|session| self.0.told.borrow_mut().news(session)).unwrap_or_default();
        for item in news {
            match item {
                News::Worker(text) => self.0.listener.worker(&text),
                News::Link(name) => self.0.listener.link(name),
                News::Job(text) => self.0.listener.job(&text),
                News::Gone { id, error } => self.0.listener.gone(id.as_str(), error.as_ref().map(sd_protocol::write)),
            }
        }
    }

    fn previewed(&self, picture: Selection) {
        let preview = self.session(|session| {
            let frame = session.preview(&picture)?.frame.clone();
            Some((frame, sd_protocol::write(session.job(&picture.job)?.basis.as_ref()?)))
        });
        let Some(Some((frame, basis))) = preview else { return };
        let Ok(FrameHeader { step, steps, .. }) = FrameHeader::decode(&frame) else { return };
        let frame = Uint8Array::from(&frame[..]);
        self.0.listener.preview(picture.job.as_str(), picture.index, step, steps, frame, &basis);
    }

    /// The listener decides what is on which canvas.
    fn draw(&self) {}

    /// A session of its own jobs has no calls.
    fn call(&self, _: Call) {}

    /// None is kept.
    fn forget_token(&self) {}
}

fn invalid(field: &str, message: &str) -> ErrorBody {
    ErrorBody::invalid(vec![ErrorDetail { field: field.to_owned(), message: message.to_owned() }])
}

/// A request in which nothing is misspelt.
fn read(request: &str) -> Result<JobRequest, ErrorBody> {
    let tree = serde_json::from_str(request).unwrap_or_default();
    match JobRequest::from_json(tree)? {
        (request, faults) if faults.is_empty() => Ok(request),
        (_, faults) => Err(ErrorBody::invalid(faults)),
    }
}

fn thrown(error: ErrorBody) -> JsValue {
    sd_protocol::write(&error).into()
}
