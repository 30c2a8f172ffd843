//! Prompt, draw and cancel, and what is wrong with the form.

use leptos::prelude::*;

use super::field::{Labelled, TextArea, id};
use super::icons::{self, icon};
use super::{App, strings};
use crate::session::Field;

/// The part of the form that is always in sight.
#[component]
pub(super) fn Prompt() -> impl IntoView {
    let app = App::get();
    view! {
        <section class="card prompt">
            <Labelled field=Field::Prompt>
                <TextArea field=Field::Prompt rows=3 placeholder=strings::PROMPT_PLACEHOLDER/>
            </Labelled>
            <Labelled field=Field::NegativePrompt>
                <TextArea field=Field::NegativePrompt rows=1 placeholder=strings::NEGATIVE_PLACEHOLDER/>
            </Labelled>
            <div class="actions">
                <button id="submit" type="submit" class="primary" title=strings::KEYS disabled=move || !app.can_submit()>
                    {strings::DRAW}
                </button>
                <button id="cancel" type="button" on:click=move |_| app.cancel() disabled=move || !app.can_cancel()>
                    {icon(icons::CROSS)}
                    {strings::CANCEL}
                </button>
            </div>
            <Faults/>
        </section>
    }
}

/// Every fault in one place, each with a way to its field: the fields may be folded away or out of sight.
#[component]
fn Faults() -> impl IntoView {
    let app = App::get();
    let faults = Memo::new(move |_| app.faults());
    let line = |fault: sd_protocol::ErrorDetail| match Field::parse(&fault.field) {
        Some(field) => {
            let label = strings::label(field);
            view! { <li><a href=format!("#{}", id(field))>{label}</a>" "{fault.message}</li> }.into_any()
        }
        None => view! { <li>{fault.field}" "{fault.message}</li> }.into_any(),
    };
    view! {
        <ul id="errors" class="errors" role="alert">
            {move || faults.get().into_iter().map(line).collect_view()}
        </ul>
    }
}
