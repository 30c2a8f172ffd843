//! The live preview, which survives a lost GPU.

use std::rc::Rc;
use std::sync::Arc;

use leptos::html::Canvas;
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::parts::{effect, memo};
use super::{App, strings};
use crate::preview::choice::Choice;
use crate::preview::pace::Pace;
use crate::preview::recovery::Losses;
use crate::preview::taesd::Decoder;
use crate::session::{Selection, Session};
use crate::web::canvas::{Backend, Element, Surface};
use crate::web::decoding::When;
use crate::web::gpu::{Device, GpuError};
use crate::web::{errors, fetch, page, window};

/// What the canvas has shown of the present picture.
#[derive(Clone, Default, PartialEq)]
struct Shown {
    picture: Option<Selection>,
    newest: Option<Arc<[u8]>>,
    frames: u32,
    step: u16,
    drawn: Option<Choice>,
}

/// A decoder and where it came from.
#[derive(Clone)]
struct Fetched {
    url: String,
    decoder: Rc<Decoder>,
}

/// What the views and the tasks of one canvas share.
#[derive(Clone, Copy)]
struct Screen {
    app: App,
    surface: StoredValue<Option<Surface>, LocalStorage>,
    /// A canvas keeps the kind of its first context, so every change of kind has an element of its own.
    element: RwSignal<u32>,
    /// For the next element.
    device: StoredValue<Option<Device>, LocalStorage>,
    losses: StoredValue<Losses>,
    decoder: StoredValue<Option<Fetched>, LocalStorage>,
}

impl Screen {
    fn new(app: App) -> Self {
        Self {
            app,
            surface: StoredValue::new_local(None),
            element: RwSignal::new(0),
            device: StoredValue::new_local(None),
            losses: StoredValue::new(Losses::default()),
            decoder: StoredValue::new_local(None),
        }
    }

    /// Asks for a GPU, while the 2D canvas draws. Once there is one, another element takes over.
    fn request_device(self) {
        spawn_local(async move {
            match Device::request(move || self.lose()).await {
                Ok(device) => self.renew(Some(device)),
                // Nothing to warn of: not every browser has WebGPU.
                Err(GpuError::NoAdapter(_)) if self.losses.with_value(|losses| *losses == Losses::default()) => {}
                Err(fault) => {
                    errors::warn(&fault);
                    self.try_later();
                }
            }
        });
    }

    /// The GPU is lost: the 2D canvas draws until there is another.
    fn lose(self) {
        self.renew(None);
        self.try_later();
    }

    fn try_later(self) {
        let delay_ms = self.losses.try_update_value(Losses::lost).flatten();
        if let Some(delay_ms) = delay_ms {
            window::after(delay_ms, move || self.request_device());
        }
    }

    /// Puts another element in place of the present one.
    fn renew(self, device: Option<Device>) {
        // None of them is there any more when the page is gone.
        self.surface.try_update_value(|surface| *surface = None);
        self.device.try_update_value(|next| *next = device);
        self.element.try_update(|element| *element += 1);
    }

    /// Takes a new element over.
    fn open(self, canvas: Element) {
        let device = self.device.try_update_value(Option::take).flatten();
        let has_device = device.is_some();
        let opened = match device {
            Some(device) => Surface::gpu(canvas, device),
            None => Surface::flat(canvas),
        };
        match opened {
            Ok(opened) => {
                let backend = opened.backend();
                self.surface.set_value(Some(opened));
                self.app.backend.set(Some(backend));
                self.app.driver.preview().notify();
            }
            Err(fault) => {
                errors::warn(&fault);
                if has_device {
                    self.lose();
                }
            }
        }
    }

    /// Gives the present surface the decoder that belongs to what is shown, and fetches it if that is another one.
    fn decode(self, url: Option<String>) {
        let held = self.decoder.with_value(|held| held.clone().filter(|held| Some(&held.url) == url.as_ref()));
        self.set_decoder(held.as_ref().map(|held| held.decoder.clone()));
        let (Some(url), None) = (url, held) else { return };
        spawn_local(async move {
            let token = self.app.session.read_untracked().token().cloned();
            match fetch::bytes(&url, token.as_ref()).await.map(|file| Decoder::read(&file)) {
                Ok(Ok(decoder)) => {
                    let decoder = Rc::new(decoder);
                    self.decoder
                        .try_update_value(|held| *held = Some(Fetched { url: url.clone(), decoder: decoder.clone() }));
                    // Another picture may be shown by now.
                    if self.app.session.read_untracked().shown_decoder() == Some(&*url) {
                        self.set_decoder(Some(decoder));
                    }
                }
                Ok(Err(fault)) => errors::warn(&fault),
                Err(fault) => errors::warn(&fault),
            }
        });
    }

    fn set_decoder(self, decoder: Option<Rc<Decoder>>) {
        let ready = self.with_surface(|surface| surface.set_decoder(decoder, When::Quick));
        spawn_local(async move {
            if let Some(ready) = ready {
                ready.await;
            }
        });
    }

    fn with_surface<T>(self, then: impl FnOnce(&Surface) -> T) -> Option<T> {
        self.surface.try_with_value(|surface| surface.as_ref().map(then)).flatten()
    }
}

/// The canvas with the preview of the picture that is shown.
#[component]
pub(super) fn Live() -> impl IntoView {
    let app = App::get();
    let screen = Screen::new(app);
    let canvas = NodeRef::<Canvas>::new();
    effect(move || canvas.get().into_iter().for_each(|canvas| screen.open(canvas)));
    if page::query("preview").and_then(|name| Backend::parse(&name)) != Some(Backend::Canvas2d) {
        screen.request_device();
    }
    // Only a GPU has use for a decoder; one that is new needs it again.
    let decoder = memo(move || {
        let url = app.session.read().shown_decoder().map(str::to_owned);
        (app.backend.get() == Some(Backend::WebGpu)).then_some((screen.element.get(), url))
    });
    effect(move || decoder.get().into_iter().for_each(|(_, url)| screen.decode(url)));

    let shown = RwSignal::new(Shown::default());
    let pace = StoredValue::new(Pace::default());
    let seen = StoredValue::new((None, None));
    effect(move || {
        app.driver.preview().track();
        seen.update_value(|seen| *seen = notice(screen, std::mem::take(seen)));
        if pace.try_update_value(Pace::came) != Some(true) {
            return;
        }
        let next = draw(screen, shown.get_untracked());
        shown.set(next);
        let settled = screen.with_surface(Surface::settled);
        spawn_local(async move {
            if let Some(settled) = settled {
                settled.await;
            }
            window::next_frame().await;
            // `None` when the page is gone.
            if pace.try_update_value(Pace::shown) == Some(true) {
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
                data-backend=Signal::derive(move || app.backend.get().map(Backend::name))
                data-drawn=Signal::derive(move || shown.read().drawn.map(Choice::name))
                data-frames=Signal::derive(move || shown.read().frames.to_string())
                data-step=Signal::derive(move || shown.read().step.to_string())
            ></canvas>
        }
    };
    view! { <For each=move || [screen.element.get()] key=|element| *element children=element/> }
}

/// A picture and its newest preview.
type Seen = (Option<Selection>, Option<Arc<[u8]>>);

/// Tells the surface of the rhythm in which previews come, drawn or not.
fn notice(screen: Screen, before: Seen) -> Seen {
    let of = |session: &Session| (session.shown(), session.shown_preview().map(|preview| preview.frame.clone()));
    let now = of(&screen.app.session.read_untracked());
    if now.0 != before.0 {
        screen.with_surface(Surface::begin);
    }
    let is_new = match (&now.1, &before.1) {
        (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
        (now, _) => now.is_some(),
    };
    if is_new {
        screen.with_surface(Surface::arrived);
    }
    now
}

/// Draws what should be seen now, and tells what has been seen then.
fn draw(screen: Screen, before: Shown) -> Shown {
    let session = screen.app.session.read_untracked();
    let picture = session.shown();
    let mut shown = if before.picture == picture { before } else { Shown { picture, ..Shown::default() } };
    let basis = session.shown_job().and_then(|job| job.basis.as_ref());
    let (Some(preview), Some(basis)) = (session.shown_preview(), basis) else { return shown };
    let drawn = screen.surface.try_update_value(|surface| surface.as_mut().map(|s| s.draw(&preview.frame, basis)));
    match drawn.flatten() {
        Some(Ok(drawn)) => {
            let again = shown.newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, &preview.frame));
            shown.frames += u32::from(!again);
            shown.newest = Some(preview.frame.clone());
            shown.step = preview.step;
            shown.drawn = Some(drawn);
            if screen.app.backend.get_untracked() == Some(Backend::WebGpu) {
                screen.losses.update_value(Losses::drew);
            }
        }
        Some(Err(fault)) => errors::warn(&fault),
        None => {}
    }
    shown
}
