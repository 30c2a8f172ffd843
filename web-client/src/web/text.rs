//! Text areas: what is selected in them, and edits that their own undo takes back.

use std::ops::Range;

use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Event, HtmlDocument, HtmlTextAreaElement};

use super::{errors, page};
use crate::session::Edit;

/// What is selected in the text area of this id, in UTF-16 code units.
pub(crate) fn selection(id: &str) -> Option<Range<u32>> {
    let area = area(id)?;
    Some(area.selection_start().ok()??..area.selection_end().ok()??)
}

/// Edits the text area of this id as if by hand, so that it tells of its input and its own undo knows the edit.
pub(crate) fn apply(id: &str, edit: &Edit) {
    if let Some(area) = area(id)
        && let Err(thrown) = try_apply(&area, edit)
    {
        errors::warn(&super::fetch::FetchError::from(thrown));
    }
}

fn try_apply(area: &HtmlTextAreaElement, edit: &Edit) -> Result<(), JsValue> {
    area.focus()?;
    area.set_selection_range(edit.range.start, edit.range.end)?;
    // The one way of writing into a text area that its undo takes part in.
    let document = area.owner_document().and_then(|document| document.dyn_into::<HtmlDocument>().ok());
    let is_typed = document.is_some_and(|document| {
        document.exec_command_with_show_ui_and_value("insertText", false, &edit.text) == Ok(true)
    });
    if !is_typed {
        area.set_range_text(&edit.text)?;
        area.dispatch_event(&Event::new("input")?)?;
    }
    area.set_selection_range(edit.selection.start, edit.selection.end)
}

fn area(id: &str) -> Option<HtmlTextAreaElement> {
    page::element(id)?.dyn_into().ok()
}
