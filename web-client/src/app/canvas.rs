//! The live preview, which survives a lost GPU.

use std::sync::Arc;

use leptos::html::Canvas;
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::{App, strings};
use crate::session::Selection;
use crate::web::canvas::{Backend, Surface};
use crate::web::{errors, page};

/// Losses of the GPU after which the 2D canvas takes over for good.
const LOSSES_MAX: u32 = 2;

/// What the canvas has shown of the present picture.
#[derive(Clone, Default, PartialEq)]
struct Shown {
    picture: Option<Selection>,
    newest: Option<Arc<[u8]>>,
    frames: u32,
    step: u16,
}

/// A preview is drawn when the one before is on the screen: a GPU slower than the worker skips previews, and the page
/// stays as quick as ever.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    /// The next preview is drawn when it comes.
    Idle,
    /// The GPU draws.
    Busy,
    /// The GPU draws, and what it draws is old already.
    Behind,
}

/// The canvas with the preview of the picture that is shown.
#[component]
pub(super) fn Live() -> impl IntoView {
    let app = App::get();
    let canvas = NodeRef::<Canvas>::new();
    let surface = StoredValue::new_local(None::<Surface>);
    let backend = RwSignal::new(None::<Backend>);
    let wish = StoredValue::new(page::query("preview").and_then(|name| Backend::parse(&name)));
    // A canvas keeps the kind of its first context, so each attempt to open one has an element of its own.
    let attempt = RwSignal::new(0);
    let fall_back = move || {
        surface.set_value(None);
        wish.set_value(Some(Backend::Canvas2d));
        attempt.update(|attempt| *attempt += 1);
    };
    let lost = move || {
        surface.set_value(None);
        if attempt.get_untracked() + 1 >= LOSSES_MAX {
            fall_back();
        } else {
            attempt.update(|attempt| *attempt += 1);
        }
    };
    Effect::new(move |_| {
        let Some(canvas) = canvas.get() else { return };
        spawn_local(async move {
            match Surface::open(canvas, wish.get_value(), lost).await {
                Ok(opened) => {
                    backend.set(Some(opened.backend()));
                    surface.set_value(Some(opened));
                    app.driver.preview().notify();
                }
                Err(fault) => {
                    errors::warn(&fault);
                    if wish.get_value() != Some(Backend::Canvas2d) {
                        fall_back();
                    }
                }
            }
        });
    });

    let shown = RwSignal::new(Shown::default());
    let pace = StoredValue::new(Pace::Idle);
    Effect::new(move |_| {
        app.driver.preview().track();
        if pace.get_value() != Pace::Idle {
            pace.set_value(Pace::Behind);
            return;
        }
        let next = draw(app, surface, shown.get_untracked());
        shown.set(next);
        pace.set_value(Pace::Busy);
        let settled = surface.with_value(|surface| surface.as_ref().map(Surface::settled));
        spawn_local(async move {
            if let Some(settled) = settled {
                settled.await;
            }
            page::next_frame().await;
            // `None` when the page is gone.
            let before = pace.try_update_value(|pace| std::mem::replace(pace, Pace::Idle));
            if before == Some(Pace::Behind) {
                app.driver.preview().notify();
            }
        });
    });
    let element = move |_| {
        view! {
            <canvas
                id="preview"
                width="1"
                height="1"
                role="img"
                aria-label=strings::PREVIEW
                node_ref=canvas
                data-backend=move || backend.get().map(Backend::name)
                data-frames=move || shown.with(|shown| shown.frames)
                data-step=move || shown.with(|shown| shown.step)
            ></canvas>
        }
    };
    view! { <For each=move || [attempt.get()] key=|attempt| *attempt children=element/> }
}

/// Draws what should be seen now, and tells what has been seen then.
fn draw(app: App, surface: StoredValue<Option<Surface>, LocalStorage>, before: Shown) -> Shown {
    app.session.with_untracked(|session| {
        let picture = session.shown();
        let mut shown = if before.picture == picture { before } else { Shown { picture, ..Shown::default() } };
        let basis = session.shown_job().and_then(|job| job.basis.as_ref());
        let (Some(preview), Some(basis)) = (session.shown_preview(), basis) else { return shown };
        let drawn = surface.try_update_value(|surface| surface.as_mut().map(|s| s.draw(&preview.frame, basis)));
        match drawn.flatten() {
            Some(Ok(())) => {
                let again = shown.newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, &preview.frame));
                shown.frames += u32::from(!again);
                shown.newest = Some(preview.frame.clone());
                shown.step = preview.step;
            }
            Some(Err(fault)) => errors::warn(&fault),
            None => {}
        }
        shown
    })
}
