//! PNG, JPEG, WebP and GIF.

use std::io::Cursor;

use image::ImageReader;
use sd_worker::inputs::InputImage;

/// Pixels of a picture that is decoded here: larger ones take long and teach nothing.
const PIXELS_MAX: u64 = 1 << 20;

/// Any bytes are a picture or a sentence about why not; a picture has all its pixels.
pub fn pictures(data: &[u8]) {
    let announced = ImageReader::new(Cursor::new(data)).with_guessed_format().ok();
    let announced = announced.and_then(|reader| reader.into_dimensions().ok());
    if announced.is_some_and(|(width, height)| u64::from(width) * u64::from(height) > PIXELS_MAX) {
        return;
    }
    let image = match InputImage::decode(data) {
        Ok(image) => image,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (width, height) = image.size();
    let pixels = width as usize * height as usize;
    assert!(pixels > 0);
    assert_eq!(image.rgb.values().len(), 3 * pixels);
    assert_eq!(image.on_white().size(), (width, height));
    assert_eq!(image.as_mask().values().len(), pixels);
    assert_eq!(image.mask_of_transparency().is_some(), image.alpha.is_some());
}
