//! The pictures in the worker's store: of this page, of other tabs and of other devices.

use leptos::prelude::*;

use super::icons;
use super::parts::{announced, button, command, memo, when};
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
    let found = memo(move || found(&app.session.read()));
    let is_all = memo(move || app.session.read().gallery().query().is_all());
    let is_known = memo(move || app.session.read().gallery().is_known());
    let has_more = memo(move || app.session.read().gallery().has_more());
    let complaint = move || app.session.read().complaint().map(|error| error.message.clone()).unwrap_or_default();
    // Between two queries it stays as it is: what is hidden loses the focus, and with it the next letter.
    let is_there = Memo::new(move |before: Option<&bool>| match is_known.get() {
        true => !is_all.get() || !found.read().is_empty(),
        false => before.copied().unwrap_or_default(),
    });
    let more = move || button("more", "", strings::MORE, move |_| app.driver.act(Session::look_further));
    let is_favorites = Signal::derive(move || favorites(app));
    let turn = move |_| look_for(app, |query| query.favorites = !query.favorites);
    let nothing = move || {
        let is_there = is_known.get() && found.read().is_empty();
        if is_there { strings::NOTHING_FOUND.to_owned() } else { String::new() }
    };
    view! {
        <section class="gallery" aria-labelledby="gallery-title" hidden=Signal::derive(move || !is_there.get())>
            <div class="bar">
                <h2 id="gallery-title">{strings::GALLERY}</h2>
                <input
                    id="search"
                    type="search"
                    placeholder=strings::SEARCH
                    aria-label=strings::SEARCH
                    on:input:target=move |event| look_for(app, |query| query.search = event.target().value())
                />
                {command("favorites", icons::STAR, strings::FAVORITES.into(), Some(is_favorites), turn)}
            </div>
            {announced("complaint", "fault", complaint)}
            {announced("nothing", "caption", nothing)}
            <ul id="pictures" class="tiles">
                {parts::pictures(move || found.get(), move |selection| tile_view(app, selection))}
            </ul>
            {when(move || has_more.get(), more)}
        </section>
    }
}

fn tile_view(app: App, selection: Selection) -> AnyView {
    let here = selection.clone();
    let tile = memo(move || tile(&app.session.read(), &here).unwrap_or_default());
    parts::tile(
        selection,
        Signal::derive(move || tile.read().label.clone()),
        Signal::derive(move || tile.read().is_favorite),
        Signal::derive(move || tile.read().url.clone()),
        None,
    )
}

fn favorites(app: App) -> bool {
    app.session.read().gallery().query().favorites
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
