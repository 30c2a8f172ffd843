//! The browser client of the Stable Diffusion worker.
//!
//! | folder | what it holds |
//! |---|---|
//! | [`session`] | the conversation with a worker as a pure state machine: frames in, commands out |
//! | [`preview`] | how a preview latent becomes pixels: the shader and its twin in plain Rust |
//! | `app` | the page: Leptos views over a session |
//! | `web` | the browser: sockets, storage, canvases; the exported class `PreviewCanvas` |
//!
//! JavaScript finds two names in the module: `start()`, which puts the page into the document, and
//! `PreviewCanvas`, which shows preview frames on a canvas of another page.
//!
//! # Invariants
//! * `session` and `preview` are plain Rust, tested natively; `app` and `web` exist only in the browser build.
//! * Only `web` names the browser. `app` asks `web` and Leptos; `session` and `preview` ask nobody.
//! * Loading the module does nothing; `start` does.

pub mod preview;
pub mod session;

#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use app::start;
#[cfg(target_arch = "wasm32")]
pub use web::PreviewCanvas;
