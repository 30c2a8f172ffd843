//! Everything below the prompt that shapes a picture.

use leptos::html::Details;
use leptos::prelude::*;
use sd_protocol::{NamedEntry, SchedulerEntry};

use super::field::{Choice, FaultOf, Labelled, Number, Slider};
use super::icons::{self, icon};
use super::{App, strings};
use crate::session::{Draft, Field, Worker};
use crate::web::page;

/// Guidance beyond this is possible and rarely wanted.
const GUIDANCE_SLIDER_MAX: f32 = 20.0;
/// Steps beyond this are possible and rarely wanted.
const STEPS_SLIDER_MAX: u32 = 60;

/// Size, steps, guidance, scheduler, seed.
#[component]
pub(super) fn Settings() -> impl IntoView {
    let app = App::get();
    let details = NodeRef::<Details>::new();
    // A fault must not hide behind a closed lid.
    Effect::new(move |_| {
        if let Some(details) = details.get().filter(|_| !app.faults().is_empty()) {
            details.set_open(true);
        }
    });
    let reset = move |_| {
        let worker = app.session.with_untracked(|session| session.worker().cloned());
        if let Some(worker) = worker {
            app.draft.update(|draft| *draft = defaults_but_prompt(draft, &worker));
        }
    };
    view! {
        <details class="card settings" node_ref=details open=!page::is_narrow()>
            <summary>{icon(icons::SLIDERS)}{strings::SETTINGS}</summary>
            <div class="fields">
                <Model/>
                <Size/>
                <Labelled field=Field::Steps>
                    <div class="dial">
                        <Slider field=Field::Steps min=1.0 max=steps_max(app) step=1.0/>
                        <Number field=Field::Steps/>
                    </div>
                </Labelled>
                <Labelled field=Field::GuidanceScale>
                    <div class="dial">
                        <Slider field=Field::GuidanceScale min=1.0 max=GUIDANCE_SLIDER_MAX step=0.5/>
                        <Number field=Field::GuidanceScale keyboard="decimal"/>
                    </div>
                </Labelled>
                <div class="pair">
                    <Labelled field=Field::Scheduler>
                        <Choice field=Field::Scheduler entries=Signal::derive(move || {
                            from_worker(app, |worker| worker.catalogue.schedulers.iter().map(named).collect())
                        })/>
                    </Labelled>
                    <Labelled field=Field::Sigmas>
                        <Choice field=Field::Sigmas entries=Signal::derive(move || {
                            let scheduler = app.text(Field::Scheduler);
                            from_worker(app, |worker| worker.catalogue.sigmas_of(&scheduler).cloned().collect())
                        })/>
                    </Labelled>
                </div>
                <div class="pair seed">
                    <Seed/>
                    <Labelled field=Field::BatchSize><Number field=Field::BatchSize/></Labelled>
                </div>
                <button type="button" class="quiet" on:click=reset>{strings::RESET}</button>
            </div>
        </details>
    }
}

/// The choice of model, where there is one.
#[component]
fn Model() -> impl IntoView {
    let app = App::get();
    let models = Signal::derive(move || {
        let entry = |name: &String| NamedEntry { name: name.clone(), label: name.clone() };
        from_worker(app, |worker| worker.catalogue.models.iter().map(|model| entry(&model.name)).collect())
    });
    view! {
        <Show when=move || models.with(|models| models.len() > 1)>
            <Labelled field=Field::Model><Choice field=Field::Model entries=models/></Labelled>
        </Show>
    }
}

#[component]
fn Size() -> impl IntoView {
    let app = App::get();
    let preset = move |label: &'static str, shape: Shape| {
        let size =
            move || app.model.with(|model| model.as_ref().map(|m| shape.size(m.defaults.width, m.defaults.height)));
        let pressed = move || {
            size().is_some_and(|(w, h)| {
                (app.text(Field::Width), app.text(Field::Height)) == (w.to_string(), h.to_string())
            })
        };
        let choose = move |_| {
            if let Some((width, height)) = size() {
                app.set(Field::Width, width.to_string());
                app.set(Field::Height, height.to_string());
            }
        };
        view! {
            <button type="button" aria-pressed=move || pressed().to_string() on:click=choose>
                <span class="shape" data-shape=shape.name()></span>
                {label}
            </button>
        }
    };
    view! {
        <fieldset class="field size">
            <legend>{strings::SIZE}</legend>
            <div class="segments">
                {preset(strings::PORTRAIT, Shape::Portrait)}
                {preset(strings::SQUARE, Shape::Square)}
                {preset(strings::LANDSCAPE, Shape::Landscape)}
            </div>
            <div class="sides">
                <label for="width">{strings::label(Field::Width)}</label>
                <Number field=Field::Width/>
                <span aria-hidden="true">"×"</span>
                <label for="height">{strings::label(Field::Height)}</label>
                <Number field=Field::Height/>
                <span class="unit">"px"</span>
            </div>
            <FaultOf field=Field::Width/>
            <FaultOf field=Field::Height/>
        </fieldset>
    }
}

#[component]
fn Seed() -> impl IntoView {
    let app = App::get();
    let last = Memo::new(move |_| {
        app.session.with(|session| session.jobs().iter().find_map(|job| job.images.first()).map(|image| image.seed))
    });
    let reuse = move |_| {
        if let Some(seed) = last.get_untracked() {
            app.set(Field::Seed, seed.to_string());
        }
    };
    view! {
        <Labelled field=Field::Seed>
            <div class="with-buttons">
                <Number field=Field::Seed placeholder=strings::SEED_PLACEHOLDER/>
                <button
                    type="button"
                    title=strings::SEED_RANDOM
                    aria-label=strings::SEED_RANDOM
                    disabled=move || app.text(Field::Seed).is_empty()
                    on:click=move |_| app.set(Field::Seed, "")
                >
                    {icon(icons::DICE)}
                </button>
                <button
                    type="button"
                    title=strings::SEED_REUSE
                    aria-label=strings::SEED_REUSE
                    disabled=move || last.with(Option::is_none)
                    on:click=reuse
                >
                    {icon(icons::REUSE)}
                </button>
            </div>
        </Labelled>
    }
}

/// How a picture's sides relate.
#[derive(Clone, Copy)]
enum Shape {
    Portrait,
    Square,
    Landscape,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Portrait => "portrait",
            Self::Square => "square",
            Self::Landscape => "landscape",
        }
    }

    /// Sides for a model that was trained at `width` × `height`: its longer side stays, so that the shape costs
    /// no more than the model's own; 3:4, in whole blocks of the network (64 px).
    fn size(self, width: u32, height: u32) -> (u32, u32) {
        let long = width.max(height);
        let short = (long * 3 / 4).next_multiple_of(64).min(long);
        match self {
            Self::Portrait => (short, long),
            Self::Square => (long, long),
            Self::Landscape => (long, short),
        }
    }
}

fn from_worker<T>(app: App, read: impl FnOnce(&Worker) -> Vec<T>) -> Vec<T> {
    app.session.with(|session| session.worker().map(read).unwrap_or_default())
}

fn named(scheduler: &SchedulerEntry) -> NamedEntry {
    NamedEntry { name: scheduler.name.clone(), label: scheduler.label.clone() }
}

fn steps_max(app: App) -> f32 {
    let limit = app.session.with_untracked(|session| session.worker().map(|worker| worker.limits.steps_max));
    limit.unwrap_or(STEPS_SLIDER_MAX).min(STEPS_SLIDER_MAX) as f32
}

fn defaults_but_prompt(draft: &Draft, worker: &Worker) -> Draft {
    let mut fresh = Draft::default();
    for field in [Field::Prompt, Field::NegativePrompt] {
        fresh.set(field, draft.get(field));
    }
    let mut chosen = Draft::default();
    chosen.set(Field::Model, draft.get(Field::Model));
    if let Some(model) = chosen.model(&worker.catalogue) {
        fresh.set(Field::Model, &model.name);
    }
    fresh.settle(&worker.catalogue);
    fresh
}
