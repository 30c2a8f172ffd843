//! The tools below the picture, and the same by numbers.

use std::sync::Arc;

use leptos::prelude::*;

use super::super::icons::{self, icon};
use super::super::parts::{Act, announced, button, effect, memo, when};
use super::super::{App, strings};
use super::surface::keys;
use super::{Tool, card};
use crate::editor::{Document, Edit, Frame, Ink, Rect};

/// What a button of the toolbar does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Brush,
    Eraser,
    Frame,
    Undo,
    Redo,
    Invert,
    All,
    Clear,
}

impl Action {
    const ALL: [(Self, &'static str, &'static str, &'static str); 8] = [
        (Self::Brush, "brush", strings::BRUSH, icons::BRUSH),
        (Self::Eraser, "eraser", strings::ERASER, icons::ERASER),
        (Self::Frame, "frame", strings::FRAME, icons::FRAME),
        (Self::Undo, "mask-undo", strings::MASK_UNDO, icons::UNDO),
        (Self::Redo, "mask-redo", strings::MASK_REDO, icons::REDO),
        (Self::Invert, "invert", strings::INVERT, icons::INVERT),
        (Self::All, "mask-all", strings::MASK_ALL, icons::FILL),
        (Self::Clear, "mask-clear", strings::MASK_CLEAR, icons::BIN),
    ];

    pub(super) fn run(self, app: App) {
        let whole = Rect::whole(app.editor.read_now(Document::size));
        match self {
            Self::Undo => app.edit(Document::undo),
            Self::Redo => app.edit(Document::redo),
            Self::Invert => app.apply(Edit::Invert),
            Self::All => app.apply(Edit::Fill(Ink::Paint, whole)),
            Self::Clear => app.apply(Edit::Fill(Ink::Erase, whole)),
            Self::Brush | Self::Eraser | Self::Frame => {
                self.tool().into_iter().for_each(|tool| app.editor.hand.update(|hand| hand.tool = tool))
            }
        }
    }

    fn tool(self) -> Option<Tool> {
        match self {
            Self::Brush => Some(Tool::Brush(Ink::Paint)),
            Self::Eraser => Some(Tool::Brush(Ink::Erase)),
            Self::Frame => Some(Tool::Frame),
            _ => None,
        }
    }

    fn is_possible(self, app: App) -> bool {
        match self {
            Self::Undo => app.editor.read_now(Document::can_undo),
            Self::Redo => app.editor.read_now(Document::can_redo),
            Self::Clear => app.editor.read_now(|document| !document.mask().is_empty(Rect::whole(document.size()))),
            _ => true,
        }
    }
}

/// Buttons, the size of the brush or the sides of the frame, and how much is masked.
#[component]
pub(in crate::app) fn Tools() -> impl IntoView {
    let app = App::get();
    let editor = app.editor;
    let button = move |(action, id, label, path): (Action, &'static str, &'static str, &'static str)| {
        let pressed = move || action.tool().map(|tool| (editor.hand.get().tool == tool).to_string());
        let is_possible = memo(move || {
            editor.revision.track();
            action.is_possible(app)
        });
        let run: Act = Box::new(move |_| action.run(app));
        view! {
            <button
                id=id
                type="button"
                title=label
                aria-label=label
                aria-pressed=Signal::derive(pressed)
                disabled=Signal::derive(move || !is_possible.get())
                on:click=run
            >
                {icon(path)}
            </button>
        }
        .into_any()
    };
    let cover = memo(move || {
        editor.revision.track();
        editor.read_now(card::cover)
    });
    let frames = move || editor.hand.get().tool == Tool::Frame;
    view! {
        <div class="tools" role="group" aria-label=strings::TOOLS on:keydown=move |event| keys(app, &event)>
            <div class="toolbar">{Vec::from(Action::ALL.map(button))}</div>
            {when(move || !frames(), move || brush_size(app))}
            {when(frames, move || sides(app))}
            {announced("mask-cover", "hint", move || cover.get())}
            {when(move || !frames(), move || rectangle(app))}
        </div>
    }
    .into_any()
}

fn brush_size(app: App) -> AnyView {
    let editor = app.editor;
    // Another picture has another longest brush.
    let most = move || {
        editor.track_picture();
        editor.read_now(|document| document.size().0.max(document.size().1) / 2).max(2)
    };
    let filled = move || (editor.hand.get().brush.min(most()) * 100 / most()).to_string() + "%";
    view! {
        <label class="brush-size">
            <span>{strings::BRUSH_SIZE}</span>
            <input
                id="brush-size"
                class="slider"
                type="range"
                min="1"
                max=Signal::derive(move || most().to_string())
                prop:value=Signal::derive(move || editor.hand.get().brush.to_string())
                style=("--filled", Signal::derive(filled))
                on:input:target=move |event| {
                    let brush = event.target().value().parse().unwrap_or(1);
                    editor.hand.update(|hand| hand.brush = brush);
                }
            />
        </label>
    }
    .into_any()
}

/// The sides of the frame: more than 0 grows the picture, less cuts off.
fn sides(app: App) -> AnyView {
    let sides = Signal::derive(move || {
        let frame = app.editor.read(Document::frame);
        [frame.left, frame.top, frame.right, frame.bottom]
    });
    let set = move |at: usize, px: i32| {
        let mut sides = untrack(move || sides.get());
        sides[at] = px;
        let [left, top, right, bottom] = sides;
        app.apply(Edit::Frame(Frame { left, top, right, bottom }));
    };
    let numbers = numbers("side", &strings::SIDE_NAMES, sides, Arc::new(set));
    view! { <fieldset><legend>{strings::SIDES}</legend>{numbers}</fieldset> }.into_any()
}

/// A rectangle of the mask, for those who do not point.
fn rectangle(app: App) -> AnyView {
    let sides = RwSignal::new([0; 4]);
    effect(move || {
        app.editor.track_picture();
        let (width, height) = app.editor.read_now(Document::size);
        sides.set([width / 4, height / 4, width / 2, height / 2].map(|px| px as i32));
    });
    let fill = move |ink: Ink| {
        let [x, y, width, height] = sides.get_untracked();
        let part = Rect { x, y, width: width.max(0) as u32, height: height.max(0) as u32 };
        app.apply(Edit::Fill(ink, part));
    };
    let set = move |at: usize, px: i32| sides.update(|sides| sides[at] = px);
    view! {
        <details class="by-numbers">
            <summary>{strings::RECTANGLE}</summary>
            {numbers("rectangle", &strings::RECTANGLE_NAMES, sides.into(), Arc::new(set))}
            <div class="actions">
                {button("rectangle-mask", "", strings::RECTANGLE_MASK, move |_| fill(Ink::Paint))}
                {button("rectangle-keep", "", strings::RECTANGLE_KEEP, move |_| fill(Ink::Erase))}
            </div>
        </details>
    }
    .into_any()
}

/// Four whole numbers side by side.
fn numbers(
    id: &'static str,
    names: &'static [&'static str; 4],
    values: Signal<[i32; 4]>,
    set: Arc<dyn Fn(usize, i32)>,
) -> AnyView {
    let value = move |at: usize| values.get()[at].to_string();
    let field = move |(at, name): (usize, &&'static str)| {
        let set = set.clone();
        view! {
            <label>
                <span>{*name}</span>
                <input
                    id=[id, &at.to_string()].join("-")
                    type="text"
                    autocomplete="off"
                    prop:value=Signal::derive(move || value(at))
                    on:change:target=move |event| {
                        if let Ok(px) = event.target().value().trim().parse() {
                            set(at, px);
                        }
                        // What it became, or what it was if that is no number.
                        event.target().set_value(&untrack(move || value(at)));
                    }
                    on:keydown=|event| event.stop_propagation()
                />
            </label>
        }
        .into_any()
    };
    view! { <div class="numbers">{names.iter().enumerate().map(field).collect::<Vec<_>>()}</div> }.into_any()
}
