//! Mouse, pen and finger on an element.

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, PointerEvent};

use super::errors;

/// Where a pointer was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Share of the element's width, from the left.
    pub(crate) x: f32,
    /// Share of its height, from the top.
    pub(crate) y: f32,
    /// In `[0, 1]`; only pens have it.
    pub(crate) pressure: Option<f32>,
}

/// Every place of the pointer since the last event, oldest first: browsers tell of several at once. They are shares of
/// the element that listens.
pub(crate) fn samples(event: &PointerEvent) -> Vec<Sample> {
    let Some(element) = listener(event) else { return Vec::new() };
    let edges = element.get_bounding_client_rect();
    let sample = |event: &PointerEvent| Sample {
        x: ((f64::from(event.client_x()) - edges.left()) / edges.width()) as f32,
        y: ((f64::from(event.client_y()) - edges.top()) / edges.height()) as f32,
        pressure: (event.pointer_type() == "pen").then(|| event.pressure()),
    };
    let passed = event.get_coalesced_events();
    if passed.length() == 0 {
        return vec![sample(event)];
    }
    passed.iter().filter_map(|event| Some(sample(event.dyn_ref()?))).collect()
}

/// Sends what the pointer does until its release to the element that listens, wherever it goes.
pub(crate) fn capture(event: &PointerEvent) {
    if let Some(Err(thrown)) = listener(event).map(|element| element.set_pointer_capture(event.pointer_id())) {
        // A pointer that a script made up cannot be captured.
        web_sys::console::debug_1(&errors::message(&thrown).into());
    }
}

/// The number in the attribute of that name of what was hit.
pub(crate) fn hit(event: &PointerEvent, attribute: &str) -> Option<usize> {
    event.target()?.dyn_into::<Element>().ok()?.get_attribute(attribute)?.parse().ok()
}

/// Sets custom properties of an element to whole numbers.
pub(crate) fn set_numbers(element: &HtmlElement, numbers: &[(&str, i32)]) {
    for (name, number) in numbers {
        if let Err(thrown) = element.style().set_property(name, &number.to_string()) {
            web_sys::console::debug_1(&thrown);
        }
    }
}

fn listener(event: &PointerEvent) -> Option<Element> {
    event.current_target()?.dyn_into().ok()
}
