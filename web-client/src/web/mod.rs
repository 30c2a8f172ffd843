//! The browser: the only code that names `web_sys` or `js_sys`.
//!
//! | file | what it holds |
//! |---|---|
//! | [`canvas`] | [`canvas::Surface`]: a canvas that shows preview frames, on the GPU or without one |
//! | [`gpu`] | its WebGPU half: device, surface, what draws into it |
//! | [`decoding`] | a TAESD-type decoder on that device, and when it draws |
//! | [`flat`] | its 2D half: the oracle and `putImageData` |
//! | [`preview_canvas`] | the same for JavaScript: the exported class `PreviewCanvas` |
//! | [`driver`] | a [`Session`](crate::session::Session) with a real socket, clock and storage |
//! | [`socket`] | one WebSocket as callbacks |
//! | [`fetch`] | what the worker has under an address |
//! | [`uploads`] | pictures on their way to the worker |
//! | [`files`] | files that people pick, drop or paste |
//! | [`picture`] | such a file as pixels: shown, cut, written as PNG |
//! | [`pointer`] | mouse, pen and finger on an element |
//! | [`pictures`] | addresses that an `<img>` can load, also where the worker asks for a token |
//! | [`tokens`] | how a prompt falls into tokens, asked of the worker |
//! | [`text`] | text areas: what is selected, and edits that their undo takes back |
//! | [`storage`] | what is kept in the browser between visits |
//! | [`page`] | address, query, random numbers, the size of the screen, what has the focus |
//! | [`errors`] | panics and faults, told in the console |
//!
//! # Invariants
//! * Nothing here decides anything about jobs; `session` does. Nothing here draws the page; `app` does.
//! * Storage that is full, forbidden or foreign is no error: the page then starts afresh.

pub(crate) mod canvas;
pub(crate) mod decoding;
pub(crate) mod driver;
pub(crate) mod errors;
pub(crate) mod fetch;
pub(crate) mod files;
mod flat;
pub(crate) mod gpu;
pub(crate) mod page;
pub(crate) mod picture;
pub(crate) mod pictures;
pub(crate) mod pointer;
mod preview_canvas;
mod socket;
pub(crate) mod storage;
pub(crate) mod text;
pub(crate) mod tokens;
pub(crate) mod uploads;

pub use preview_canvas::PreviewCanvas;
