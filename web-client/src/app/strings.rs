//! Every English word of the page, in the order in which it is met.

use std::fmt::Write as _;

use sd_protocol::{ImageFormat, ImageView, TokensView};

use super::editor::Sight;
use crate::session::{Expected, Field, Shape};
use crate::web::page;

pub(super) const TITLE: &str = "Stable Diffusion";
pub(super) const SKIP_TO_PICTURE: &str = "Skip to the picture";

pub(super) const CONNECTING: &str = "Connecting";
pub(super) const CONNECTED: &str = "Connected";
pub(super) const LOCKED: &str = "Locked";
pub(super) const RECONNECTING: &str = "Reconnecting";

pub(super) const SHORTCUTS: &str = "Keyboard shortcuts";
pub(super) const SHORTCUT_LIST: [(&str, &str); 7] = [
    ("Ctrl + Enter", "Draw"),
    ("Esc", "Cancel what is being drawn"),
    ("Ctrl + ↑", "More weight for the selection or the word at the cursor"),
    ("Ctrl + ↓", "Less weight for it"),
    ("Ctrl + Z", "Undo in a text, or the last change of the form"),
    ("Tab", "To the next field"),
    ("?", "This list"),
];

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
pub(super) const CHUNKS: &str = "What falls in which";
pub(super) const SWEPT: &str = "Several settings changed.";
pub(super) const UNDO: &str = "Undo";
pub(super) const SETTINGS: &str = "Settings";
pub(super) const SIZE: &str = "Size";
pub(super) const SWAP: &str = "Swap width and height";
pub(super) const SEED_PLACEHOLDER: &str = "Random";
pub(super) const SEED_RANDOM: &str = "Random seed for every picture";
pub(super) const SEED_LOCK: &str = "Keep the seed of the picture that is shown";
pub(super) const LORAS: &str = "LoRAs";
pub(super) const LORA_TO_ADD: &str = "LoRA to add";
pub(super) const ADD: &str = "Add";
pub(super) const EMBEDDINGS: &str = "Embeddings";
pub(super) const NO_REFINER: &str = "None";
pub(super) const ADVANCED: &str = "Advanced";
pub(super) const RESET: &str = "Back to the model's defaults";

pub(super) const PICTURE: &str = "Picture";
pub(super) const EMPTY_TITLE: &str = "What should it draw?";
pub(super) const EMPTY_TEXT: &str = "Write a prompt, or start from one of these.";
pub(super) const EMPTY_TEXT_NO_EXAMPLES: &str = "Write a prompt and watch the picture appear.";
pub(super) const PREVIEW: &str = "Preview of the picture being drawn";
pub(super) const PROGRESS: &str = "Progress of the picture";
pub(super) const DOWNLOAD: &str = "Download";
pub(super) const USE_SETTINGS: &str = "Use these settings";
pub(super) const COPY: &str = "Copy";
pub(super) const COPIED: &str = "Copied";
pub(super) const FAVORITE: &str = "Favourite";
pub(super) const DELETE: &str = "Delete";
pub(super) const DELETE_NOW: &str = "Delete for good";
pub(super) const BATCH: &str = "Pictures of this batch";

pub(super) const LIVE: &str = "Live";
pub(super) const LIVE_TITLE: &str = "Draw anew with every change";

pub(super) const QUEUE: &str = "Queue";
pub(super) const EARLIER: &str = "Draw earlier";
pub(super) const LATER: &str = "Draw later";

pub(super) const GALLERY: &str = "Pictures";
pub(super) const SEARCH: &str = "Search in prompts";
pub(super) const FAVORITES: &str = "Favourites";
pub(super) const NOTHING_FOUND: &str = "No picture is like that. Try other words, or fewer.";
pub(super) const MORE: &str = "Show more";

pub(super) const PREVIEW_WEBGPU: &str = "Previews are decoded on your GPU.";
pub(super) const PREVIEW_CANVAS2D: &str =
    "Previews are a little coarse: this browser offers no WebGPU. Current Chrome, Edge, Firefox and Safari have it.";

pub(super) const STATUS_CONNECTING: &str = "Connecting to the worker …";
pub(super) const STATUS_RECONNECTING: &str = "The connection is lost and being repaired. The worker goes on drawing.";
pub(super) const STATUS_LOCKED: &str = "The worker asks for a token.";
pub(super) const STATUS_LOADING: &str = "The worker is loading its model. You can ask for a picture already.";
pub(super) const STATUS_READY: &str = "Ready.";
pub(super) const STATUS_SENDING_PICTURE: &str = "Sending the picture to the worker …";
pub(super) const STATUS_SENDING: &str = "Sending …";
pub(super) const STATUS_QUEUED_LOADING: &str = "Waiting for the worker to load its model …";
pub(super) const STATUS_NEXT: &str = "Next in line …";
pub(super) const STATUS_PREPARING: &str = "Reading the prompt …";
pub(super) const STATUS_DRAWING: &str = "Drawing …";
pub(super) const STATUS_FINISHING: &str = "Finishing the picture …";
pub(super) const STATUS_CANCELED: &str = "Canceled. The form is as you left it.";
pub(super) const STATUS_SUPERSEDED: &str = "A newer picture took its place.";
pub(super) const STATUS_REFUSED: &str = "The worker cannot draw this as it is: see the notes below the prompt.";
pub(super) const STATUS_LOST: &str = "The worker no longer knows this picture. Draw it again.";

pub(super) const IMAGE: &str = "Start from a picture";
pub(super) const PICK: &str = "Choose a picture";
pub(super) const PICK_ANOTHER: &str = "Another picture";
pub(super) const PICK_HINT: &str = "Or drop one anywhere, or paste it.";
pub(super) const REMOVE: &str = "Remove";
pub(super) const NO_PICTURE: &str = "This file could not be read as a picture. Take a PNG, JPEG or WebP.";
pub(super) const NOT_SENT_LOST: &str = "The worker did not answer.";
pub(super) const OFFER: &str = "This file says how it was made.";
pub(super) const OFFER_SETTINGS: &str = "Use its settings";
pub(super) const OFFER_AGAIN: &str = "Draw it again without the picture";
pub(super) const AREAS: [(&str, &str); 2] = [("whole", "The whole picture"), ("masked", "The masked part, closer")];
pub(super) const FILLS: [(&str, &str); 3] = [("original", "What is there"), ("noise", "Noise"), ("blank", "Nothing")];
pub(super) const SIGHT: &str = "What the stage shows";
pub(super) const SURFACE: &str = "Mask of the picture: B brush, E eraser, C crop and grow, X invert, [ and ] size";
pub(super) const INPUT: &str = "The picture to start from";
pub(super) const TOOLS: &str = "Tools of the mask";
pub(super) const BRUSH: &str = "Brush: what you paint is drawn anew (B)";
pub(super) const ERASER: &str = "Eraser: what you rub out stays (E)";
pub(super) const FRAME: &str = "Crop and grow (C)";
pub(super) const MASK_UNDO: &str = "Undo (Ctrl + Z)";
pub(super) const MASK_REDO: &str = "Redo (Ctrl + Shift + Z)";
pub(super) const INVERT: &str = "Invert the mask (X)";
pub(super) const MASK_ALL: &str = "Mask everything";
pub(super) const MASK_CLEAR: &str = "Clear the mask";
pub(super) const BRUSH_SIZE: &str = "Brush size";
pub(super) const SIDES: &str = "px that each side grows, or loses below 0";
pub(super) const SIDE_NAMES: [&str; 4] = ["Left", "Top", "Right", "Bottom"];
pub(super) const RECTANGLE: &str = "Rectangle by numbers";
pub(super) const RECTANGLE_NAMES: [&str; 4] = ["From left", "From top", "Width", "Height"];
pub(super) const RECTANGLE_MASK: &str = "Mask it";
pub(super) const RECTANGLE_KEEP: &str = "Keep it";
pub(super) const BEFORE: &str = "The picture before";
pub(super) const COMPARE: &str = "Before and after";
pub(super) const USE_AS_INPUT: &str = "Use as input";

pub(super) fn not_sent(reason: &str) -> String {
    format!("The picture did not reach the worker. {reason} Your mask is kept: draw again.")
}

pub(super) fn masked(percent: u32, grows: bool) -> String {
    match percent {
        0 if grows => "Nothing is masked: only what the picture grows by is drawn.".to_owned(),
        0 => "Nothing is masked: all of the picture changes, as much as the strength says.".to_owned(),
        _ => format!("{percent} % of the picture is masked and drawn anew; the rest stays."),
    }
}

pub(super) fn sight(sight: Sight) -> &'static str {
    match sight {
        Sight::Input => "Input",
        Sight::Both => "Both",
        Sight::Result => "Result",
    }
}

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
        Field::Refiner => "Refiner",
        Field::SwitchAt => "Refiner takes over at",
        Field::ClipSkip => "CLIP skip",
        Field::GuidanceRescale => "Guidance rescale",
        Field::OutputFormat => "File format",
        Field::OutputQuality => "JPEG quality",
        Field::LoraWeight(_) => "LoRA",
        Field::Strength => "Strength",
        Field::MaskBlur => "Feather",
        Field::InpaintArea => "Draws",
        Field::InpaintFill => "Starts from",
    }
}

/// What is wrong with a field, read after its label.
pub(super) fn expected(expected: Expected) -> String {
    match expected {
        Expected::WholeNumber => "should be a whole number".to_owned(),
        Expected::Number => "should be a number".to_owned(),
        Expected::Within(low, high) => format!("should be {low} to {high}"),
    }
}

pub(super) fn shape(shape: Shape) -> &'static str {
    match shape {
        Shape::Tall => "Tall, 2:3",
        Shape::Portrait => "Portrait, 3:4",
        Shape::Square => "Square, 1:1",
        Shape::Landscape => "Landscape, 4:3",
        Shape::Wide => "Wide, 3:2",
    }
}

pub(super) fn format(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Webp => "WebP, lossless",
    }
}

pub(super) fn remove(name: &str) -> String {
    format!("Remove {name}")
}

/// "61 of 75 tokens", or how many chunks there are.
pub(super) fn tokens(tokens: &TokensView) -> String {
    let count: u32 = tokens.chunks.iter().map(|chunk| chunk.tokens).sum();
    match tokens.chunks.len() {
        0 | 1 => format!("{count} of {} tokens", tokens.tokens_max),
        chunks => format!("{count} tokens in {chunks} chunks of {}", tokens.tokens_max),
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

/// Where a job stands in the queue; 0 is next.
pub(super) fn place(before: u32) -> String {
    match before {
        0 => "Next".to_owned(),
        _ => format!("{before} before it"),
    }
}

pub(super) fn step_of(step: u32, steps: u32) -> String {
    format!("Step {step} of {steps}")
}

/// What a button of the queue does, and to which picture.
pub(super) fn about(action: &str, prompt: &str) -> String {
    format!("{action}: {prompt}")
}

pub(super) fn picture_of_batch(number: u16) -> String {
    format!("Picture {number}")
}

/// How far the screen is behind the page.
pub(super) fn behind(changes: u64) -> String {
    match changes {
        0 => "Up to date".to_owned(),
        1 => "1 change behind".to_owned(),
        _ => format!("{changes} changes behind"),
    }
}

pub(super) fn failed(reason: &str) -> String {
    format!("This picture could not be drawn. {reason}")
}

pub(super) fn done(seconds: f64) -> String {
    format!("Drawn in {}.", duration(seconds))
}

pub(super) fn steps(step: u32, steps: u32, eta_ms: Option<u64>) -> String {
    let mut text = step_of(step, steps);
    if let Some(eta_ms) = eta_ms.filter(|_| step < steps) {
        // Rounded up, so that it never says that nothing is left while something is.
        let seconds = eta_ms.div_ceil(1000);
        let left = if seconds < 90 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) };
        write!(text, " · {left} left").expect("writing to a String cannot fail");
    }
    text
}

pub(super) fn duration(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u32;
    let whole = seconds.round() as u32;
    match seconds {
        s if s < 10.0 => format!("{}.{} s", tenths / 10, tenths % 10),
        s if s < 90.0 => format!("{whole} s"),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
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
pub(super) fn file_name(prompt: &str, image: &ImageView) -> String {
    let words: Vec<_> = prompt
        // Letters beyond ASCII need tables to be told from signs, and both are allowed in names of files.
        .split(|letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(6)
        .map(page::lowercase)
        .collect();
    let words = if words.is_empty() { "picture".to_owned() } else { words.join("-") };
    format!("{words}-{}.{}", image.seed, image.format.extension())
}
