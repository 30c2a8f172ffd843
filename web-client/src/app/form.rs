//! Prompts and their tokens, draw, cancel and undo, and what is wrong with the form.

use leptos::prelude::*;
use sd_protocol::TokenChunk;

use super::field::{Labelled, TextArea, id, tokens_id};
use super::icons::{self, icon};
use super::live::LiveMode;
use super::parts::{button, list, memo, when};
use super::{App, Fault, strings};
use crate::session::Field;
use crate::web::{page, tokens};

/// The part of the form that is always in sight.
#[component]
pub(super) fn Prompt() -> impl IntoView {
    let app = App::get();
    view! {
        <section class="card prompt">
            {prompt(Field::Prompt, 3, strings::PROMPT_PLACEHOLDER)}
            {prompt(Field::NegativePrompt, 1, strings::NEGATIVE_PLACEHOLDER)}
            <div class="actions">
                <button id="submit" type="submit" class="primary" title=strings::KEYS disabled=Signal::derive(move || !app.can_submit())>
                    {strings::DRAW}
                </button>
                <button id="cancel" type="button" on:click=move |_| app.cancel() disabled=move || !app.can_cancel()>
                    {icon(icons::CROSS)}
                    {strings::CANCEL}
                </button>
                <LiveMode/>
            </div>
            {swept(app)}
            <Faults/>
        </section>
    }
}

fn prompt(field: Field, rows: u32, placeholder: &'static str) -> AnyView {
    view! {
        <Labelled field>
            <TextArea field rows placeholder/>
            {token_count(App::get(), field)}
        </Labelled>
    }
    .into_any()
}

/// How much of the encoder's chunks a prompt fills, and on demand with what.
fn token_count(app: App, field: Field) -> AnyView {
    let tokens = tokens::counted(app.session, move || (app.text(Field::Model), app.text(field)));
    let count = Signal::derive(move || tokens.read().as_ref().map(strings::tokens).unwrap_or_default());
    let chunk = |chunk: TokenChunk| view! { <li>{chunk.text}" "<b>{chunk.tokens.to_string()}</b></li> }.into_any();
    let chunks = move || {
        let chunks = list(move || tokens.get().into_iter().flat_map(|tokens| tokens.chunks).map(chunk).collect());
        view! { <details><summary>{strings::CHUNKS}</summary><ol>{chunks}</ol></details> }.into_any()
    };
    let has_chunks = move || tokens.read().as_ref().is_some_and(|tokens| tokens.chunks.len() > 1);
    view! { <div class="tokens"><p id=tokens_id(field)>{count}</p>{when(has_chunks, chunks)}</div> }.into_any()
}

/// A way back from what changed several fields at once.
fn swept(app: App) -> AnyView {
    let undo = move |_| {
        app.undo();
        // The button may be gone now.
        page::focus("submit");
    };
    let way_back = move || vec![strings::SWEPT.into_any(), button("undo", "quiet", strings::UNDO, undo)].into_any();
    view! { <div class="swept" role="status">{when(move || app.history.read().is_sweep(), way_back)}</div> }.into_any()
}

/// Every fault in one place, each with a way to its field: the fields may be folded away or out of sight.
#[component]
fn Faults() -> impl IntoView {
    let app = App::get();
    let faults = memo(move || app.faults());
    let line = |fault: Fault| match fault.field {
        Some(field) => {
            let label = strings::label(field);
            view! { <li><a href=format!("#{}", id(field))>{label}</a>" "{fault.message}</li> }.into_any()
        }
        None => view! { <li>{fault.name}" "{fault.message}</li> }.into_any(),
    };
    view! {
        <div role="alert">
            <ul id="errors" class="errors">{list(move || faults.get().into_iter().map(line).collect())}</ul>
        </div>
    }
}
