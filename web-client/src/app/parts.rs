//! Parts of views that are compiled once, whatever they show: what a view's types hold is compiled for each of them.

use std::sync::Arc;

use leptos::ev::MouseEvent;
use leptos::prelude::*;

use super::App;
use super::icons::icon;
use crate::session::Selection;

/// What a click does.
pub(super) type Act = Box<dyn Fn(MouseEvent)>;

/// `view` while `condition` holds.
pub(super) fn when(
    condition: impl Fn() -> bool + Send + Sync + 'static,
    view: impl Fn() -> AnyView + Send + Sync + 'static,
) -> AnyView {
    fn erased(condition: Signal<bool>, view: Arc<dyn Fn() -> AnyView + Send + Sync>) -> AnyView {
        let holds = Memo::new(move |_| condition.get());
        (move || holds.get().then(|| view())).into_any()
    }
    erased(Signal::derive(condition), Arc::new(view))
}

/// Views that are all made anew when what they show changes.
pub(super) fn list(views: impl Fn() -> Vec<AnyView> + Send + 'static) -> AnyView {
    fn erased(views: Box<dyn Fn() -> Vec<AnyView> + Send>) -> AnyView {
        (move || views()).into_any()
    }
    erased(Box::new(views))
}

/// A small button with a picture; `pressed` where it shows a state.
pub(super) fn tool(
    id: String,
    picture: &'static str,
    name: String,
    pressed: Option<Signal<bool>>,
    act: impl Fn(MouseEvent) + 'static,
) -> AnyView {
    fn erased(id: String, picture: &'static str, name: String, pressed: Option<Signal<bool>>, act: Act) -> AnyView {
        view! {
            <button
                id=id
                type="button"
                class="tool"
                title=name.clone()
                aria-label=name
                aria-pressed=move || pressed.map(|pressed| pressed.get().to_string())
                on:click=act
            >
                {icon(picture)}
            </button>
        }
        .into_any()
    }
    erased(id, picture, name, pressed, Box::new(act))
}

/// A button with words on it.
pub(super) fn button(
    id: &'static str,
    class: &'static str,
    words: &'static str,
    act: impl Fn(MouseEvent) + 'static,
) -> AnyView {
    fn erased(id: &'static str, class: &'static str, words: &'static str, act: Act) -> AnyView {
        view! { <button id=id type="button" class=class on:click=act>{words}</button> }.into_any()
    }
    erased(id, class, words, Box::new(act))
}

/// Words that do something when they are clicked.
pub(super) fn chips(entries: Memo<Vec<String>>, act: fn(App, String)) -> AnyView {
    let app = App::get();
    let chip = move |entry: String| {
        let text = entry.clone();
        let act: Act = Box::new(move |_| act(app, text.clone()));
        view! { <li><button type="button" on:click=act>{entry}</button></li> }.into_any()
    };
    view! { <ul class="chips">{list(move || entries.get().into_iter().map(chip).collect())}</ul> }.into_any()
}

/// A picture to choose, over what is `below` it until it has come.
pub(super) fn tile(
    selection: Selection,
    label: Signal<String>,
    is_favorite: Signal<bool>,
    url: Signal<Option<String>>,
    below: Option<AnyView>,
) -> AnyView {
    let app = App::get();
    let here = selection.clone();
    let pressed = move || app.shown.with(|shown| shown.as_ref() == Some(&here)).to_string();
    let source = app.source(move || url.get());
    view! {
        <li>
            <button
                type="button"
                class="tile"
                aria-pressed=pressed
                aria-label=label
                title=label
                data-favorite=move || is_favorite.get().to_string()
                on:click=move |_| app.driver.act(|session| session.select(selection.clone()))
            >
                {below}
                {move || source.get().map(|url| view! { <img src=url alt="" loading="lazy" decoding="async"/> })}
            </button>
        </li>
    }
    .into_any()
}
