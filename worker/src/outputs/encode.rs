//! Pixels → bytes of a picture file.

use std::borrow::Cow;
use std::io::Cursor;

use exif::experimental::Writer;
use exif::{Field, In, Tag, Value};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use png::text_metadata::{ITXtChunk, TEXtChunk};
use sd_protocol::{ImageFormat, OutputOptions, PictureFormat};

use super::Parameters;
use crate::diffusion::Picture;

/// Where PNG files keep the text of A1111.
const INFOTEXT_KEY: &str = "parameters";
/// Where PNG files keep the request.
const REQUEST_KEY: &str = "sd-worker";
/// What comes before a UTF-16 text in the `UserComment` of Exif.
const UNICODE: &[u8; 8] = b"UNICODE\0";

/// Quality of a JPEG that is looked at for a moment.
const PREVIEW_QUALITY: u8 = 80;

/// Why a picture has no file.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Of a PNG.
    #[error("the PNG could not be written")]
    Png(#[from] png::EncodingError),
    /// Of a JPEG or WebP, or of a preview.
    #[error("the picture could not be written")]
    Image(#[from] image::ImageError),
    /// Of the parameters in it.
    #[error("the parameters of the picture could not be written")]
    Exif(#[from] exif::Error),
}

/// The file of `picture` with its parameters inside: in text chunks of a PNG, of which A1111's is `parameters` and the
/// request `sd-worker`; in the `UserComment` of the Exif data of a JPEG or WebP, A1111's only.
///
/// # Errors
/// When the encoder refuses, which it does for no picture that was drawn.
pub fn encode(picture: &Picture, output: OutputOptions, parameters: &Parameters) -> Result<Vec<u8>, EncodeError> {
    match output.format {
        ImageFormat::Png => png(picture, parameters),
        ImageFormat::Jpeg => {
            let mut file = Vec::new();
            encode_with(JpegEncoder::new_with_quality(&mut file, output.quality), picture, parameters)?;
            Ok(file)
        }
        ImageFormat::Webp => {
            let mut file = Vec::new();
            encode_with(WebPEncoder::new_lossless(&mut file), picture, parameters)?;
            Ok(file)
        }
    }
}

/// The file of a preview, which says nothing about how it was made.
///
/// # Errors
/// As [`encode`].
pub fn encode_preview(picture: &Picture, format: PictureFormat) -> Result<Vec<u8>, EncodeError> {
    let mut file = Vec::new();
    let Picture { width, height, rgb } = picture;
    match format {
        PictureFormat::Png => PngEncoder::new(&mut file).write_image(rgb, *width, *height, ExtendedColorType::Rgb8)?,
        PictureFormat::Jpeg => JpegEncoder::new_with_quality(&mut file, PREVIEW_QUALITY).write_image(
            rgb,
            *width,
            *height,
            ExtendedColorType::Rgb8,
        )?,
    }
    Ok(file)
}

fn png(picture: &Picture, parameters: &Parameters) -> Result<Vec<u8>, EncodeError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    for (key, text) in [(INFOTEXT_KEY, &parameters.infotext), (REQUEST_KEY, &parameters.request)] {
        // A NUL ends a text. Plain chunks hold Latin-1 and are read by everything, international ones hold the rest.
        let text = if text.contains('\0') { Cow::Owned(text.replace('\0', "")) } else { Cow::Borrowed(text.as_str()) };
        if text.chars().all(|letter| u32::from(letter) < 0x100) {
            writer.write_text_chunk(&TEXtChunk::new(key, text))?;
        } else {
            writer.write_text_chunk(&ITXtChunk::new(key, text))?;
        }
    }
    writer.write_image_data(&picture.rgb)?;
    writer.finish()?;
    Ok(file)
}

fn encode_with(mut encoder: impl ImageEncoder, picture: &Picture, parameters: &Parameters) -> Result<(), EncodeError> {
    let mut comment = UNICODE.to_vec();
    comment.extend(parameters.infotext.encode_utf16().flat_map(u16::to_be_bytes));
    let field = Field { tag: Tag::UserComment, ifd_num: In::PRIMARY, value: Value::Undefined(comment, 0) };
    let mut exif = Cursor::new(Vec::new());
    let mut writer = Writer::new();
    writer.push_field(&field);
    // Big-endian, as the letters of the comment are.
    writer.write(&mut exif, false)?;
    encoder.set_exif_metadata(exif.into_inner()).map_err(image::ImageError::Unsupported)?;
    encoder.write_image(&picture.rgb, picture.width, picture.height, ExtendedColorType::Rgb8)?;
    Ok(())
}
