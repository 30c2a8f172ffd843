//! The picture on the stage, under the brush and the handles.

use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::html::{Canvas, Div};
use leptos::prelude::*;

use super::super::parts::{effect, memo};
use super::super::{App, strings};
use super::tools::Action;
use super::{Hand, Tool};
use crate::editor::{Document, Edit, Frame, Handle, Ink, Point, Rect};
use crate::session::Field;
use crate::web::{errors, picture, pointer};

/// What the pointer that is down does.
#[derive(Clone, Copy, PartialEq)]
enum Grip {
    /// Nothing is down.
    None,
    /// A brush draws.
    Brush,
    /// A handle of this frame is pulled, from this point.
    Handle(Handle, Frame, (f32, f32)),
}

/// Picture, mask, frame; all placed by whole numbers in px of the picture, which the style sheet makes shares of.
#[component]
pub(in crate::app) fn Surface() -> impl IntoView {
    let app = App::get();
    let editor = app.editor;
    let (surface, image, mask) = (NodeRef::<Div>::new(), NodeRef::<Canvas>::new(), NodeRef::<Canvas>::new());
    let cursor = NodeRef::<Div>::new();
    let grip = StoredValue::new(Grip::None);

    effect(move || {
        editor.serial.track();
        let (Some(image), Some(picture)) = (image.get(), editor.picture.get_value()) else { return };
        picture.show(&image).unwrap_or_else(|fault| errors::warn(&fault));
        editor.document.update_untracked(|document| document.as_mut().into_iter().for_each(Document::show_again));
    });
    effect(move || {
        editor.document.track();
        let Some(mask) = mask.get() else { return };
        editor.document.update_untracked(|document| {
            let Some(document) = document else { return };
            let changed = document.take_changed();
            picture::show_mask(document.mask(), document.size(), changed, &mask)
                .unwrap_or_else(|fault| errors::warn(&fault));
        });
    });
    let place = memo(move || (editor.view(), editor.read(|document| (document.size(), document.frame()))));
    let feather = move || app.text(Field::MaskBlur).parse().unwrap_or(0);
    effect(move || {
        let (view, (size, frame)) = place.get();
        let frame = frame.rect(size);
        let Some(surface) = surface.get() else { return };
        let numbers = [
            ("--view-x", view.x),
            ("--view-y", view.y),
            ("--view-width", view.width as i32),
            ("--view-height", view.height as i32),
            ("--width", size.0 as i32),
            ("--height", size.1 as i32),
            ("--frame-x", frame.x),
            ("--frame-y", frame.y),
            ("--frame-width", frame.width as i32),
            ("--frame-height", frame.height as i32),
            ("--brush", editor.hand.get().brush as i32),
            ("--feather", feather()),
        ];
        pointer::set_numbers(&surface, &numbers);
    });

    let on_down = move |event: PointerEvent| {
        if event.button() == 0 && event.is_primary() {
            grip.set_value(press(app, &event));
            pointer::capture(&event);
        }
    };
    // A second finger draws nothing.
    let on_move = move |event: PointerEvent| {
        if !event.is_primary() {
            return;
        }
        let samples = pointer::samples(&event);
        if let (Some(cursor), Some(last)) = (cursor.get_untracked(), samples.last()) {
            let (x, y) = at(editor.view(), *last);
            pointer::set_numbers(&cursor, &[("--x", x as i32), ("--y", y as i32)]);
        }
        drag(app, grip.get_value(), &samples);
    };
    let on_up = move |event: PointerEvent| {
        if !event.is_primary() {
            return;
        }
        let frame = editor.read_now(Document::frame);
        match grip.get_value() {
            Grip::None => {}
            Grip::Brush => app.edit(Document::release),
            Grip::Handle(..) => {
                app.apply(Edit::Frame(frame));
                app.fit_size();
                editor.hand.update(|hand| hand.held = None);
            }
        }
        grip.set_value(Grip::None);
    };
    let tool = move || match editor.hand.get().tool {
        Tool::Brush(Ink::Paint) => "brush",
        Tool::Brush(Ink::Erase) => "eraser",
        Tool::Frame => "frame",
    };
    let handle = |(at, handle): (usize, Handle)| {
        view! { <span class="handle" data-handle=at data-x=handle.x data-y=handle.y></span> }
    };
    view! {
        <div
            id="surface"
            class="surface"
            tabindex="0"
            role="group"
            aria-label=strings::SURFACE
            aria-describedby="mask-cover"
            data-tool=tool
            node_ref=surface
            on:keydown=move |event| keys(app, &event)
            on:pointerdown=on_down
            on:pointermove=on_move
            on:pointerup=on_up
            on:pointercancel=on_up
        >
            <canvas id="input" class="layer" role="img" aria-label=strings::INPUT node_ref=image></canvas>
            <canvas id="mask" class="layer" aria-hidden="true" node_ref=mask></canvas>
            <div class="crop" aria-hidden="true">{Handle::ALL.into_iter().enumerate().map(handle).collect_view()}</div>
            <div class="cursor" aria-hidden="true" node_ref=cursor></div>
        </div>
    }
    .into_any()
}

/// The keys of the editor, which works while something of it has the focus.
pub(super) fn keys(app: App, event: &KeyboardEvent) {
    let control = event.ctrl_key() || event.meta_key();
    let step = |by: i32| {
        app.editor
            .hand
            .update(|Hand { brush, .. }| *brush = brush.saturating_add_signed(by * (*brush as i32 / 8 + 1)).max(1))
    };
    match (control, event.shift_key(), event.key().as_str()) {
        (true, false, "z") => Action::Undo.run(app),
        (true, true, "Z" | "z") | (true, false, "y") => Action::Redo.run(app),
        (false, _, "b" | "B") => Action::Brush.run(app),
        (false, _, "e" | "E") => Action::Eraser.run(app),
        (false, _, "c" | "C") => Action::Frame.run(app),
        (false, _, "x" | "X") => Action::Invert.run(app),
        (false, _, "[") => step(-1),
        (false, _, "]") => step(1),
        _ => return,
    }
    event.prevent_default();
    event.stop_propagation();
}

fn press(app: App, event: &PointerEvent) -> Grip {
    let editor = app.editor;
    let Some(sample) = pointer::samples(event).first().copied() else { return Grip::None };
    let view = editor.view();
    match editor.hand.get_untracked().tool {
        Tool::Brush(ink) => {
            editor.update(|document| document.press(ink, point(app, view, sample)));
            Grip::Brush
        }
        Tool::Frame => {
            let Some(handle) = pointer::hit(event, "data-handle").and_then(|at| Handle::ALL.get(at)) else {
                return Grip::None;
            };
            editor.hand.update(|hand| hand.held = Some(view));
            Grip::Handle(*handle, editor.read_now(Document::frame), at(view, sample))
        }
    }
}

fn drag(app: App, grip: Grip, samples: &[pointer::Sample]) {
    let view = app.editor.view();
    match grip {
        Grip::None => {}
        Grip::Brush => app.editor.update(|document| {
            samples.iter().for_each(|sample| document.draw(point(app, view, *sample)));
        }),
        Grip::Handle(handle, frame, (from_x, from_y)) => {
            let Some((x, y)) = samples.last().map(|last| at(view, *last)) else { return };
            app.editor
                .update(|document| document.pull(frame.pulled(handle, (x - from_x, y - from_y), document.size())));
        }
    }
}

fn point(app: App, view: Rect, sample: pointer::Sample) -> Point {
    let (x, y) = at(view, sample);
    Point::new(x, y, app.editor.hand.get_untracked().brush as f32, sample.pressure)
}

/// In px of the picture.
fn at(view: Rect, sample: pointer::Sample) -> (f32, f32) {
    (view.x as f32 + sample.x * view.width as f32, view.y as f32 + sample.y * view.height as f32)
}
