//! One labelled input of the form.

use leptos::prelude::*;
use sd_protocol::NamedEntry;

use super::{App, strings};
use crate::session::Field;

/// The id of the field's input.
pub(super) fn id(field: Field) -> String {
    field.name().replace('_', "-")
}

/// Label above, input in the middle, what is wrong with it below.
#[component]
pub(super) fn Labelled(field: Field, children: Children) -> impl IntoView {
    view! {
        <div class="field">
            <label for=id(field)>{strings::label(field)}</label>
            {children()}
            <FaultOf field/>
        </div>
    }
}

/// What is wrong with a field, if anything is.
#[component]
pub(super) fn FaultOf(field: Field) -> impl IntoView {
    let app = App::get();
    let sentence = move |fault| format!("{} {fault}", strings::label(field));
    let fault = Memo::new(move |_| app.fault_of(field).map(sentence));
    view! {
        <Show when=move || fault.with(Option::is_some)>
            <p class="fault" id=fault_id(field)>{move || fault.get()}</p>
        </Show>
    }
}

/// A text area that grows with its text.
#[component]
pub(super) fn TextArea(field: Field, rows: u32, placeholder: &'static str) -> impl IntoView {
    let app = App::get();
    // The shadow holds the same text in the same grid cell, so the cell is as high as the text.
    view! {
        <div class="grow">
            <textarea
                id=id(field)
                name=field.name()
                rows=rows
                placeholder=placeholder
                aria-invalid=move || invalid(app, field)
                aria-describedby=move || described_by(app, field)
                prop:value=move || app.text(field)
                on:input:target=move |event| app.set(field, event.target().value())
            ></textarea>
            <div class="shadow" aria-hidden="true">{move || app.text(field) + "\n"}</div>
        </div>
    }
}

/// A number as text: what is no number stays to be seen and corrected.
#[component]
pub(super) fn Number(
    field: Field,
    #[prop(optional)] placeholder: &'static str,
    #[prop(default = "numeric")] keyboard: &'static str,
) -> impl IntoView {
    let app = App::get();
    view! {
        <input
            id=id(field)
            name=field.name()
            type="text"
            inputmode=keyboard
            autocomplete="off"
            placeholder=placeholder
            aria-invalid=move || invalid(app, field)
            aria-describedby=move || described_by(app, field)
            prop:value=move || app.text(field)
            on:input:target=move |event| app.set(field, event.target().value())
        />
    }
}

/// A slider for the usual range of a number; the number itself may go beyond.
#[component]
pub(super) fn Slider(field: Field, min: f32, max: f32, step: f32) -> impl IntoView {
    let app = App::get();
    let value = move || app.text(field).parse::<f32>().unwrap_or(min).clamp(min, max);
    view! {
        <input
            type="range"
            class="slider"
            min=min
            max=max
            step=step
            aria-label=strings::label(field)
            prop:value=move || value().to_string()
            style=("--filled", move || format!("{}%", (value() - min) / (max - min) * 100.0))
            on:input:target=move |event| app.set(field, event.target().value())
        />
    }
}

/// A choice among names of the catalogue.
#[component]
pub(super) fn Choice(field: Field, entries: Signal<Vec<NamedEntry>>) -> impl IntoView {
    let app = App::get();
    let option = move |entry: NamedEntry| {
        let name = entry.name.clone();
        let selected = move || app.draft.with(|draft| draft.get(field) == name);
        view! { <option value=entry.name prop:selected=selected>{entry.label}</option> }
    };
    view! {
        <select
            id=id(field)
            name=field.name()
            aria-invalid=move || invalid(app, field)
            aria-describedby=move || described_by(app, field)
            on:change:target=move |event| app.choose(field, event.target().value())
        >
            <For each=move || entries.get() key=|entry| entry.name.clone() children=option/>
        </select>
    }
}

fn fault_id(field: Field) -> String {
    id(field) + "-fault"
}

fn invalid(app: App, field: Field) -> Option<&'static str> {
    app.fault_of(field).map(|_| "true")
}

fn described_by(app: App, field: Field) -> Option<String> {
    app.fault_of(field).map(|_| fault_id(field))
}
