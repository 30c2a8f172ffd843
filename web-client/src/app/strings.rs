//! Every English word of the page, in the order in which it is met.

use std::fmt::Write as _;

use crate::session::{Expected, Field};
use crate::web::page;

pub(super) const TITLE: &str = "Stable Diffusion";
pub(super) const SKIP_TO_PICTURE: &str = "Skip to the picture";

pub(super) const CONNECTING: &str = "Connecting";
pub(super) const CONNECTED: &str = "Connected";
pub(super) const LOCKED: &str = "Locked";
pub(super) const RECONNECTING: &str = "Reconnecting";

pub(super) const UNLOCK_TITLE: &str = "This worker asks for a token";
pub(super) const UNLOCK_TEXT: &str = "Whoever runs the worker has one for you.";
pub(super) const UNLOCK_REFUSED: &str = "The worker does not know this token. Look at it again, or ask for another.";
pub(super) const TOKEN: &str = "Token";
pub(super) const KEEP_TOKEN: &str = "Keep it on this device";
pub(super) const UNLOCK: &str = "Open";

pub(super) const PROMPT_PLACEHOLDER: &str = "Describe the picture you have in mind";
pub(super) const NEGATIVE_PLACEHOLDER: &str = "What to keep out of it";
pub(super) const DRAW: &str = "Draw";
pub(super) const CANCEL: &str = "Cancel";
pub(super) const KEYS: &str = "Ctrl + Enter draws, Esc cancels";
pub(super) const SETTINGS: &str = "Settings";
pub(super) const SIZE: &str = "Size";
pub(super) const PORTRAIT: &str = "Portrait";
pub(super) const SQUARE: &str = "Square";
pub(super) const LANDSCAPE: &str = "Landscape";
pub(super) const SEED_PLACEHOLDER: &str = "Random";
pub(super) const SEED_RANDOM: &str = "Random seed for every picture";
pub(super) const SEED_REUSE: &str = "Reuse the last seed";
pub(super) const RESET: &str = "Back to the model's defaults";

pub(super) const PICTURE: &str = "Picture";
pub(super) const EMPTY_TITLE: &str = "What should it draw?";
pub(super) const EMPTY_TEXT: &str = "Write a prompt, or start from one of these.";
pub(super) const EMPTY_TEXT_NO_EXAMPLES: &str = "Write a prompt and watch the picture appear.";
pub(super) const PREVIEW: &str = "Preview of the picture being drawn";
pub(super) const PROGRESS: &str = "Progress of the picture";
pub(super) const DOWNLOAD: &str = "Download";
pub(super) const USE_SETTINGS: &str = "Use these settings";
pub(super) const GALLERY: &str = "Your pictures";

pub(super) const STATUS_CONNECTING: &str = "Connecting to the worker …";
pub(super) const STATUS_RECONNECTING: &str = "The connection is lost and being repaired. The worker goes on drawing.";
pub(super) const STATUS_LOCKED: &str = "The worker asks for a token.";
pub(super) const STATUS_LOADING: &str = "The worker is loading its model. You can ask for a picture already.";
pub(super) const STATUS_READY: &str = "Ready.";
pub(super) const STATUS_SENDING: &str = "Sending …";
pub(super) const STATUS_LOOKING: &str = "Looking for the picture of your last visit …";
pub(super) const STATUS_QUEUED_LOADING: &str = "Waiting for the worker to load its model …";
pub(super) const STATUS_NEXT: &str = "Next in line …";
pub(super) const STATUS_PREPARING: &str = "Reading the prompt …";
pub(super) const STATUS_DRAWING: &str = "Drawing …";
pub(super) const STATUS_FINISHING: &str = "Finishing the picture …";
pub(super) const STATUS_CANCELED: &str = "Canceled. The form is as you left it.";
pub(super) const STATUS_SUPERSEDED: &str = "A newer picture took its place.";
pub(super) const STATUS_REFUSED: &str = "The worker cannot draw this as it is: see the notes below the prompt.";
pub(super) const STATUS_LOST: &str = "The worker no longer knows this picture. Draw it again.";

pub(super) fn label(field: Field) -> &'static str {
    match field {
        Field::Prompt => "Prompt",
        Field::NegativePrompt => "Negative prompt",
        Field::Model => "Model",
        Field::Width => "Width",
        Field::Height => "Height",
        Field::Steps => "Steps",
        Field::GuidanceScale => "Guidance scale",
        Field::Scheduler => "Scheduler",
        Field::Sigmas => "Noise schedule",
        Field::Seed => "Seed",
        Field::BatchSize => "Pictures",
    }
}

/// What is wrong with a field, read after its label.
pub(super) fn expected(expected: Expected) -> &'static str {
    match expected {
        Expected::WholeNumber => "should be a whole number",
        Expected::Number => "should be a number",
    }
}

pub(super) fn no_worker(host: &str) -> String {
    format!("No worker answers at {host}. This page connects by itself as soon as one does.")
}

pub(super) fn loading(percent: u64) -> String {
    format!("Fetching the model: {percent} %.")
}

pub(super) fn waiting(before: u32) -> String {
    match before {
        1 => "Waiting: one picture before this one.".to_owned(),
        _ => format!("Waiting: {before} pictures before this one."),
    }
}

pub(super) fn failed(reason: &str) -> String {
    format!("This picture could not be drawn. {reason}")
}

pub(super) fn done(seconds: f64) -> String {
    format!("Drawn in {}.", duration(seconds))
}

pub(super) fn steps(step: u32, steps: u32, eta_ms: Option<u64>) -> String {
    let mut text = format!("Step {step} of {steps}");
    if let Some(eta_ms) = eta_ms.filter(|_| step < steps) {
        // Rounded up, so that it never says that nothing is left while something is.
        let seconds = eta_ms.div_ceil(1000);
        let left = if seconds < 90 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) };
        write!(text, " · {left} left").expect("writing to a String cannot fail");
    }
    text
}

pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 90.0 => format!("{s:.0} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

pub(super) fn size(width: u32, height: u32) -> String {
    format!("{width} × {height}")
}

pub(super) fn show_picture(prompt: &str, seed: Option<u64>) -> String {
    match seed {
        Some(seed) => format!("Show: {prompt}, seed {seed}"),
        None => format!("Show: {prompt}"),
    }
}

/// A file name that says what is in it.
pub(super) fn file_name(prompt: &str, seed: u64) -> String {
    let words: Vec<_> = prompt
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(6)
        .map(page::lowercase)
        .collect();
    format!("{}-{seed}.png", if words.is_empty() { "picture".to_owned() } else { words.join("-") })
}
