//! Everything below the prompt that shapes a picture.

use leptos::html::Details;
use leptos::prelude::*;
use sd_protocol::{Catalogue, ImageFormat, NamedEntry, SchedulerEntry};

use super::adapters::adapters;
use super::field::{FaultOf, Labelled, Number, dial, menu};
use super::icons::{self, icon};
use super::parts::{Act, button, effect, tool, when};
use super::{App, strings};
use crate::session::{Field, Shape};
use crate::web::page;

/// Guidance beyond this is possible and rarely wanted.
const GUIDANCE: (f64, f64, f64) = (1.0, 20.0, 0.5);
/// Steps beyond this are possible and rarely wanted.
const STEPS_SLIDER_MAX: u32 = 60;
/// What is pulled back of the guidance.
const RESCALE: (f64, f64, f64) = (0.0, 1.0, 0.05);
/// How much of the picture a JPEG keeps, in percent.
const QUALITY: (f64, f64, f64) = (1.0, 100.0, 1.0);

/// Size, steps, guidance, scheduler, seed and what is rarer.
#[component]
pub(super) fn Settings() -> impl IntoView {
    let app = App::get();
    let reset = move |_| {
        if let Some(catalogue) = app.catalogue.get_untracked() {
            app.change(None, |draft| draft.reset(&catalogue));
        }
    };
    let steps = (1.0, app.limits().steps_max.min(STEPS_SLIDER_MAX).into(), 1.0);
    let fields = vec![
        model(app),
        size(app),
        dial(Field::Steps, String::new(), steps, None),
        dial(Field::GuidanceScale, String::new(), GUIDANCE, None),
        pair("pair", menu(Field::Scheduler, schedulers(app)), menu(Field::Sigmas, spacings(app))),
        pair("pair seed", seed(app), number(Field::BatchSize)),
        adapters(app),
        fold("advanced", "field fold", strings::ADVANCED.into_any(), false, is_advanced, advanced(app)),
        button("reset", "quiet", strings::RESET, reset),
    ];
    let title = view! { {icon(icons::SLIDERS)}{strings::SETTINGS} }.into_any();
    let is_setting = |field| !matches!(field, Field::Prompt | Field::NegativePrompt);
    fold("settings", "card settings", title, !page::is_narrow(), is_setting, fields.into_any())
}

/// A part of the form that can be folded away. A fault of what it holds does not hide behind a closed lid.
fn fold(
    id: &'static str,
    class: &'static str,
    title: AnyView,
    open: bool,
    holds: fn(Field) -> bool,
    fields: AnyView,
) -> AnyView {
    let app = App::get();
    let details = NodeRef::<Details>::new();
    effect(move || {
        if let Some(details) = details.get()
            && app.faults().iter().any(|fault| fault.field.is_some_and(holds))
        {
            details.set_open(true);
        }
    });
    view! {
        <details id=id class=class node_ref=details open=open>
            <summary>{title}</summary>
            <div class="fields">{fields}</div>
        </details>
    }
    .into_any()
}

fn is_advanced(field: Field) -> bool {
    matches!(field, Field::GuidanceRescale | Field::ClipSkip | Field::OutputFormat | Field::OutputQuality)
}

/// What is rarely changed.
fn advanced(app: App) -> AnyView {
    let formats = Signal::stored(
        ImageFormat::ALL
            .into_iter()
            .map(|format| NamedEntry { name: format.extension().into(), label: strings::format(format).into() })
            .collect(),
    );
    let is_lossy = move || app.text(Field::OutputFormat) == ImageFormat::Jpeg.extension();
    let quality = move || dial(Field::OutputQuality, String::new(), QUALITY, None);
    vec![
        dial(Field::GuidanceRescale, String::new(), RESCALE, None),
        pair("pair", number(Field::ClipSkip), menu(Field::OutputFormat, formats)),
        when(is_lossy, quality),
    ]
    .into_any()
}

pub(super) fn pair(class: &'static str, first: AnyView, second: AnyView) -> AnyView {
    view! { <div class=class>{first}{second}</div> }.into_any()
}

fn number(field: Field) -> AnyView {
    let placeholder = if field == Field::ClipSkip { "0" } else { "" };
    view! { <Labelled field><Number field placeholder/></Labelled> }.into_any()
}

/// The choice of model, where there is one.
fn model(app: App) -> AnyView {
    let models =
        from_catalogue(app, |catalogue| catalogue.models.iter().map(|model| super::named(&model.name)).collect());
    when(move || models.read().len() > 1, move || menu(Field::Model, models))
}

fn size(app: App) -> AnyView {
    let preset = move |shape: Shape| {
        let size = move || {
            let side = app.model.read().as_ref().map(|m| (m.defaults.width, m.defaults.height));
            let (width, height) = side.map(|(width, height)| shape.size(width, height, &app.limits()))?;
            Some([(Field::Width, width.to_string()), (Field::Height, height.to_string())])
        };
        let pressed = Signal::derive(move || {
            let is_there = size().is_some_and(|size| size.iter().all(|(field, side)| app.text(*field) == *side));
            is_there.to_string()
        });
        let choose: Act = Box::new(move |_| {
            app.change(None, |draft| size().into_iter().flatten().for_each(|(field, side)| draft.set(field, side)));
        });
        view! {
            <button type="button" aria-pressed=pressed aria-label=strings::shape(shape) title=strings::shape(shape) on:click=choose>
                <span class="shape" data-shape=shape.ratio()></span>
                {shape.ratio()}
            </button>
        }
        .into_any()
    };
    let swap = move |_| {
        app.change(None, |draft| {
            let width = draft.get(Field::Width).to_owned();
            draft.set(Field::Width, draft.get(Field::Height).to_owned());
            draft.set(Field::Height, width);
        });
    };
    view! {
        <fieldset class="field size">
            <legend>{strings::SIZE}</legend>
            <div class="segments">{Vec::from(Shape::ALL.map(preset))}</div>
            <div class="sides">
                <label for="width">{strings::label(Field::Width)}</label>
                <Number field=Field::Width/>
                {tool("swap".into(), icons::SWAP, strings::SWAP.into(), None, swap)}
                <label for="height">{strings::label(Field::Height)}</label>
                <Number field=Field::Height/>
                <span class="unit">"px"</span>
            </div>
            <FaultOf field=Field::Width/>
            <FaultOf field=Field::Height/>
        </fieldset>
    }
    .into_any()
}

/// The seed: another one every time, or that of the picture that is shown.
fn seed(app: App) -> AnyView {
    let is_random = Signal::derive(move || app.text(Field::Seed).trim().is_empty());
    let is_locked = Signal::derive(move || {
        let written = app.text(Field::Seed);
        !written.is_empty() && app.shown_seed().is_some_and(|seed| written == seed.to_string())
    });
    let roll = move |_| app.set(Field::Seed, "");
    let lock = move |_| {
        if let Some(seed) = untrack(move || app.shown_seed()) {
            app.set(Field::Seed, seed.to_string());
        }
    };
    let keep = move || tool("lock".into(), icons::LOCK, strings::SEED_LOCK.into(), Some(is_locked), lock);
    view! {
        <Labelled field=Field::Seed>
            <div class="with-buttons">
                <Number field=Field::Seed placeholder=strings::SEED_PLACEHOLDER/>
                {tool("dice".into(), icons::DICE, strings::SEED_RANDOM.into(), Some(is_random), roll)}
                {when(move || app.shown_seed().is_some(), keep)}
            </div>
        </Labelled>
    }
    .into_any()
}

fn from_catalogue(app: App, read: fn(&Catalogue) -> Vec<NamedEntry>) -> Signal<Vec<NamedEntry>> {
    Signal::derive(move || app.catalogue.read().as_ref().map(read).unwrap_or_default())
}

fn schedulers(app: App) -> Signal<Vec<NamedEntry>> {
    fn named(entry: &SchedulerEntry) -> NamedEntry {
        NamedEntry { name: entry.name.clone(), label: entry.label.clone() }
    }
    from_catalogue(app, |catalogue| catalogue.schedulers.iter().map(named).collect())
}

fn spacings(app: App) -> Signal<Vec<NamedEntry>> {
    Signal::derive(move || {
        let scheduler = app.text(Field::Scheduler);
        let of = |catalogue: &Catalogue| catalogue.sigmas_of(&scheduler).cloned().collect();
        app.catalogue.read().as_ref().map(of).unwrap_or_default()
    })
}
