//! Every picture of a batch, while they are drawn and after.

use leptos::html::Canvas;
use leptos::prelude::*;

use super::parts::{effect, memo};
use super::{App, parts, strings};
use crate::session::{Job, Selection};
use crate::web::canvas::Surface;
use crate::web::errors;

/// One tile per picture of the job that is shown, where there are several.
#[component]
pub(super) fn Batch() -> impl IntoView {
    let app = App::get();
    let pictures = memo(move || app.job.read().as_ref().map(pictures).unwrap_or_default());
    view! {
        <ul id="batch" class="tiles batch" hidden=Signal::derive(move || pictures.read().is_empty()) aria-label=strings::BATCH>
            {parts::pictures(move || pictures.get(), move |selection| tile(app, selection))}
        </ul>
    }
}

fn pictures(job: &Job) -> Vec<Selection> {
    let count = job.request.batch_size.unwrap_or(1) as u16;
    (0..count).filter(|_| count > 1).map(|index| Selection { job: job.id.clone(), index }).collect()
}

/// The finished picture over its newest preview. A tile is small enough for the linear map on the processor, and leaves
/// the GPU to the picture on the stage.
fn tile(app: App, selection: Selection) -> AnyView {
    let canvas = NodeRef::<Canvas>::new();
    let surface = StoredValue::new_local(None::<Surface>);
    let here = selection.clone();
    effect(move || {
        app.driver.preview().track();
        let Some(canvas) = canvas.get() else { return };
        if surface.with_value(Option::is_none) {
            match Surface::flat(canvas) {
                Ok(opened) => surface.set_value(Some(opened)),
                Err(fault) => errors::warn(&fault),
            }
        }
        let session = app.session.read_untracked();
        let basis = session.job(&here.job).and_then(|job| job.basis.as_ref());
        if let (Some(preview), Some(basis)) = (session.preview(&here), basis) {
            let drawn = surface.try_update_value(|surface| surface.as_mut().map(|s| s.draw(&preview.frame, basis)));
            if let Some(Some(Err(fault))) = drawn {
                errors::warn(&fault);
            }
        }
    });
    let here = selection.clone();
    let url = memo(move || app.session.read().job(&here.job)?.thumbnail(here.index));
    let label = strings::picture_of_batch(selection.index + 1);
    let live = view! { <canvas width="1" height="1" node_ref=canvas aria-hidden="true"></canvas> };
    let label = Signal::derive(move || label.clone());
    parts::tile(selection, label, Signal::derive(|| false), url.into(), Some(live.into_any()))
}
