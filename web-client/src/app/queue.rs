//! What is drawn and what waits, of this page and of others.

use leptos::prelude::*;
use sd_protocol::{JobId, JobState};

use super::icons::{self, icon};
use super::parts::{memo, pictures};
use super::{App, strings};
use crate::session::{Job, Move, Selection, Session};

/// What a line says.
#[derive(Clone, Default, PartialEq)]
struct Line {
    state: &'static str,
    prompt: String,
    place: String,
    /// Share of the steps that are done, in percent.
    percent: u32,
    can_move: bool,
}

/// The queue, while there is one.
#[component]
pub(super) fn Queue() -> impl IntoView {
    let app = App::get();
    // Each by the first of its pictures.
    let first = |job: &&Job| Selection { job: job.id.clone(), index: 0 };
    let jobs = memo(move || app.session.read().queue().iter().map(first).collect::<Vec<_>>());
    view! {
        <section class="queue" aria-labelledby="queue-title" hidden=Signal::derive(move || jobs.read().is_empty())>
            <h2 id="queue-title">{strings::QUEUE}</h2>
            <ol id="queue">
                {pictures(move || jobs.get(), move |first| line_view(app, first))}
            </ol>
        </section>
    }
}

fn line_view(app: App, selection: Selection) -> AnyView {
    let job = selection.job.clone();
    let here = job.clone();
    let line = memo(move || app.session.read().job(&here).map(line).unwrap_or_default());
    let here = job.clone();
    let is_shown = move || app.shown.read().as_ref().is_some_and(|shown| shown.job == here).to_string();
    let button = |name: &'static str, path: &'static str, act: fn(&mut Session, &JobId)| {
        let job = job.clone();
        let label = move || strings::about(name, &line.read().prompt);
        let is_off = move || name != strings::CANCEL && !line.read().can_move;
        view! {
            <button type="button" class="small" title=name aria-label=label disabled=is_off
                on:click=move |_| app.driver.act(|session| act(session, &job))
            >
                {icon(path)}
            </button>
        }
        .into_any()
    };
    let buttons = [
        button(strings::EARLIER, icons::UP, |session, job| session.reorder(job, Move::Earlier)),
        button(strings::LATER, icons::DOWN, |session, job| session.reorder(job, Move::Later)),
        button(strings::CANCEL, icons::CROSS, |session, job| session.cancel(job)),
    ];
    view! {
        <li
            data-job-id=job.to_string()
            data-state=Signal::derive(move || line.read().state)
            style=("--percent", Signal::derive(move || line.read().percent.to_string() + "%"))
        >
            <button
                type="button"
                class="line"
                aria-pressed=is_shown
                on:click=move |_| app.driver.act(|session| session.select(selection.clone()))
            >
                <span class="what">{Signal::derive(move || line.read().prompt.clone())}</span>
                <span class="place">{Signal::derive(move || line.read().place.clone())}</span>
            </button>
            {buttons.into_iter().collect_view()}
        </li>
    }
    .into_any()
}

fn line(job: &Job) -> Line {
    let place = match job.state() {
        Some(JobState::Running) => strings::step_of(job.progress.step, job.progress.steps),
        Some(_) => strings::place(job.queue_position),
        None => strings::STATUS_SENDING.to_owned(),
    };
    Line {
        state: job.state().map_or("", JobState::as_str),
        prompt: job.request.prompt.clone().unwrap_or_default(),
        place,
        percent: job.progress.step * 100 / job.progress.steps.max(1),
        can_move: job.state() == Some(JobState::Queued),
    }
}
