//! One labelled input of the form.

use leptos::prelude::*;
use sd_protocol::NamedEntry;

use super::parts::{list, when};
use super::{App, strings};
use crate::decimal;
use crate::session::wording::weigh;
use crate::session::{Field, Shift};
use crate::web::text;

/// The id of the field's input.
pub(super) fn id(field: Field) -> String {
    match field {
        Field::LoraWeight(at) => format!("lora-{at}"),
        _ => field.name().replace(['_', '.'], "-"),
    }
}

/// Label above, input in the middle, what is wrong with it below.
#[component]
pub(super) fn Labelled(field: Field, #[prop(optional, into)] label: String, children: Children) -> impl IntoView {
    let label = if label.is_empty() { strings::label(field).to_owned() } else { label };
    view! {
        <div class="field">
            <label for=id(field) id=label_id(field)>{label}</label>
            {children()}
            <FaultOf field/>
        </div>
    }
    .into_any()
}

/// A number with a slider for its usual range, and beside it what can be done with both.
pub(super) fn dial(field: Field, label: String, (min, max, step): (f64, f64, f64), rest: Option<AnyView>) -> AnyView {
    view! {
        <Labelled field label>
            <div class="dial">
                <Slider field min max step/>
                <Number field/>
                {rest}
            </div>
        </Labelled>
    }
    .into_any()
}

/// A choice among names, with its label.
pub(super) fn menu(field: Field, entries: Signal<Vec<NamedEntry>>) -> AnyView {
    view! { <Labelled field><Choice field entries/></Labelled> }.into_any()
}

/// What is wrong with a field, if anything is.
#[component]
pub(super) fn FaultOf(field: Field) -> impl IntoView {
    let app = App::get();
    let sentence = Signal::derive(move || [strings::label(field), &app.fault_of(field).unwrap_or_default()].join(" "));
    when(
        move || app.fault_of(field).is_some(),
        move || view! { <p class="fault" id=fault_id(field)>{sentence}</p> }.into_any(),
    )
}

/// A text area that grows with its text, in which keys weigh words.
#[component]
pub(super) fn TextArea(field: Field, rows: u32, placeholder: &'static str) -> impl IntoView {
    let app = App::get();
    let weigh = move |event: leptos::ev::KeyboardEvent| {
        let shift = match event.key().as_str() {
            "ArrowUp" => Shift::More,
            "ArrowDown" => Shift::Less,
            _ => return,
        };
        if event.ctrl_key() || event.meta_key() {
            event.prevent_default();
            let id = id(field);
            let edit = text::selection(&id).and_then(|selection| weigh(&app.text(field), selection, shift));
            if let Some(edit) = edit {
                text::apply(&id, &edit);
            }
        }
    };
    let written = Signal::derive(move || app.text(field));
    let described = described_by(app, field);
    let described = Signal::derive(move || Some([tokens_id(field), described.get().unwrap_or_default()].join(" ")));
    // The shadow holds the same text in the same grid cell, so the cell is as high as the text.
    view! {
        <div class="grow">
            <textarea
                id=id(field)
                name=field.name()
                rows=rows
                placeholder=placeholder
                aria-invalid=invalid(app, field)
                aria-describedby=described
                prop:value=written
                on:input:target=move |event| app.set(field, event.target().value())
                on:focus=move |_| app.is_negative.set(field == Field::NegativePrompt)
                on:keydown=weigh
            ></textarea>
            <div class="shadow" aria-hidden="true">{written}"\n"</div>
        </div>
    }
}

/// A number as text: what is no number stays to be seen and corrected.
#[component]
pub(super) fn Number(field: Field, #[prop(optional)] placeholder: &'static str) -> impl IntoView {
    let app = App::get();
    view! {
        <input
            id=id(field)
            name=field.name()
            type="text"
            inputmode=if field.is_whole() { "numeric" } else { "decimal" }
            autocomplete="off"
            placeholder=placeholder
            aria-invalid=invalid(app, field)
            aria-describedby=described_by(app, field)
            prop:value=Signal::derive(move || app.text(field))
            on:input:target=move |event| app.set(field, event.target().value())
            on:change:target=move |event| app.leave(field, event.target().value())
        />
    }
    .into_any()
}

/// A slider for the usual range of a number; the number itself may go beyond.
#[component]
pub(super) fn Slider(field: Field, min: f64, max: f64, step: f64) -> impl IntoView {
    let app = App::get();
    // `clamp` would panic, and word it, where there is no range.
    let value = move || decimal::read(&app.text(field)).unwrap_or(min).max(min).min(max);
    view! {
        <input
            type="range"
            class="slider"
            min=decimal::write(min)
            max=decimal::write(max)
            step=decimal::write(step)
            aria-labelledby=label_id(field)
            prop:value=Signal::derive(move || decimal::write(value()))
            style=("--filled", Signal::derive(move || decimal::write((value() - min) / (max - min) * 100.0) + "%"))
            on:input:target=move |event| app.set(field, event.target().value())
        />
    }
    .into_any()
}

/// A choice among names of the catalogue.
#[component]
pub(super) fn Choice(field: Field, entries: Signal<Vec<NamedEntry>>) -> impl IntoView {
    let app = App::get();
    let option = move |entry: NamedEntry| {
        let name = entry.name.clone();
        let selected = move || app.draft.read().get(field) == name;
        view! { <option value=entry.name prop:selected=Signal::derive(selected)>{entry.label}</option> }.into_any()
    };
    view! {
        <select
            id=id(field)
            name=field.name()
            aria-invalid=invalid(app, field)
            aria-describedby=described_by(app, field)
            on:change:target=move |event| app.choose(field, event.target().value())
        >
            {list(move || entries.get().into_iter().map(option).collect())}
        </select>
    }
}

/// The id of the count of a prompt's tokens.
pub(super) fn tokens_id(field: Field) -> String {
    id(field) + "-tokens"
}

fn label_id(field: Field) -> String {
    id(field) + "-label"
}

fn fault_id(field: Field) -> String {
    id(field) + "-fault"
}

fn invalid(app: App, field: Field) -> Signal<Option<String>> {
    Signal::derive(move || app.fault_of(field).map(|_| true.to_string()))
}

fn described_by(app: App, field: Field) -> Signal<Option<String>> {
    Signal::derive(move || app.fault_of(field).map(|_| fault_id(field)))
}
