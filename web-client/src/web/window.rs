//! The window: its clock, its random numbers, and waiting.

use futures_channel::oneshot;
use sd_protocol::JobId;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{HtmlCanvasElement, Window};

/// The window of this document.
pub(super) fn window() -> Window {
    web_sys::window().expect("the page has a window")
}

/// A canvas that is nowhere in the page.
pub(super) fn new_canvas() -> HtmlCanvasElement {
    let document = window().document().expect("the window has a document");
    document.create_element("canvas").expect("it is a name of an element").unchecked_into()
}

/// Milliseconds since the page began, in fractions.
pub(crate) fn now_ms() -> f64 {
    window().performance().map_or(0.0, |clock| clock.now())
}

/// A random number in `[0, 1)`, good enough to spread reconnects.
pub(crate) fn random() -> f64 {
    js_sys::Math::random()
}

/// A new id for a job: 128 random bits.
pub(crate) fn new_job_id() -> JobId {
    let mut bytes = [0; 16];
    let filled = window().crypto().is_ok_and(|crypto| crypto.get_random_values_with_u8_array(&mut bytes).is_ok());
    if !filled {
        bytes.fill_with(|| (random() * 256.0) as u8);
    }
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    JobId::parse(format!("web-{digits}")).expect("hexadecimal digits are within the alphabet of ids")
}

/// Calls `then` after so many milliseconds.
pub(crate) fn after(delay_ms: u32, then: impl FnOnce() + 'static) {
    let then = Closure::once_into_js(then);
    let delay_ms = i32::try_from(delay_ms).unwrap_or(i32::MAX);
    window()
        .set_timeout_with_callback_and_timeout_and_arguments_0(then.unchecked_ref(), delay_ms)
        .expect("a window that has scripts has timers");
}

/// Resolves when the browser is about to paint; not while the page is hidden.
pub(crate) async fn next_frame() {
    let (tell, painting) = oneshot::channel();
    let paints = Closure::once_into_js(move || {
        // Nobody may be waiting any more by then.
        tell.send(()).ok();
    });
    window().request_animation_frame(paints.unchecked_ref()).expect("a window that has scripts is painted");
    painting.await.unwrap_or_default();
}
