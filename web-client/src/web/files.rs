//! Files that people pick, drop or paste.

use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Blob, DataTransfer, Event, HtmlInputElement};

/// A file, or what stands for one.
pub(crate) type File = Blob;

/// The file that was chosen with an `<input type="file">`, which can then choose the same again.
pub(crate) fn chosen(event: &Event) -> Option<File> {
    let input = event.target()?.dyn_into::<HtmlInputElement>().ok()?;
    let file = input.files()?.get(0)?;
    input.set_value("");
    Some(file.into())
}

/// Calls `then` with every picture that is dropped on the page or pasted into it. The signal says whether one hangs over
/// the page.
pub(crate) fn arriving(then: impl Fn(File) + Clone + 'static) -> ReadSignal<bool> {
    let (hangs, set_hangs) = signal(false);
    let paste = window_event_listener(ev::paste, {
        let then = then.clone();
        move |event| {
            // Office programs copy words as a picture too: those are meant.
            let data = event.clipboard_data().filter(|data| !data.types().includes(&"text/plain".into(), 0));
            if let Some(file) = data.and_then(|data| picture(&data)) {
                event.prevent_default();
                then(file);
            }
        }
    });
    let over = window_event_listener(ev::dragover, move |event| {
        if event.data_transfer().is_some_and(|data| has_files(&data)) {
            event.prevent_default();
            set_hangs.set(true);
        }
    });
    // Leaving an element for its child is no leaving of the page.
    let leave = window_event_listener(ev::dragleave, move |event| {
        if event.related_target().is_none() {
            set_hangs.set(false);
        }
    });
    let drop = window_event_listener(ev::drop, move |event| {
        set_hangs.set(false);
        let Some(data) = event.data_transfer().filter(has_files) else { return };
        // Whatever it is: the page must not be left for it.
        event.prevent_default();
        picture(&data).into_iter().for_each(&then);
    });
    on_cleanup(move || {
        paste.remove();
        over.remove();
        leave.remove();
        drop.remove();
    });
    hangs
}

fn has_files(data: &DataTransfer) -> bool {
    data.types().includes(&"Files".into(), 0)
}

/// The first picture among the files, or else the first file, of which the page then says that it is none.
fn picture(data: &DataTransfer) -> Option<File> {
    let files = data.files()?;
    let all = || (0..files.length()).filter_map(|at| files.get(at));
    all().find(|file| file.type_().starts_with("image/")).or_else(|| all().next()).map(File::from)
}
