//! Address, query, the size of the screen, and what has the focus.

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, HtmlSelectElement, UrlSearchParams};

use super::window::window;

/// Below this width, in CSS px, the settings start folded; `style.css` has the same number.
const NARROW_PX: f64 = 640.0;

/// The address of the worker's socket: where the page came from.
pub(crate) fn socket_url() -> String {
    let location = window().location();
    let secure = location.protocol().is_ok_and(|protocol| protocol == "https:");
    format!("{}://{}/v1/ws", if secure { "wss" } else { "ws" }, host())
}

/// Host and port that the page came from.
pub(crate) fn host() -> String {
    window().location().host().unwrap_or_default()
}

/// A value of the page's query.
pub(crate) fn query(name: &str) -> Option<String> {
    UrlSearchParams::new_with_str(&window().location().search().ok()?).ok()?.get(name)
}

/// Whether the screen is narrow, as a phone held upright.
pub(crate) fn is_narrow() -> bool {
    window().inner_width().ok().and_then(|width| width.as_f64()).is_some_and(|width| width < NARROW_PX)
}

/// Whether keys are letters of a text at the moment.
pub(crate) fn is_typing() -> bool {
    let active = window().document().and_then(|document| document.active_element());
    active.is_some_and(|active| active.matches("textarea, input:not([type=range], [type=checkbox])").unwrap_or(false))
}

/// Whether something lies over the page that Esc closes.
pub(crate) fn is_covered() -> bool {
    let over = window().document().map(|document| document.query_selector(":popover-open, dialog[open]"));
    matches!(over, Some(Ok(Some(_))))
}

/// Gives the focus to the element of this id.
pub(crate) fn focus(id: &str) {
    if let Some(element) = html(id) {
        // An element that cannot take it leaves the focus where it is.
        element.focus().ok();
    }
}

/// Clicks the element of this id.
pub(crate) fn click(id: &str) {
    if let Some(element) = html(id) {
        element.click();
    }
}

/// What is chosen in the menu of this id.
pub(crate) fn value(id: &str) -> Option<String> {
    Some(element(id)?.dyn_into::<HtmlSelectElement>().ok()?.value()).filter(|value| !value.is_empty())
}

pub(super) fn element(id: &str) -> Option<Element> {
    window().document()?.get_element_by_id(id)
}

fn html(id: &str) -> Option<HtmlElement> {
    element(id)?.dyn_into().ok()
}

/// The text in small letters, by the tables of the browser, so that the client need not bring its own.
pub(crate) fn lowercase(text: &str) -> String {
    js_sys::JsString::from(text).to_lower_case().into()
}
