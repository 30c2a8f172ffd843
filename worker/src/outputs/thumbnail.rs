//! Finished pictures → small ones for lists.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _, ImageError};
use sd_protocol::ImageFormat;
use sd_protocol::limits::THUMBNAIL_PX_MAX;

use crate::diffusion::pixels::Rgb;

/// How much of the picture a thumbnail keeps: some ten kilobytes.
const QUALITY: u8 = 80;

/// Why a picture has no thumbnail.
#[derive(Debug, thiserror::Error)]
pub enum ThumbnailError {
    /// The file is not what was stored.
    #[error("the picture could not be read")]
    Decode(#[source] ImageError),
    /// The file holds no pixels.
    #[error("the picture has no pixels")]
    Empty,
    /// The encoder refused.
    #[error("the thumbnail could not be written")]
    Encode(#[source] ImageError),
}

/// A JPEG of the whole picture in `file`, at most [`THUMBNAIL_PX_MAX`] px on its longer side and never enlarged, without
/// parameters. The file is one of the worker's own, so that its size needs no check.
///
/// # Errors
/// When the file is damaged.
pub fn thumbnail(file: &[u8], format: ImageFormat) -> Result<Vec<u8>, ThumbnailError> {
    let format = match format {
        ImageFormat::Png => image::ImageFormat::Png,
        ImageFormat::Jpeg => image::ImageFormat::Jpeg,
        ImageFormat::Webp => image::ImageFormat::WebP,
    };
    let picture = image::load_from_memory_with_format(file, format).map_err(ThumbnailError::Decode)?.into_rgb8();
    let (width, height) = picture.dimensions();
    let picture = Rgb::new(width, height, picture.into_raw()).ok_or(ThumbnailError::Empty)?;
    let small = picture.resized(size((width, height)));
    let mut thumbnail = Vec::new();
    JpegEncoder::new_with_quality(&mut thumbnail, QUALITY)
        .write_image(small.values(), small.width(), small.height(), ExtendedColorType::Rgb8)
        .map_err(ThumbnailError::Encode)?;
    Ok(thumbnail)
}

/// The size of the thumbnail of a picture of that size: the same shape, as far as whole px can have it.
fn size((width, height): (u32, u32)) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= THUMBNAIL_PX_MAX {
        return (width, height);
    }
    let scaled = |side: u32| {
        let (side, longer, most) = (u64::from(side), u64::from(longer), u64::from(THUMBNAIL_PX_MAX));
        ((side * most + longer / 2) / longer).max(1) as u32
    };
    (scaled(width), scaled(height))
}
