//! PNG, JPEG, WebP and GIF bytes → pixels.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use sd_protocol::limits::{INPUT_BYTES_MAX, INPUT_PIXELS_MAX};

use super::InputError;
use crate::diffusion::pixels::{Mask, Raster, Rgb};

const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif];

/// Bytes of a decoded pixel at most: RGBA of 16 bits.
const PIXEL_BYTES_MAX: u64 = 8;
/// Room for what a decoder keeps besides pixels.
const DECODER_BYTES: u64 = 16 << 20;

fn memory(bytes: u64) -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(bytes);
    limits
}

/// A decoded picture, upright as its EXIF orientation says, 8 bits a channel. Colour profiles are not applied, as
/// in Pillow and diffusers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputImage {
    /// Colours, those of transparent pixels as the file has them.
    pub rgb: Rgb,
    /// 255 is opaque; `None` when every pixel is.
    pub alpha: Option<Mask>,
}

impl InputImage {
    /// Decodes the first frame of a picture whose format its first bytes tell.
    ///
    /// # Errors
    /// [`InputError::TooManyBytes`], [`InputError::Format`], [`InputError::TooManyPixels`],
    /// [`InputError::TooMuchMemory`] or [`InputError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, InputError> {
        if bytes.len() > INPUT_BYTES_MAX {
            return Err(InputError::TooManyBytes(bytes.len() as u64));
        }
        let format = image::guess_format(bytes).ok().filter(|format| FORMATS.contains(format));
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format.ok_or(InputError::Format)?);
        // What comes before the pixels, such as a packed colour profile, gets this much and no more.
        reader.limits(memory(DECODER_BYTES));
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > INPUT_PIXELS_MAX {
            return Err(InputError::TooManyPixels { width, height, most: INPUT_PIXELS_MAX });
        }
        decoder.set_limits(memory(INPUT_PIXELS_MAX * PIXEL_BYTES_MAX + DECODER_BYTES))?;
        // What cannot be read of the metadata must not keep the picture out.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Self::from_dynamic(image).ok_or(InputError::Format)
    }

    /// `None` for a picture without pixels.
    fn from_dynamic(image: DynamicImage) -> Option<Self> {
        let (width, height) = (image.width(), image.height());
        if !image.color().has_alpha() {
            return Some(Self { rgb: Raster::new(width, height, image.into_rgb8().into_raw())?, alpha: None });
        }
        let rgba = image.into_rgba8().into_raw();
        let alpha: Vec<u8> = rgba.iter().skip(3).step_by(4).copied().collect();
        let rgb = rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        let is_opaque = alpha.iter().all(|&level| level == u8::MAX);
        let alpha = if is_opaque { None } else { Some(Raster::new(width, height, alpha)?) };
        Some(Self { rgb: Raster::new(width, height, rgb)?, alpha })
    }

    /// Width and height, in px.
    pub fn size(&self) -> (u32, u32) {
        self.rgb.size()
    }

    /// The picture as it looks on a white page, which is what the networks are given (as the A1111 web UI does by
    /// default; diffusers would bring back the hidden colours of transparent pixels).
    pub fn on_white(&self) -> Rgb {
        self.on(u8::MAX)
    }

    /// What a picture that is sent as a mask means: its brightness, white repaints, transparent keeps. Where that
    /// is black all over but the picture has transparency, as a drawing in black on nothing, what is opaque
    /// repaints.
    pub fn as_mask(&self) -> Mask {
        let bright = self.on(0).luma();
        match &self.alpha {
            Some(alpha) if bright.values().iter().all(|&level| level == 0) => alpha.clone(),
            _ => bright,
        }
    }

    /// The mask that the picture itself has: what is transparent repaints. `None` when nothing is.
    pub fn mask_of_transparency(&self) -> Option<Mask> {
        self.alpha.clone().map(|alpha| alpha.map(|level| u8::MAX - level))
    }

    fn on(&self, ground: u8) -> Rgb {
        let Some(alpha) = &self.alpha else { return self.rgb.clone() };
        let ground = u32::from(ground);
        Rgb::from_fn(self.size(), |x, y| {
            let [level] = alpha.pixel(x, y);
            let level = u32::from(level);
            self.rgb.pixel(x, y).map(|value| ((u32::from(value) * level + ground * (255 - level) + 127) / 255) as u8)
        })
    }
}
