//! The picture that is shown, its progress and what can be done with it.

use leptos::prelude::*;
use leptos::task::spawn_local;
use sd_protocol::{ImageFormat, ImageView, JobId, JobState};

use super::batch::Batch;
use super::canvas::Live;
use super::editor::Sight;
use super::editor::compare::Compare;
use super::editor::surface::Surface;
use super::editor::tools::Tools;
use super::icons::{self, icon};
use super::parts::{Act, announced, chips, command, list, memo, when};
use super::{App, status, strings};
use crate::decimal;
use crate::session::{Field, Job, Session};
use crate::web::{errors, page, pictures};

/// The picture, its progress bar, the status line and the facts.
#[component]
pub(super) fn Stage() -> impl IntoView {
    let app = App::get();
    let job_id = Signal::derive(move || app.job.read().as_ref().map(|job| job.id.to_string()).unwrap_or_default());
    let state = Signal::derive(move || app.job.read().as_ref().and_then(Job::state).map_or("", JobState::as_str));
    let (input, result) = (memo(move || input_size(app)), memo(move || result_size(app)));
    let shown = memo(move || app.editor.shown());
    let size = memo(move || if shown.get() == Sight::Input { input.get() } else { result.get() });
    let sentence = memo(move || match app.editor.sending.get() > 0 {
        true => strings::STATUS_SENDING_PICTURE.to_owned(),
        false => status::sentence(&app.session.read(), &page::host()),
    });
    let frame = move |id: &'static str, size: Memo<(u32, u32)>, other: Sight, content: AnyView| {
        view! {
            <div id=id class="frame" style=("--ratio", ratio(size)) hidden=Signal::derive(move || shown.get() == other)>
                {content}
            </div>
        }
        .into_any()
    };
    let is_edited = move || shown.get() != Sight::Result;
    let result_frame = vec![
        view! { <Live/> }.into_any(),
        view! { <Picture/> }.into_any(),
        view! { <Compare/> }.into_any(),
        when(move || app.job.read().is_none(), move || empty(app)),
    ];
    view! {
        <section
            id="job"
            class="stage"
            tabindex="-1"
            aria-label=strings::PICTURE
            data-job-id=job_id
            data-state=state
            style=("--ratio", ratio(size))
            style=("--native", Signal::derive(move || size.get().0.to_string() + "px"))
        >
            {sights(app)}
            <div class="frames" data-shows=Signal::derive(move || shown.get().name())>
                {frame("input-frame", input, Sight::Result, when(is_edited, move || view! { <Surface/> }.into_any()))}
                {frame("result-frame", result, Sight::Input, result_frame.into_any())}
            </div>
            {when(is_edited, move || view! { <Tools/> }.into_any())}
            <Progress/>
            <Batch/>
            <div class="report">
                {announced("status", "", move || sentence.get())}
                <Remaining/>
                <Actions/>
            </div>
            <Facts/>
        </section>
    }
}

fn ratio(size: Memo<(u32, u32)>) -> Signal<String> {
    Signal::derive(move || decimal::write(f64::from(size.get().0) / f64::from(size.get().1)))
}

/// Whether the stage shows what the job starts from or what came of it; there is nothing to choose without a picture.
fn sights(app: App) -> AnyView {
    let button = move |sight: Sight| {
        let act: Act = Box::new(move |_| app.editor.sight.set(sight));
        let pressed = Signal::derive(move || (app.editor.shown() == sight).to_string());
        let id = ["see-", sight.name()].concat();
        view! { <button id=id type="button" aria-pressed=pressed on:click=act>{strings::sight(sight)}</button> }
            .into_any()
    };
    let buttons = move || {
        let buttons = Vec::from([Sight::Input, Sight::Both, Sight::Result].map(button));
        view! { <div class="segments sight" role="group" aria-label=strings::SIGHT>{buttons}</div> }.into_any()
    };
    when(move || app.editor.has_picture(), buttons)
}

/// The finished picture. It fades in over the last preview once it is decoded, so nothing flickers.
#[component]
fn Picture() -> impl IntoView {
    let app = App::get();
    let image = memo(move || shown_image(app));
    let element = move |image: ImageView| {
        let arrived = RwSignal::new(false);
        let source = app.source({
            let url = image.url.clone();
            move || Some(url.clone())
        });
        let alt = app.job.read_untracked().as_ref().and_then(|job| job.request.prompt.clone());
        view! {
            <img
                id="picture"
                src=Signal::derive(move || source.get())
                width=image.width
                height=image.height
                alt=alt
                decoding="async"
                class:arrived=arrived
                on:load=move |_| arrived.set(true)
            />
        }
        .into_any()
    };
    list(move || image.get().into_iter().map(element).collect())
}

/// What is there before the first picture: an invitation.
fn empty(app: App) -> AnyView {
    let examples = memo(move || app.model.read().as_ref().map(|m| m.examples.clone()).unwrap_or_default());
    let invitation =
        Signal::derive(
            move || if examples.read().is_empty() { strings::EMPTY_TEXT_NO_EXAMPLES } else { strings::EMPTY_TEXT },
        );
    view! {
        <div class="empty">
            <h2>{strings::EMPTY_TITLE}</h2>
            <p>{invitation}</p>
            {chips(examples, |app, example| app.set(Field::Prompt, example))}
        </div>
    }
    .into_any()
}

#[component]
fn Progress() -> impl IntoView {
    let app = App::get();
    let progress = memo(move || app.job.read().as_ref().map(|job| job.progress).unwrap_or_default());
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
            aria-valuenow=Signal::derive(move || progress.get().step.to_string())
            aria-valuemax=Signal::derive(move || progress.get().steps.to_string())
        >
            <span style=("--share", Signal::derive(move || decimal::write(share())))></span>
        </div>
    }
}

/// Step and remaining time; not in the live region, which would read out every step.
#[component]
fn Remaining() -> impl IntoView {
    let app = App::get();
    let text = Signal::derive(move || {
        let job = app.job.read();
        let job = job.as_ref().filter(|job| job.state() == Some(JobState::Running) && job.progress.steps > 0)?;
        Some(strings::steps(job.progress.step, job.progress.steps, job.progress.eta_ms))
    });
    view! { <p id="remaining" class="remaining">{text}</p> }
}

#[component]
fn Actions() -> impl IntoView {
    let app = App::get();
    let image = memo(move || shown_image(app));
    let request = move || app.job.read().as_ref().map(|job| job.request.clone()).unwrap_or_default();
    let source = app.source(move || image.get().map(|image| image.url));
    let name = move || image.get().map(|image| strings::file_name(&request().prompt.unwrap_or_default(), &image));
    let reuse = move |_| {
        let mut request = request();
        request.seed = image.get_untracked().map(|image| image.seed).or(request.seed);
        request.batch_size = Some(1);
        app.change(None, |draft| draft.fill(&request, true));
    };
    let start_from = move |_| image.get_untracked().into_iter().for_each(|image| app.put_result(image.url));
    let copied = RwSignal::new(None::<ImageView>);
    let copy = move |_| {
        let Some(image) = image.get_untracked() else { return };
        let token = app.session.read_untracked().token().cloned();
        spawn_local(async move {
            match pictures::copy(&image.url, token.as_ref()).await {
                Ok(()) => drop(copied.try_update(|copied| *copied = Some(image))),
                Err(fault) => errors::warn(&fault),
            }
        });
    };
    let copied = Signal::derive(move || match image.read().is_some() && *copied.read() == *image.read() {
        true => strings::COPIED,
        false => strings::COPY,
    });
    // A browser's clipboard takes PNGs alone.
    let can_copy = move || image.read().as_ref().is_some_and(|image| image.format == ImageFormat::Png);
    let is_favorite = Signal::derive(move || app.job.read().as_ref().is_some_and(|job| job.favorite));
    let favor =
        move |_| on_job(app, |session, job| session.favor(job, !session.job(job).is_some_and(|job| job.favorite)));
    let download = move || {
        view! {
            <a class="button" id="download" href=Signal::derive(move || source.get()) download=Signal::derive(name)>
                {icon(icons::DOWNLOAD)}
                {strings::DOWNLOAD}
            </a>
        }
        .into_any()
    };
    let actions = move || {
        let actions = vec![
            command("reuse", icons::SLIDERS, strings::USE_SETTINGS.into(), None, reuse),
            command("use-as-input", icons::IMAGE, strings::USE_AS_INPUT.into(), None, start_from),
            download(),
            when(can_copy, move || command("copy", icons::COPY, copied, None, copy)),
            command("favorite", icons::STAR, strings::FAVORITE.into(), Some(is_favorite), favor),
            view! { <Delete/> }.into_any(),
        ];
        view! { <div class="actions">{actions}</div> }.into_any()
    };
    when(move || image.read().is_some(), actions)
}

/// Asks once more: what is forgotten is gone from the disk too.
#[component]
fn Delete() -> impl IntoView {
    let app = App::get();
    let asked = RwSignal::new(None::<JobId>);
    let is_asked =
        memo(move || asked.read().is_some() && app.job.read().as_ref().map(|job| &job.id) == asked.read().as_ref());
    let click = move |_| {
        if is_asked.get_untracked() {
            on_job(app, |session, job| session.delete(job));
        } else {
            asked.set(app.job.read_untracked().as_ref().map(|job| job.id.clone()));
        }
    };
    let words = Signal::derive(move || if is_asked.get() { strings::DELETE_NOW } else { strings::DELETE });
    view! {
        <button
            type="button"
            id="delete"
            class:danger=is_asked
            on:click=click
            on:blur=move |_| asked.set(None)
        >
            {icon(icons::BIN)}
            {words}
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
    let facts = memo(move || app.job.read().as_ref().map(|job| facts(app, job)).unwrap_or_default());
    let warnings = memo(move || app.job.read().as_ref().map(|j| j.warnings.clone()).unwrap_or_default());
    let prompt = Signal::derive(move || app.job.read().as_ref().and_then(|job| job.request.prompt.clone()));
    let fact = |(name, value)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> }.into_any();
    view! {
        <p class="caption">{prompt}</p>
        <dl class="facts">
            {list(move || facts.get().into_iter().map(fact).collect())}
        </dl>
        <ul class="warnings">
            {list(move || warnings.get().into_iter().map(|warning| view! { <li>{warning}</li> }.into_any()).collect())}
        </ul>
    }
}

fn facts(app: App, job: &Job) -> Vec<(&'static str, String)> {
    let request = &job.request;
    let label = |name: &String| {
        let session = app.session.read_untracked();
        let schedulers = &session.worker()?.catalogue.schedulers;
        Some(schedulers.iter().find(|entry| &entry.name == name)?.label.clone())
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
    let index = app.shown.read().as_ref().map(|shown| shown.index)?;
    let job = app.job.read();
    job.as_ref().filter(|job| job.state() == Some(JobState::Succeeded))?.image(index).cloned()
}

/// Width and height of what the editor shows.
fn input_size(app: App) -> (u32, u32) {
    let view = app.editor.view();
    (view.width.max(1), view.height.max(1))
}

/// Width and height of the picture that is shown, or of what the form would draw.
fn result_size(app: App) -> (u32, u32) {
    let of_job = app.job.read().as_ref().and_then(|job| job.request.width.zip(job.request.height));
    let of_model = || app.model.read().as_ref().map(|model| (model.defaults.width, model.defaults.height));
    of_job.or_else(of_model).filter(|(width, height)| *width > 0 && *height > 0).unwrap_or((1, 1))
}
