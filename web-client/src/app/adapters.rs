//! What changes a model: LoRAs, embeddings, and a refiner that ends what it begins. Each is there where the worker has
//! some.

use leptos::prelude::*;
use sd_protocol::{Catalogue, NamedEntry};

use super::field::{dial, id, menu};
use super::icons;
use super::parts::{button, chips, list, memo, tool, when};
use super::{App, strings};
use crate::session::{Field, Lora, wording};
use crate::web::{page, text};

/// The usual weights of a LoRA; the number may go beyond.
const WEIGHTS: (f64, f64, f64) = (-2.0, 2.0, 0.05);
/// Fractions of the walk.
const FRACTIONS: (f64, f64, f64) = (0.05, 0.95, 0.05);

const ADD: &str = "add-lora";

/// All of it.
pub(super) fn adapters(app: App) -> AnyView {
    let (loras, embeddings) = (names(app, |known| &known.loras), names(app, |known| &known.embeddings));
    let embedding = move || {
        view! {
            <details class="field fold" id="embeddings">
                <summary>{strings::EMBEDDINGS}</summary>
                {chips(embeddings, insert)}
            </details>
        }
        .into_any()
    };
    let entries = Signal::derive(move || {
        let none = NamedEntry { name: String::new(), label: strings::NO_REFINER.to_owned() };
        [none].into_iter().chain(refiners(app)).collect()
    });
    let switch_at = move || dial(Field::SwitchAt, String::new(), FRACTIONS, None);
    let refined = move || !app.text(Field::Refiner).is_empty();
    vec![
        when(move || !loras.read().is_empty(), move || lora_list(app, loras)),
        when(move || !embeddings.read().is_empty(), embedding),
        when(move || !refiners(app).is_empty(), move || menu(Field::Refiner, entries)),
        when(refined, switch_at),
    ]
    .into_any()
}

/// The LoRAs that were added, and a menu of the others.
fn lora_list(app: App, known: Memo<Vec<String>>) -> AnyView {
    let added = memo(move || {
        let name = |lora: &Lora| lora.name.clone();
        app.draft.read().loras().iter().map(name).collect::<Vec<_>>()
    });
    let row = move |(at, name): (u8, String)| {
        let label = name.clone();
        let remove = move |_| {
            app.change(None, |draft| draft.remove_lora(&name));
            page::focus(ADD);
        };
        let button = tool(format!("remove-lora-{at}"), icons::CROSS, strings::remove(&label), None, remove);
        dial(Field::LoraWeight(at), label, WEIGHTS, Some(button))
    };
    let rows = list(move || (0..).zip(added.get()).map(row).collect());
    let others = list(move || {
        let others = known.get().into_iter().filter(|name| !added.read().contains(name));
        others.map(|name| view! { <option value=name>{name.clone()}</option> }.into_any()).collect()
    });
    let add = move |_| {
        let name = page::value(ADD);
        app.change(None, |draft| name.into_iter().for_each(|name| draft.add_lora(name)));
    };
    view! {
        <fieldset class="field loras">
            <legend>{strings::LORAS}</legend>
            {rows}
            <div class="with-buttons">
                <select id=ADD aria-label=strings::LORA_TO_ADD>{others}</select>
                {button("add-lora-button", "", strings::ADD, add)}
            </div>
        </fieldset>
    }
    .into_any()
}

/// Puts the name of an embedding at the cursor of the prompt that was written in last.
fn insert(app: App, name: String) {
    let field = if app.is_negative.get_untracked() { Field::NegativePrompt } else { Field::Prompt };
    let id = id(field);
    if let Some(selection) = text::selection(&id) {
        text::apply(&id, &wording::insert(&app.text(field), selection, &name));
    }
}

fn names(app: App, list: fn(&Catalogue) -> &Vec<String>) -> Memo<Vec<String>> {
    memo(move || app.catalogue.read().as_ref().map(list).cloned().unwrap_or_default())
}

fn refiners(app: App) -> Vec<NamedEntry> {
    let (catalogue, draft) = (app.catalogue.read(), app.draft.read());
    let refiners = catalogue.iter().flat_map(|catalogue| draft.refiners(catalogue));
    refiners.map(|model| super::named(&model.name)).collect()
}
