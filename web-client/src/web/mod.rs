//! The browser: the only code that names `web_sys` or `js_sys`.
//!
//! | file | what it holds |
//! |---|---|
//! | [`canvas`] | [`canvas::Surface`]: a canvas that shows preview frames, on the GPU or without one |
//! | [`gpu`] | its WebGPU half: device, surface, what draws into it |
//! | [`decoding`] | a TAESD-type decoder on that device, and when it draws |
//! | [`flat`] | its 2D half: the oracle and `putImageData` |
//! | [`screen`] | the same for JavaScript: the exported class `Screen` |
//! | [`host`] | what every [`Session`](crate::session::Session) does with its socket and its clock |
//! | [`driver`] | the page's, with signals and storage |
//! | [`embedded`] | one for JavaScript: the exported class `Core` |
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
//! | [`page`] | address, query, the size of the screen, what has the focus |
//! | [`window`] | its clock, random numbers, waiting |
//! | [`errors`] | panics and faults, told in the console |
//!
//! # Invariants
//! * Nothing here decides anything about jobs; `session` does. Nothing here draws the page; `app` does.
//! * Storage that is full, forbidden or foreign is no error: the page then starts afresh.

pub(crate) mod canvas;
pub(crate) mod decoding;
#[cfg(feature = "page")]
pub(crate) mod driver;
#[cfg(feature = "package")]
mod embedded;
pub(crate) mod errors;
#[cfg(feature = "page")]
pub(crate) mod fetch;
#[cfg(feature = "page")]
pub(crate) mod files;
mod flat;
pub(crate) mod gpu;
mod host;
#[cfg(feature = "page")]
pub(crate) mod page;
#[cfg(feature = "page")]
pub(crate) mod picture;
#[cfg(feature = "page")]
pub(crate) mod pictures;
#[cfg(feature = "page")]
pub(crate) mod pointer;
#[cfg(feature = "package")]
mod screen;
mod socket;
#[cfg(feature = "page")]
pub(crate) mod storage;
#[cfg(feature = "page")]
pub(crate) mod text;
#[cfg(feature = "page")]
pub(crate) mod tokens;
#[cfg(feature = "page")]
pub(crate) mod uploads;
pub(crate) mod window;

#[cfg(feature = "package")]
pub use embedded::Core;
#[cfg(feature = "package")]
pub use screen::Screen;
