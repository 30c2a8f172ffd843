//! All pictures of this client, running ones included, newest first.

use leptos::prelude::*;
use sd_protocol::JobState;

use super::{App, strings};
use crate::session::{Job, Selection, Session};

/// What a tile shows.
#[derive(Clone, Default, PartialEq)]
struct Tile {
    state: &'static str,
    /// Share of the steps that are done, in percent.
    percent: u32,
    url: Option<String>,
    label: String,
}

/// Tiles to choose among; there is nothing to choose before the first job.
#[component]
pub(super) fn Gallery() -> impl IntoView {
    let app = App::get();
    let selections = Memo::new(move |_| app.session.with(selections));
    let tile = move |selection: Selection| {
        let here = selection.clone();
        let tile = Memo::new(move |_| app.session.with(|session| tile(session, &here).unwrap_or_default()));
        let here = selection.clone();
        let pressed = move || app.shown.with(|shown| shown.as_ref() == Some(&here)).to_string();
        let source = app.source(move || tile.with(|tile| tile.url.clone()));
        let choose = move |_| app.driver.act(|session| session.select(selection.clone()));
        view! {
            <li>
                <button
                    type="button"
                    class="tile"
                    aria-pressed=pressed
                    aria-label=move || tile.with(|tile| tile.label.clone())
                    title=move || tile.with(|tile| tile.label.clone())
                    data-state=move || tile.with(|tile| tile.state)
                    style=("--percent", move || tile.with(|tile| format!("{}%", tile.percent)))
                    on:click=choose
                >
                    {move || source.get().map(|url| view! { <img src=url alt="" loading="lazy"/> })}
                </button>
            </li>
        }
    };
    view! {
        <Show when=move || !selections.with(Vec::is_empty)>
            <section class="gallery" aria-labelledby="gallery-title">
                <h2 id="gallery-title">{strings::GALLERY}</h2>
                <ul><For each=move || selections.get() key=Selection::clone children=tile/></ul>
            </section>
        </Show>
    }
}

/// One tile per picture that is there or on its way. What failed or was canceled is there while it is shown.
fn selections(session: &Session) -> Vec<Selection> {
    let shown = session.shown();
    let is_shown = |job: &Job| shown.as_ref().is_some_and(|shown| shown.job == job.id);
    session
        .jobs()
        .iter()
        .filter(|job| match job.state() {
            Some(JobState::Queued | JobState::Running | JobState::Succeeded) => true,
            Some(JobState::Failed | JobState::Canceled | JobState::Superseded) | None => is_shown(job),
        })
        .flat_map(|job| {
            let pictures = job.request.batch_size.unwrap_or(1).max(1) as u16;
            (0..pictures).map(|index| Selection { job: job.id.clone(), index })
        })
        .collect()
}

fn tile(session: &Session, selection: &Selection) -> Option<Tile> {
    let job = session.jobs().iter().find(|job| job.id == selection.job)?;
    let image = job.images.iter().find(|image| image.index == u32::from(selection.index));
    let prompt = job.request.prompt.as_deref().unwrap_or_default();
    Some(Tile {
        state: job.state().map_or("", JobState::as_str),
        percent: job.progress.step * 100 / job.progress.steps.max(1),
        url: image.map(|image| image.url.clone()),
        label: strings::show_picture(prompt, image.map(|image| image.seed)),
    })
}
