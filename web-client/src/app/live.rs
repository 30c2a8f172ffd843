//! Drawing while things change: a switch, and how far the screen is behind.

use leptos::prelude::*;
use sd_protocol::{JobRequest, Supersede};

use super::editor::Sight;
use super::icons;
use super::parts::{command, effect, memo};
use super::{App, strings};
use crate::session::{Field, Live};
use crate::web::window;

/// What the switch and its timer share.
#[derive(Clone, Copy)]
struct Mode {
    app: App,
    is_on: RwSignal<bool>,
    live: RwSignal<Live>,
    is_waiting: StoredValue<bool>,
    lane: StoredValue<String>,
}

impl Mode {
    /// Draws the newest state once nothing has changed for a moment.
    fn wait(self) {
        let wait_ms = self.live.try_with_untracked(|live| live.wait_ms(window::now_ms())).flatten();
        self.is_waiting.try_set_value(wait_ms.is_some_and(|wait_ms| wait_ms > 0.0));
        match wait_ms {
            Some(wait_ms) if wait_ms > 0.0 => window::after(wait_ms.ceil() as u32, move || self.wait()),
            Some(_) if self.is_on.get_untracked() => self.draw(),
            _ => {}
        }
    }

    fn draw(self) {
        let lane = self.lane.get_value();
        self.app.submit_as(
            move |request| JobRequest { lane: Some(lane), supersede: Some(Supersede::Running), ..request },
            move |job| self.live.update(|live| live.sent(job)),
        );
    }
}

/// The switch beside the button that draws.
#[component]
pub(super) fn LiveMode() -> impl IntoView {
    let app = App::get();
    let mode = Mode {
        app,
        is_on: RwSignal::new(false),
        live: RwSignal::new(Live::default()),
        is_waiting: StoredValue::new(false),
        lane: StoredValue::new(window::new_job_id().to_string()),
    };
    // Drawing rounds the form, which tells of itself whether or not anything is another now.
    let newest = memo(move || (app.draft.get(), app.editor.revision.get()));
    effect(move || {
        // Nothing to draw yet.
        let is_empty = newest.read().0.get(Field::Prompt).trim().is_empty();
        if mode.is_on.get() && !is_empty {
            mode.live.update(|live| live.changed(window::now_ms()));
            if !mode.is_waiting.get_value() {
                mode.wait();
            }
        }
    });
    // Whoever paints sees what comes of it.
    effect(move || {
        app.editor.track_picture();
        if mode.is_on.get() && app.editor.sight.get_untracked() == Sight::Input {
            app.editor.sight.set(Sight::Both);
        }
    });
    effect(move || {
        if let Some(job) = app.job.read().as_ref().filter(|job| job.progress.step > 0 || !job.images.is_empty()) {
            mode.live.update(|live| live.drew(&job.id));
        }
    });
    let behind = memo(move || mode.is_on.get().then(|| mode.live.read().behind()));
    let turn = move |_| mode.is_on.update(|is_on| *is_on = !*is_on);
    view! {
        <span class="titled" title=strings::LIVE_TITLE>
            {command("live", icons::LIVE, strings::LIVE.into(), Some(mode.is_on.into()), turn)}
        </span>
        <p id="behind" class="behind" role="status" data-behind=Signal::derive(move || behind.get().map(|behind| behind.to_string()))>
            {Signal::derive(move || behind.get().map(strings::behind))}
        </p>
    }
}
