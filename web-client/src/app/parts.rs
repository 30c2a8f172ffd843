//! Parts of views that are compiled once, whatever they show: what a view's types hold is compiled for each of them.

use std::sync::Arc;

use leptos::ev::MouseEvent;
use leptos::prelude::*;

use super::App;
use super::icons::icon;
use crate::session::Selection;

/// What a click does.
pub(super) type Act = Box<dyn Fn(MouseEvent)>;

/// A value that follows from others, as [`Memo::new`] makes one.
pub(super) fn memo<T: PartialEq + Send + Sync + 'static>(value: impl Fn() -> T + Send + Sync + 'static) -> Memo<T> {
    fn erased<T: PartialEq + Send + Sync + 'static>(value: Box<dyn Fn() -> T + Send + Sync>) -> Memo<T> {
        Memo::new(move |_| value())
    }
    erased(Box::new(value))
}

/// Something that is done anew when what it reads changes, as [`Effect::new`] does it.
pub(super) fn effect(act: impl Fn() + 'static) {
    fn erased(act: Box<dyn Fn()>) {
        Effect::new(move |_| act());
    }
    erased(Box::new(act));
}

/// `view` while `condition` holds.
pub(super) fn when(
    condition: impl Fn() -> bool + Send + Sync + 'static,
    view: impl Fn() -> AnyView + Send + Sync + 'static,
) -> AnyView {
    fn erased(condition: Signal<bool>, view: Arc<dyn Fn() -> AnyView + Send + Sync>) -> AnyView {
        let holds = memo(move || condition.get());
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

/// Views of pictures, each of which stays as long as its picture is in the list.
pub(super) fn pictures(
    pictures: impl Fn() -> Vec<Selection> + Send + Sync + 'static,
    view: impl Fn(Selection) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    type View = Arc<dyn Fn(Selection) -> AnyView + Send + Sync>;
    fn erased(pictures: Signal<Vec<Selection>>, view: View) -> AnyView {
        let children = move |selection| view(selection);
        view! { <For each=move || pictures.get() key=Selection::clone children=children/> }.into_any()
    }
    erased(Signal::derive(pictures), Arc::new(view))
}

/// Words that are read out when they change.
pub(super) fn announced(
    id: &'static str,
    class: &'static str,
    words: impl Fn() -> String + Send + Sync + 'static,
) -> AnyView {
    fn erased(id: &'static str, class: &'static str, words: Signal<String>) -> AnyView {
        view! { <p id=id class=class role="status">{words}</p> }.into_any()
    }
    erased(id, class, Signal::derive(words))
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
                aria-pressed=Signal::derive(move || pressed.map(|pressed| pressed.get().to_string()))
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

/// A button with a picture and words on it; `pressed` where it shows a state.
pub(super) fn command(
    id: &'static str,
    picture: &'static str,
    words: Signal<&'static str>,
    pressed: Option<Signal<bool>>,
    act: impl Fn(MouseEvent) + 'static,
) -> AnyView {
    fn erased(
        id: &'static str,
        picture: &'static str,
        words: Signal<&'static str>,
        pressed: Option<Signal<bool>>,
        act: Act,
    ) -> AnyView {
        view! {
            <button
                id=id
                type="button"
                class=if pressed.is_some() { "toggle" } else { "" }
                aria-pressed=Signal::derive(move || pressed.map(|pressed| pressed.get().to_string()))
                on:click=act
            >
                {icon(picture)}
                {words}
            </button>
        }
        .into_any()
    }
    erased(id, picture, words, pressed, Box::new(act))
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
    let pressed = Signal::derive(move || (app.shown.read().as_ref() == Some(&here)).to_string());
    let source = app.source(move || url.get());
    let image = |url: String| view! { <img src=url alt="" loading="lazy" decoding="async"/> }.into_any();
    view! {
        <li>
            <button
                type="button"
                class="tile"
                aria-pressed=pressed
                aria-label=label
                title=label
                data-favorite=Signal::derive(move || is_favorite.get().to_string())
                on:click=move |_| app.driver.act(|session| session.select(selection.clone()))
            >
                {below}
                {list(move || source.get().into_iter().map(image).collect())}
            </button>
        </li>
    }
    .into_any()
}
