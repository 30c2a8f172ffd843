//! The picture that is shown, its progress and what can be done with it.

use leptos::prelude::*;
use leptos::task::spawn_local;
use sd_protocol::{ImageFormat, ImageView, JobId, JobState};

use super::batch::Batch;
use super::canvas::Live;
use super::icons::{self, icon};
use super::parts::chips;
use super::{App, status, strings};
use crate::decimal;
use crate::session::{Field, Job, Session};
use crate::web::{errors, page, pictures};

/// The picture, its progress bar, the status line and the facts.
#[component]
pub(super) fn Stage() -> impl IntoView {
    let app = App::get();
    let job_id = move || app.job.with(|job| job.as_ref().map(|job| job.id.to_string()).unwrap_or_default());
    let state = move || app.job.with(|job| job.as_ref().and_then(Job::state).map_or("", JobState::as_str));
    let size = Memo::new(move |_| size(app));
    let sentence = Memo::new(move |_| app.session.with(|session| status::sentence(session, &page::host())));
    let is_empty = Memo::new(move |_| app.job.with(Option::is_none));
    view! {
        <section
            id="job"
            class="stage"
            tabindex="-1"
            aria-label=strings::PICTURE
            data-job-id=job_id
            data-state=state
            style=("--ratio", move || decimal::write(f64::from(size.get().0) / f64::from(size.get().1)))
            style=("--native", move || format!("{}px", size.get().0))
        >
            <div class="frame">
                <Live/>
                <Picture/>
                <Show when=move || is_empty.get()><Empty/></Show>
            </div>
            <Progress/>
            <Batch/>
            <div class="report">
                <p id="status" role="status" aria-live="polite">{sentence}</p>
                <Remaining/>
                <Actions/>
            </div>
            <Facts/>
        </section>
    }
}

/// The finished picture. It fades in over the last preview once it is decoded, so nothing flickers.
#[component]
fn Picture() -> impl IntoView {
    let app = App::get();
    let image = Memo::new(move |_| shown_image(app));
    let element = move |image: ImageView| {
        let arrived = RwSignal::new(false);
        let source = app.source({
            let url = image.url.clone();
            move || Some(url.clone())
        });
        let alt = app.job.with_untracked(|job| job.as_ref().and_then(|job| job.request.prompt.clone()));
        view! {
            <img
                id="picture"
                src=move || source.get()
                width=image.width
                height=image.height
                alt=alt
                decoding="async"
                class:arrived=arrived
                on:load=move |_| arrived.set(true)
            />
        }
    };
    view! { <For each=move || image.get() key=|image| image.url.clone() children=element/> }
}

/// What is there before the first picture: an invitation.
#[component]
fn Empty() -> impl IntoView {
    let app = App::get();
    let examples =
        Memo::new(move |_| app.model.with(|model| model.as_ref().map(|m| m.examples.clone()).unwrap_or_default()));
    let invitation = move || {
        if examples.with(Vec::is_empty) { strings::EMPTY_TEXT_NO_EXAMPLES } else { strings::EMPTY_TEXT }
    };
    view! {
        <div class="empty">
            <h2>{strings::EMPTY_TITLE}</h2>
            <p>{invitation}</p>
            {chips(examples, |app, example| app.set(Field::Prompt, example))}
        </div>
    }
}

#[component]
fn Progress() -> impl IntoView {
    let app = App::get();
    let progress = Memo::new(move |_| app.job.with(|job| job.as_ref().map(|job| job.progress).unwrap_or_default()));
    let share = move || {
        let progress = progress.get();
        f64::from(progress.step) / f64::from(progress.steps.max(1))
    };
    view! {
        <div
            id="progress"
            class="progress"
            role="progressbar"
            aria-label=strings::PROGRESS
            aria-valuemin="0"
            aria-valuenow=move || progress.get().step
            aria-valuemax=move || progress.get().steps
        >
            <span style=("--share", move || decimal::write(share()))></span>
        </div>
    }
}

/// Step and remaining time; not in the live region, which would read out every step.
#[component]
fn Remaining() -> impl IntoView {
    let app = App::get();
    let text = move || {
        app.job.with(|job| {
            let job = job.as_ref().filter(|job| job.state() == Some(JobState::Running) && job.progress.steps > 0)?;
            Some(strings::steps(job.progress.step, job.progress.steps, job.progress.eta_ms))
        })
    };
    view! { <p id="remaining" class="remaining">{text}</p> }
}

#[component]
fn Actions() -> impl IntoView {
    let app = App::get();
    let image = Memo::new(move |_| shown_image(app));
    let request = move || app.job.with(|job| job.as_ref().map(|job| job.request.clone()).unwrap_or_default());
    let source = app.source(move || image.get().map(|image| image.url));
    let name = move || image.get().map(|image| strings::file_name(&request().prompt.unwrap_or_default(), &image));
    let reuse = move |_| {
        let mut request = request();
        request.seed = image.get_untracked().map(|image| image.seed).or(request.seed);
        request.batch_size = Some(1);
        app.change(None, |draft| draft.fill(&request, true));
    };
    let copied = RwSignal::new(None::<ImageView>);
    let copy = move |_| {
        let Some(image) = image.get_untracked() else { return };
        let token = app.session.with_untracked(|session| session.token().cloned());
        spawn_local(async move {
            match pictures::copy(&image.url, token.as_ref()).await {
                Ok(()) => drop(copied.try_update(|copied| *copied = Some(image))),
                Err(fault) => errors::warn(&fault),
            }
        });
    };
    let is_copied = move || image.with(|image| image.is_some() && copied.with(|copied| copied == image));
    // A browser's clipboard takes PNGs alone.
    let can_copy = move || image.with(|image| image.as_ref().is_some_and(|image| image.format == ImageFormat::Png));
    let is_favorite = move || app.job.with(|job| job.as_ref().is_some_and(|job| job.favorite));
    let favor =
        move |_| on_job(app, |session, job| session.favor(job, !session.job(job).is_some_and(|job| job.favorite)));
    view! {
        <Show when=move || image.with(Option::is_some)>
            <div class="actions">
                <button type="button" id="reuse" on:click=reuse>{icon(icons::SLIDERS)}{strings::USE_SETTINGS}</button>
                <a class="button" id="download" href=move || source.get() download=name>
                    {icon(icons::DOWNLOAD)}
                    {strings::DOWNLOAD}
                </a>
                <button type="button" id="copy" on:click=copy hidden=move || !can_copy()>
                    {icon(icons::COPY)}
                    {move || if is_copied() { strings::COPIED } else { strings::COPY }}
                </button>
                <button
                    type="button"
                    id="favorite"
                    class="toggle"
                    aria-pressed=move || is_favorite().to_string()
                    on:click=favor
                >
                    {icon(icons::STAR)}
                    {strings::FAVORITE}
                </button>
                <Delete/>
            </div>
        </Show>
    }
}

/// Asks once more: what is forgotten is gone from the disk too.
#[component]
fn Delete() -> impl IntoView {
    let app = App::get();
    let asked = RwSignal::new(None::<JobId>);
    let is_asked = Memo::new(move |_| {
        asked.with(|asked| asked.is_some() && app.job.with(|job| job.as_ref().map(|job| &job.id) == asked.as_ref()))
    });
    let click = move |_| {
        if is_asked.get_untracked() {
            on_job(app, |session, job| session.delete(job));
        } else {
            asked.set(app.job.with_untracked(|job| job.as_ref().map(|job| job.id.clone())));
        }
    };
    view! {
        <button
            type="button"
            id="delete"
            class:danger=is_asked
            on:click=click
            on:blur=move |_| asked.set(None)
        >
            {icon(icons::BIN)}
            {move || if is_asked.get() { strings::DELETE_NOW } else { strings::DELETE }}
        </button>
    }
}

fn on_job(app: App, act: impl FnOnce(&mut Session, &JobId)) {
    if let Some(shown) = app.shown.get_untracked() {
        app.driver.act(|session| act(session, &shown.job));
    }
}

/// What the picture was made of, and what the worker understood differently.
#[component]
fn Facts() -> impl IntoView {
    let app = App::get();
    let facts = Memo::new(move |_| app.job.with(|job| job.as_ref().map(|job| facts(app, job)).unwrap_or_default()));
    let warnings = Memo::new(move |_| app.job.with(|job| job.as_ref().map(|j| j.warnings.clone()).unwrap_or_default()));
    let prompt = move || app.job.with(|job| job.as_ref().and_then(|job| job.request.prompt.clone()));
    view! {
        <p class="caption">{prompt}</p>
        <dl class="facts">
            {move || facts.get().into_iter().map(|(name, value)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> }).collect_view()}
        </dl>
        <ul class="warnings">
            {move || warnings.get().into_iter().map(|warning| view! { <li>{warning}</li> }).collect_view()}
        </ul>
    }
}

fn facts(app: App, job: &Job) -> Vec<(&'static str, String)> {
    let request = &job.request;
    let label = |name: &String| {
        app.session.with_untracked(|session| {
            let schedulers = &session.worker()?.catalogue.schedulers;
            Some(schedulers.iter().find(|entry| &entry.name == name)?.label.clone())
        })
    };
    let seed = shown_image(app).map(|image| image.seed).or(request.seed);
    let size = request.width.zip(request.height);
    let steps = if job.progress.steps > 0 { Some(job.progress.steps) } else { request.steps };
    [
        (strings::SIZE, size.map(|(width, height)| strings::size(width, height))),
        (strings::label(Field::Steps), steps.map(|steps| steps.to_string())),
        (strings::label(Field::GuidanceScale), request.guidance_scale.map(decimal::write)),
        (strings::label(Field::Scheduler), request.scheduler.as_ref().and_then(label)),
        (strings::label(Field::Seed), seed.map(|seed| seed.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// The finished picture that is selected; only jobs that succeeded show one.
fn shown_image(app: App) -> Option<ImageView> {
    let index = app.shown.with(|shown| shown.as_ref().map(|shown| shown.index))?;
    app.job.with(|job| {
        let job = job.as_ref().filter(|job| job.state() == Some(JobState::Succeeded))?;
        job.image(index).cloned()
    })
}

/// Width and height of what is shown, or of what the form would draw.
fn size(app: App) -> (u32, u32) {
    let of_job = app.job.with(|job| job.as_ref().and_then(|job| job.request.width.zip(job.request.height)));
    let of_model = || app.model.with(|model| model.as_ref().map(|model| (model.defaults.width, model.defaults.height)));
    of_job.or_else(of_model).filter(|(width, height)| *width > 0 && *height > 0).unwrap_or((1, 1))
}
