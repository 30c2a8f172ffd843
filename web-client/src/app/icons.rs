//! Line icons on a 24 × 24 grid; each stands beside a label or on a button that has one.

use leptos::prelude::*;

pub(super) const DICE: &str = "M5 3h14a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM8 8h.01M16 8h.01M12 12h.01M8 16h.01M16 16h.01";
pub(super) const REUSE: &str = "M3 12a9 9 0 0 1 15.3-6.4L21 8M21 3v5h-5M21 12a9 9 0 0 1-15.3 6.4L3 16M3 21v-5h5";
pub(super) const DOWNLOAD: &str = "M12 4v11M7 11l5 5 5-5M5 20h14";
pub(super) const SLIDERS: &str = "M4 7h10M18 7h2M4 17h2M10 17h10M16 4.5v5M8 14.5v5";
pub(super) const CROSS: &str = "M6 6l12 12M18 6L6 18";

/// One of the icons above, silent to screen readers.
pub(super) fn icon(path: &'static str) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
            <path d=path/>
        </svg>
    }
}
