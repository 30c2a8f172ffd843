//! The pictures in the worker's store: of this page, of other tabs and of other devices.

use leptos::prelude::*;

use super::icons::{self, icon};
use super::{App, parts, strings};
use crate::session::{Query, Selection, Session};

/// What a tile shows.
#[derive(Clone, Default, PartialEq)]
struct Tile {
    url: Option<String>,
    label: String,
    is_favorite: bool,
}

/// Pictures to look through; there are none before the first.
#[component]
pub(super) fn Gallery() -> impl IntoView {
    let app = App::get();
    let found = Memo::new(move |_| app.session.with(found));
    let is_all = Memo::new(move |_| app.session.with(|session| session.gallery().query().is_all()));
    let is_known = Memo::new(move |_| app.session.with(|session| session.gallery().is_known()));
    let has_more = Memo::new(move |_| app.session.with(|session| session.gallery().has_more()));
    let complaint = move || app.session.with(|session| session.complaint().map(|error| error.message.clone()));
    // Between two queries it stays as it is: what is hidden loses the focus, and with it the next letter.
    let is_there = Memo::new(move |before: Option<&bool>| match is_known.get() {
        true => !is_all.get() || found.with(|found| !found.is_empty()),
        false => before.copied().unwrap_or_default(),
    });
    let nothing = move || (is_known.get() && found.with(Vec::is_empty)).then_some(strings::NOTHING_FOUND);
    view! {
        <section class="gallery" aria-labelledby="gallery-title" hidden=move || !is_there.get()>
            <div class="bar">
                <h2 id="gallery-title">{strings::GALLERY}</h2>
                <input
                    id="search"
                    type="search"
                    placeholder=strings::SEARCH
                    aria-label=strings::SEARCH
                    on:input:target=move |event| look_for(app, |query| query.search = event.target().value())
                />
                <button
                    id="favorites"
                    type="button"
                    class="toggle"
                    aria-pressed=move || favorites(app).to_string()
                    on:click=move |_| look_for(app, |query| query.favorites = !query.favorites)
                >
                    {icon(icons::STAR)}
                    {strings::FAVORITES}
                </button>
            </div>
            <p id="complaint" class="fault" role="status">{complaint}</p>
            <p id="nothing" class="caption" role="status">{nothing}</p>
            <ul id="pictures" class="tiles">
                <For each=move || found.get() key=Selection::clone children=move |selection| tile_view(app, selection)/>
            </ul>
            <Show when=move || has_more.get()>
                <button id="more" type="button" on:click=move |_| app.driver.act(Session::look_further)>
                    {strings::MORE}
                </button>
            </Show>
        </section>
    }
}

fn tile_view(app: App, selection: Selection) -> AnyView {
    let here = selection.clone();
    let tile = Memo::new(move |_| app.session.with(|session| tile(session, &here).unwrap_or_default()));
    parts::tile(
        selection,
        Signal::derive(move || tile.with(|tile| tile.label.clone())),
        Signal::derive(move || tile.with(|tile| tile.is_favorite)),
        Signal::derive(move || tile.with(|tile| tile.url.clone())),
        None,
    )
}

fn favorites(app: App) -> bool {
    app.session.with(|session| session.gallery().query().favorites)
}

/// Changes what is looked for.
fn look_for(app: App, change: impl FnOnce(&mut Query)) {
    app.driver.act(|session| {
        let mut query = session.gallery().query().clone();
        change(&mut query);
        session.look_for(query);
    });
}

/// Every picture that was found, in the order of the store.
fn found(session: &Session) -> Vec<Selection> {
    let jobs = session.gallery().found().iter().filter_map(|id| session.job(id));
    jobs.flat_map(|job| job.images.iter().map(|image| Selection { job: job.id.clone(), index: image.index as u16 }))
        .collect()
}

fn tile(session: &Session, selection: &Selection) -> Option<Tile> {
    let job = session.job(&selection.job)?;
    let image = job.image(selection.index)?;
    let prompt = job.request.prompt.as_deref().unwrap_or_default();
    Some(Tile {
        url: job.thumbnail(selection.index),
        label: strings::show_picture(prompt, Some(image.seed)),
        is_favorite: job.favorite,
    })
}
