//! What is drawn and what waits, of this page and of others.

use leptos::prelude::*;
use sd_protocol::{JobId, JobState};

use super::icons::{self, icon};
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
    let jobs = Memo::new(move |_| {
        app.session.with(|session| session.queue().iter().map(|job| job.id.clone()).collect::<Vec<_>>())
    });
    view! {
        <section class="queue" aria-labelledby="queue-title" hidden=move || jobs.with(Vec::is_empty)>
            <h2 id="queue-title">{strings::QUEUE}</h2>
            <ol id="queue">
                <For each=move || jobs.get() key=JobId::clone children=move |job| line_view(app, job)/>
            </ol>
        </section>
    }
}

fn line_view(app: App, job: JobId) -> AnyView {
    let here = job.clone();
    let line = Memo::new(move |_| app.session.with(|session| session.job(&here).map(line).unwrap_or_default()));
    let here = job.clone();
    let is_shown = move || app.shown.with(|shown| shown.as_ref().is_some_and(|shown| shown.job == here)).to_string();
    let selection = Selection { job: job.clone(), index: 0 };
    let button = |name: &'static str, path: &'static str, act: fn(&mut Session, &JobId)| {
        let job = job.clone();
        let label = move || line.with(|line| strings::about(name, &line.prompt));
        let is_off = move || name != strings::CANCEL && !line.with(|line| line.can_move);
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
            data-state=move || line.with(|line| line.state)
            style=("--percent", move || line.with(|line| line.percent.to_string() + "%"))
        >
            <button
                type="button"
                class="line"
                aria-pressed=is_shown
                on:click=move |_| app.driver.act(|session| session.select(selection.clone()))
            >
                <span class="what">{move || line.with(|line| line.prompt.clone())}</span>
                <span class="place">{move || line.with(|line| line.place.clone())}</span>
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
