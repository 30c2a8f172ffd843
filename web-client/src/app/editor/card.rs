//! The picture's place in the form: choosing one, and how much of it changes.

use leptos::prelude::*;
use sd_protocol::NamedEntry;

use super::super::field::{dial, menu};
use super::super::icons::{self, icon};
use super::super::parts::{button, when};
use super::super::settings::pair;
use super::super::{App, strings};
use crate::editor::Document;
use crate::session::Field;
use crate::web::files;

/// How much of a picture is drawn anew.
const STRENGTH: (f64, f64, f64) = (0.0, 1.0, 0.05);
/// px of feathering; more is rarely wanted.
const FEATHER: (f64, f64, f64) = (0.0, 64.0, 1.0);

/// A button to pick a picture; once there is one, what becomes of it.
#[component]
pub(in crate::app) fn ImageCard() -> impl IntoView {
    let app = App::get();
    let editor = app.editor;
    let hangs = files::arriving(move |file| app.put_picture(file));
    let is_masked = move || {
        editor.revision.track();
        editor.read_now(|document| document.is_masked() || document.frame().outpaint().is_some())
    };
    let pick = Signal::derive(move || if editor.has_picture() { strings::PICK_ANOTHER } else { strings::PICK });
    let remove = move || button("image-remove", "", strings::REMOVE, move |_| app.remove_picture());
    let hint = || view! { <p class="hint">{strings::PICK_HINT}</p> }.into_any();
    let strength = || dial(Field::Strength, String::new(), STRENGTH, None);
    let masked = || {
        let choices = pair(
            "pair",
            menu(Field::InpaintArea, fixed(&strings::AREAS)),
            menu(Field::InpaintFill, fixed(&strings::FILLS)),
        );
        vec![dial(Field::MaskBlur, String::new(), FEATHER, None), choices].into_any()
    };
    view! {
        <section class="card image" id="image" aria-labelledby="image-title" data-hangs=Signal::derive(move || hangs.get().to_string())>
            <h2 id="image-title">{strings::IMAGE}</h2>
            <div class="actions">
                <input
                    id="image-file"
                    class="unseen"
                    type="file"
                    accept="image/*"
                    on:change=move |event| files::chosen(&event).into_iter().for_each(|file| app.put_picture(file))
                />
                <label class="button" for="image-file">{icon(icons::IMAGE)}<span>{pick}</span></label>
                {when(move || editor.has_picture(), remove)}
            </div>
            {when(move || !editor.has_picture(), hint)}
            {offer(app)}
            {when(move || editor.has_picture(), strength)}
            {when(is_masked, masked)}
        </section>
    }
    .into_any()
}

/// What a file says of how it was made is there for the taking, and asks nothing.
fn offer(app: App) -> AnyView {
    let offer = move || {
        view! {
            <div class="offer">
                <p>{strings::OFFER}</p>
                <div class="actions">
                    {button("offer-settings", "", strings::OFFER_SETTINGS, move |_| app.take_offer(true))}
                    {button("offer-again", "", strings::OFFER_AGAIN, move |_| app.take_offer(false))}
                </div>
            </div>
        }
        .into_any()
    };
    view! { <div role="status">{when(move || app.editor.offer.read().is_some(), offer)}</div> }.into_any()
}

fn fixed(entries: &'static [(&'static str, &'static str)]) -> Signal<Vec<NamedEntry>> {
    let entry = |(name, label): &(&str, &str)| NamedEntry { name: (*name).to_owned(), label: (*label).to_owned() };
    Signal::stored(entries.iter().map(entry).collect())
}

/// How much of what is in the frame is masked, in words.
pub(super) fn cover(document: &Document) -> String {
    let crop = document.frame().crop(document.size());
    strings::masked(document.mask().percent(crop), document.frame().outpaint().is_some())
}
