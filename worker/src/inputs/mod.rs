//! Pictures that clients bring: from bytes to pixels at the size of a job.
//!
//! | module | what it holds |
//! |---|---|
//! | [`arrival`] | bytes on their way in, bounded for all clients together |
//! | [`decode`] | PNG, JPEG, WebP and GIF bytes → [`InputImage`]; what is refused |
//! | [`fit`] | to the size of the job, masks to inpainting plans; what the user is told about it |
//! | [`source`] | what a request's field holds: an upload id, base64 or a data URL |
//! | [`uploads`] | the uploads of a worker: files named by their content, the oldest leave first |
//!
//! # Invariants
//! * Nothing is allocated for pixels before their number is known and allowed.
//! * A stored upload was decoded once, so that a job that names it draws.
//! * Transparency is seen on white, as on a page; a mask's on black.

pub mod arrival;
pub mod decode;
pub mod fit;
pub mod source;
pub mod uploads;

use sd_protocol::limits::INPUT_BYTES_MAX;
use sd_protocol::{ErrorBody, ErrorCode};

use crate::diffusion::inpaint::{InpaintFill, InpaintSettings};

pub use self::arrival::{Arrival, Arrivals};
pub use self::decode::InputImage;
pub use self::fit::{fit_image, plan_inpainting};
pub use self::source::ImageSource;
pub use self::uploads::{UploadLease, Uploads};

/// What is done with the picture of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureSettings {
    /// How much is drawn anew, `(0, 1]`.
    pub strength: f64,
    /// Whether only a part of it is.
    pub is_masked: bool,
    /// How it is fitted and masked.
    pub inpaint: InpaintSettings,
    /// What lies under the mask.
    pub fill: InpaintFill,
}

/// Why a picture is not taken.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// More bytes than are read.
    #[error("the image has {0} bytes, at most {INPUT_BYTES_MAX} are read; send it smaller or better compressed")]
    TooManyBytes(u64),
    /// As many bytes are arriving as the worker has memory for.
    #[error("the worker takes in as many pictures as it has memory for; send it again in a moment")]
    Crowded,
    /// None of the formats.
    #[error("the image is no PNG, JPEG, WebP or GIF; send it as one of these")]
    Format,
    /// More pixels than are decoded.
    #[error("the image has {width} × {height} px, at most {most} px are read; send it smaller")]
    TooManyPixels {
        /// px
        width: u32,
        /// px
        height: u32,
        /// px
        most: u64,
    },
    /// The decoder would need more memory than it gets.
    #[error("the image needs more memory than is allowed; send it smaller or without what is not pixels")]
    TooMuchMemory,
    /// The decoder gave up.
    #[error("the image is damaged or of a kind that is not read; save it anew, best as PNG")]
    Damaged(#[source] image::ImageError),
    /// Neither an upload id nor base64.
    #[error("the image is neither an upload id (64 hexadecimal digits) nor base64 nor a data URL")]
    Encoding(#[source] base64::DecodeError),
    /// An address: the worker opens none.
    #[error(
        "the image is an address, and the worker fetches nothing: bring the file itself with POST /v1/uploads and name \
         its id, or send it as base64"
    )]
    Address,
    /// No upload of that id.
    #[error("no upload {0} here: it never was, or newer ones took its place; upload it again")]
    UnknownUpload(String),
    /// Waiting jobs hold on to too many uploads.
    #[error("the uploads of waiting jobs take up all {0} bytes that are kept; try again when one of them has ended")]
    Full(u64),
    /// A file of the store.
    #[error("an upload could not be stored or read; the worker's log has the reason")]
    Io(#[from] std::io::Error),
}

impl InputError {
    /// The code that clients get.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooManyBytes(_) | Self::TooManyPixels { .. } | Self::TooMuchMemory => ErrorCode::TooLarge,
            Self::Format | Self::Damaged(_) | Self::Encoding(_) | Self::Address => ErrorCode::ImageInvalid,
            Self::UnknownUpload(_) => ErrorCode::UploadNotFound,
            Self::Full(_) => ErrorCode::UploadsFull,
            Self::Crowded => ErrorCode::TooManyUploads,
            Self::Io(error) if is_full(error) => ErrorCode::StorageFull,
            Self::Io(_) => ErrorCode::StorageFailed,
        }
    }
}

/// Whether the disk has no room left.
pub fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl From<image::ImageError> for InputError {
    fn from(error: image::ImageError) -> Self {
        match error {
            image::ImageError::Limits(_) => Self::TooMuchMemory,
            error => Self::Damaged(error),
        }
    }
}

impl From<InputError> for ErrorBody {
    fn from(error: InputError) -> Self {
        if let InputError::Io(source) = &error {
            tracing::error!(error = source as &dyn std::error::Error, "the uploads failed");
        }
        Self::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests;
