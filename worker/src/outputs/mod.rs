//! Pictures that clients get: from pixels to a file, which of a finished picture says how it was made.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@encode`] | pixels → PNG, JPEG or WebP with parameters inside; previews without |
//! | [`mod@thumbnail`] | files → small JPEGs for lists |
//! | [`parameters`] | the parameters of a picture: as A1111 writes them, and as a request |
//!
//! # Invariants
//! * The same request with the same seed makes the same bytes, whoever asks, over which transport, with whatever
//!   previews.

pub mod encode;
pub mod parameters;
pub mod thumbnail;

pub use encode::{EncodeError, encode, encode_preview};
pub use parameters::Parameters;
pub use thumbnail::{ThumbnailError, thumbnail};

#[cfg(test)]
mod tests;
