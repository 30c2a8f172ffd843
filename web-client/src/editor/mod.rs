//! The picture that a job starts from, and what is painted over it: without pixels of its own, a pointer or a page.
//!
//! | file | what it holds |
//! |---|---|
//! | [`document`] | [`Document`]: edits that can be undone, the mask and the frame that follow from them |
//! | [`mask`] | [`Mask`]: where the picture is drawn anew, and the brush that says so |
//! | [`frame`] | [`Frame`]: which part of the picture a job sees, and how far it grows beyond |
//! | `kept` | edits as text, for the next visit |
//! | [`job`] | what a request says of all this |
//! | [`parameters`] | what a PNG says of how it was made |
//!
//! # Invariants
//! * Pure: a document is its edits. The same edits give the same mask, so that only they are kept for the next visit.
//! * The mask has the pixels of the picture, whatever a screen makes of them.
//! * Softness is the worker's: a mask has edges one pixel wide, and `mask_blur` feathers them.

pub mod document;
pub mod frame;
pub mod job;
mod kept;
pub mod mask;
pub mod parameters;

#[cfg(test)]
mod tests;

pub use document::{Document, Edit, Stroke};
pub use frame::{Frame, Handle, Rect};
pub use mask::{Ink, Mask, Point};
pub use parameters::Imported;
