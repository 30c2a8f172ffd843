//! Panics and faults, told in the console.

use std::error::Error;
use std::fmt::Write as _;

use wasm_bindgen::{JsCast, JsValue};

/// Sends panics to the console; without this they are a bare `unreachable`.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
}

/// Tells the console of something that was survived, with everything that led to it.
pub(crate) fn warn(fault: &dyn Error) {
    web_sys::console::warn_1(&chain(fault).into());
}

/// What a thrown JavaScript value says.
pub(crate) fn message(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{thrown:?}"),
    }
}

/// What a fault says, with everything that led to it.
pub(super) fn chain(fault: &dyn Error) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        write!(text, ": {cause}").expect("writing to a String cannot fail");
        source = cause.source();
    }
    text
}
