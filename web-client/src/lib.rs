//! The browser client of the Stable Diffusion worker.
//!
//! | folder | what it holds |
//! |---|---|
//! | [`session`] | the conversation with a worker as a pure state machine: frames in, commands out |
//! | [`decimal`] | numbers as people type them |
//! | [`editor`] | the picture that a job starts from, its mask and its frame |
//! | [`preview`] | how a preview latent becomes pixels: the shaders and their twins in plain Rust |
//! | `gpu` | the shaders on a GPU, through wgpu |
//! | `app` | the page: Leptos views over a session |
//! | `web` | the browser: sockets, storage, canvases; the exported classes |
//!
//! There are two builds for the browser. The feature `page` exports `start()`, which puts the page into the document. The
//! feature `package` exports `Core`, a session, and `Screen`, a canvas; `web-client/pkg/index.js` makes of them the
//! `Client` and the `PreviewCanvas` that pages of other people import.
//!
//! # Invariants
//! * `session`, `editor` and `preview` are plain Rust, tested natively; `app` and `web` exist only in the browser build,
//!   `gpu` in that and in the native tests.
//! * Only `web` names the browser. `app` asks `web` and Leptos; `gpu` asks `preview`; `session`, `editor` and `preview`
//!   ask nobody.
//! * Loading the module does nothing; `start` does.
//! * What every reader pays for is small: JSON becomes values by [`sd_protocol::read`], and numbers with a fraction
//!   become text, and text them, by [`decimal`] alone. Formatting or parsing one float elsewhere costs 10 KiB.

pub mod decimal;
pub mod editor;
pub mod preview;
pub mod session;

#[cfg(all(target_arch = "wasm32", feature = "page"))]
mod app;
#[cfg(any(test, target_arch = "wasm32"))]
mod gpu;
#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(all(target_arch = "wasm32", feature = "page"))]
pub use app::start;
#[cfg(all(target_arch = "wasm32", feature = "package"))]
pub use web::{Core, Screen};
