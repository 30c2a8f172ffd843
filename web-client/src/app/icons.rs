//! Line icons on a 24 × 24 grid; each stands beside a label or on a button that has one.

use leptos::prelude::*;

pub(super) const DICE: &str = "M5 3h14a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM8 8h.01M16 8h.01M12 12h.01M8 16h.01M16 16h.01";
pub(super) const LOCK: &str = "M5 11h14v10H5zM8 11V7a4 4 0 0 1 8 0v4";
pub(super) const SWAP: &str = "M4 8h15M15 4l4 4-4 4M20 16H5M9 12l-4 4 4 4";
pub(super) const DOWNLOAD: &str = "M12 4v11M7 11l5 5 5-5M5 20h14";
pub(super) const SLIDERS: &str = "M4 7h10M18 7h2M4 17h2M10 17h10M16 4.5v5M8 14.5v5";
pub(super) const STAR: &str = "M12 3.5l2.6 5.4 5.9.8-4.3 4.1 1 5.9L12 16.9l-5.2 2.8 1-5.9L3.5 9.7l5.9-.8z";
pub(super) const BIN: &str = "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5";
pub(super) const COPY: &str = "M9 9h11v11H9zM5 15H4V4h11v1";
pub(super) const UP: &str = "M12 19V5M6 11l6-6 6 6";
pub(super) const DOWN: &str = "M12 5v14M6 13l6 6 6-6";
pub(super) const LIVE: &str = "M13 3L5 14h6l-1 7 8-11h-6z";
pub(super) const CROSS: &str = "M6 6l12 12M18 6L6 18";
pub(super) const IMAGE: &str = "M4 4h16v16H4zM4 16l5-5 4 4 3-3 4 4M9 8.5h.01";
pub(super) const BRUSH: &str = "M20 4 9.5 14.5M9 14a3 3 0 0 0-3 3c0 1.5-1 2.5-2.5 3 4.5.8 8-.5 8-3.5";
pub(super) const ERASER: &str =
    "M9 20l-5-5a1.5 1.5 0 0 1 0-2L13 4a1.5 1.5 0 0 1 2 0l5 5a1.5 1.5 0 0 1 0 2l-9 9zM8 9l7 7M9 20h11";
pub(super) const FRAME: &str = "M7 2v15h15M2 7h15v15";
pub(super) const UNDO: &str = "M8 5L3 10l5 5M3 10h11a6 6 0 0 1 0 12h-3";
pub(super) const REDO: &str = "M16 5l5 5-5 5M21 10H10a6 6 0 0 0 0 12h3";
pub(super) const INVERT: &str = "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18M15 8v8M18 9.5v5";
pub(super) const FILL: &str = "M4 4h16v16H4zM4 12l8-8M4 20L20 4M12 20l8-8";

/// One of the icons above, silent to screen readers.
pub(super) fn icon(path: &'static str) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
            <path d=path/>
        </svg>
    }
}
