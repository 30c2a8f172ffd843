//! What is done with the bytes of strangers, as functions of bytes that must hold for any.
//!
//! | module | target | reads |
//! |---|---|---|
//! | [`frames`] | `binary_frames`, `text_frames` | what a socket brings |
//! | [`requests`] | `job_requests` | a job, through every check of the worker |
//! | [`texts`] | `prompts` | a prompt, down to chunks of tokens |
//! | [`weights`] | `safetensors_headers`, `lora_files` | files that an operator found somewhere |
//! | [`pixels`] | `pictures` | PNG, JPEG, WebP and GIF |
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer, which looks for bytes that take a path nobody took before.
//! What it found worth keeping lies in `seeds/TARGET`; a test runs every seed through its target.
//!
//! # Invariants
//! * A target panics when a promise of the code under it is broken, and only then.
//! * A target depends on its bytes alone, so that a finding is found again.

pub mod frames;
pub mod pixels;
pub mod requests;
pub mod texts;
pub mod weights;

pub use frames::{binary_frames, text_frames};
pub use pixels::pictures;
pub use requests::job_requests;
pub use texts::prompts;
pub use weights::{lora_files, safetensors_headers};

/// A target by name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; each has a file of its name in `fuzz_targets` and a folder of its name in `seeds`.
pub const TARGETS: &[Target] = &[
    ("binary_frames", binary_frames),
    ("job_requests", job_requests),
    ("lora_files", lora_files),
    ("pictures", pictures),
    ("prompts", prompts),
    ("safetensors_headers", safetensors_headers),
    ("text_frames", text_frames),
];
