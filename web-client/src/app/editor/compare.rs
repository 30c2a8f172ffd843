//! Before and after, over a finished picture.

use leptos::html::{Div, Img};
use leptos::prelude::*;
use sd_protocol::{JobState, OutpaintRequest};

use super::super::parts::{list, memo};
use super::super::{App, strings};
use crate::session::Job;
use crate::web::pointer;

/// What a picture was made of: the upload, and how far the job grew it.
#[derive(Clone, PartialEq)]
struct Before {
    image: String,
    outpaint: OutpaintRequest,
}

/// A slider over the picture: what lies before it is the picture that the job started from.
#[component]
pub(in crate::app) fn Compare() -> impl IntoView {
    let app = App::get();
    let before = memo(move || app.job.read().as_ref().and_then(before));
    let element = move |before: Before| {
        let copy = app.copy_of(&before.image);
        let is_here = copy.is_some();
        let url = ["/v1/uploads/", &before.image].concat();
        let fetched = app.source(move || (!is_here).then(|| url.clone()));
        let (frame, image) = (NodeRef::<Div>::new(), NodeRef::<Img>::new());
        let share = RwSignal::new(0);
        let arrived = RwSignal::new(false);
        let on_load = move |_| {
            let (Some(frame), Some(image)) = (frame.get_untracked(), image.get_untracked()) else { return };
            let OutpaintRequest { left, top, right, bottom } = before.outpaint;
            let (width, height) = (image.natural_width(), image.natural_height());
            let numbers = [
                ("--view-width", width + left + right),
                ("--view-height", height + top + bottom),
                ("--width", width),
                ("--height", height),
                ("--x", left),
                ("--y", top),
            ];
            pointer::set_numbers(&frame, &numbers.map(|(name, number)| (name, number as i32)));
            arrived.set(true);
        };
        view! {
            <div class="compare" class:arrived=arrived node_ref=frame style=("--share", Signal::derive(move || share.get().to_string()))>
                <div class="before" data-grown=(before.outpaint != OutpaintRequest::default()).to_string()>
                    <img id="before" alt=strings::BEFORE src=move || copy.clone().or_else(|| fetched.get()) node_ref=image on:load=on_load/>
                </div>
                <input
                    id="compare"
                    type="range"
                    min="0"
                    max="100"
                    aria-label=strings::COMPARE
                    title=strings::COMPARE
                    prop:value=Signal::derive(move || share.get().to_string())
                    on:input:target=move |event| share.set(event.target().value().parse().unwrap_or(0))
                />
            </div>
        }
        .into_any()
    };
    list(move || before.get().into_iter().map(element).collect())
}

fn before(job: &Job) -> Option<Before> {
    let image = job.request.image.clone().filter(|_| job.state() == Some(JobState::Succeeded))?;
    Some(Before { image, outpaint: job.request.outpaint.unwrap_or_default() })
}
