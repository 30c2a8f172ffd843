use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;
use sd_protocol::limits::INPUT_PIXELS_MAX;

use super::*;
use crate::diffusion::inpaint::InpaintSettings;
use crate::diffusion::pixels::{Resize, Sides};

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(width: u32, height: u32, seed: u8) -> Vec<u8> {
    let pixel = |x: u32, y: u32| Rgb([x as u8 ^ seed, y as u8, seed]);
    encoded(RgbImage::from_fn(width, height, pixel), ImageFormat::Png)
}

fn code(bytes: &[u8]) -> ErrorCode {
    InputImage::decode(bytes).unwrap_err().code()
}

/// A PNG that announces a size and has no pixels.
fn announced(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(1, 1, 0);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// A small PNG with a chunk before its pixels.
fn with_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [kind.as_slice(), data].concat();
    let chunk = [&(data.len() as u32).to_be_bytes(), named.as_slice(), &crc(&named).to_be_bytes()].concat();
    let mut bytes = png(2, 2, 0);
    bytes.splice(33..33, chunk);
    bytes
}

#[test]
fn what_is_no_picture_is_refused_with_a_code() {
    assert_eq!(code(b""), ErrorCode::ImageInvalid);
    assert_eq!(code(b"a red balloon"), ErrorCode::ImageInvalid);
    assert_eq!(code(b"BM6\0\0\0\0\0\0\0"), ErrorCode::ImageInvalid);
    let whole = png(40, 30, 1);
    assert!(InputImage::decode(&whole).is_ok());
    assert_eq!(code(&whole[..whole.len() / 2]), ErrorCode::ImageInvalid);
    assert_eq!(code(&vec![0; INPUT_BYTES_MAX + 1]), ErrorCode::TooLarge);
}

#[test]
fn pixels_are_counted_before_they_are_decoded() {
    let side = 1 + (INPUT_PIXELS_MAX as f64).sqrt() as u32;
    for (width, height) in [(side, side), (100_000, 100_000), (40_000_000, 1)] {
        assert_eq!(code(&announced(width, height)), ErrorCode::TooLarge, "{width} × {height}");
    }
    assert_eq!(code(&announced(0, 5)), ErrorCode::ImageInvalid);
}

#[test]
fn what_is_not_pixels_gets_little_memory() {
    let text = [b"note\0".as_slice(), &vec![b'x'; 20 << 20]].concat();
    assert_eq!(code(&with_chunk(b"tEXt", &text)), ErrorCode::TooLarge);
    // A profile that unpacks to 64 MiB is passed over: profiles are not applied.
    let mut packed = ZlibEncoder::new(b"bomb\0\0".to_vec(), Compression::best());
    for _ in 0..64 {
        packed.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = with_chunk(b"iCCP", &packed.finish().unwrap());
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    assert_eq!(InputImage::decode(&bomb).unwrap().size(), (2, 2));
}

#[test]
fn transparency_lies_on_white_and_on_black_in_a_mask() {
    let levels = [0, 51, 255];
    let image = |rgb: [u8; 3]| {
        let pixel = |x: u32, _| Rgba([rgb[0], rgb[1], rgb[2], levels[x as usize]]);
        InputImage::decode(&encoded(RgbaImage::from_fn(3, 1, pixel), ImageFormat::Png)).unwrap()
    };
    let red = image([255, 0, 0]);
    assert_eq!(red.on_white().values(), [255, 255, 255, 255, 204, 204, 255, 0, 0]);
    assert_eq!(red.mask_of_transparency().unwrap().values(), [255, 204, 0]);
    assert_eq!(image([255; 3]).as_mask().values(), levels, "white on nothing");
    assert_eq!(image([0; 3]).as_mask().values(), levels, "black on nothing");
    let opaque = InputImage::decode(&encoded(RgbaImage::from_pixel(2, 2, Rgba([9, 9, 9, 255])), ImageFormat::Png));
    assert_eq!(opaque.unwrap().alpha, None);
}

#[test]
fn a_request_brings_an_id_or_the_picture() {
    let id = "0f".repeat(32);
    assert_eq!(ImageSource::parse(&id).unwrap(), ImageSource::Upload(id));
    let inline = ImageSource::Inline(b"abcd".to_vec());
    for text in ["YWJjZA==", "YWJjZA", " YWJjZA==\n", "data:image/png;base64,YWJjZA=="] {
        assert_eq!(ImageSource::parse(text).unwrap(), inline, "{text:?}");
    }
    for text in ["not base64!", "../../etc/passwd", "data:image/png;base64", "https://example.org/a.png"] {
        assert_eq!(ImageSource::parse(text).unwrap_err().code(), ErrorCode::ImageInvalid, "{text:?}");
    }
}

#[test]
fn misfits_are_told() {
    let image = InputImage::decode(&png(80, 40, 2)).unwrap();
    let warnings = |resize, size| fit_image(&image, resize, size).1;
    assert!(warnings(Resize::Fit, (80, 40)).is_empty());
    assert!(warnings(Resize::Stretch, (160, 80))[0].contains("scaled to 160 × 80"));
    for (resize, word) in [(Resize::Fit, "drawn out"), (Resize::Fill, "cropped"), (Resize::Stretch, "stretched")] {
        let (fitted, warnings) = fit_image(&image, resize, (64, 64));
        assert_eq!(fitted.size(), (64, 64));
        assert!(warnings.len() == 1 && warnings[0].contains(word), "{warnings:?}");
    }
    let settings = InpaintSettings { outpaint: Sides { right: 16, ..Sides::default() }, ..InpaintSettings::default() };
    let (plan, warnings) = plan_inpainting(&image, None, &settings, (96, 40));
    assert!(warnings.is_empty() && !plan.is_empty(), "{warnings:?}");
    let mask = InputImage::decode(&encoded(RgbImage::new(10, 10), ImageFormat::Png)).unwrap();
    let (plan, warnings) = plan_inpainting(&image, Some(&mask), &InpaintSettings::default(), (80, 40));
    assert!(plan.is_empty() && warnings.len() == 2, "{warnings:?}");
    assert!(warnings[0].contains("stretched over") && warnings[1].contains("nothing to repaint"), "{warnings:?}");
}

#[test]
fn the_same_content_is_one_upload() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = Uploads::open(folder.path(), 1 << 20).unwrap();
    let first = uploads.put(&png(8, 6, 1)).unwrap();
    assert_eq!((first.width, first.height, first.bytes), (8, 6, png(8, 6, 1).len() as u64));
    assert_eq!(uploads.put(&png(8, 6, 1)).unwrap(), first);
    assert_ne!(uploads.put(&png(8, 6, 2)).unwrap().id, first.id);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert!(uploads.put(b"no picture").is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "what is refused leaves nothing behind");
}

#[test]
fn the_longest_unused_upload_leaves_first_and_leases_hold() {
    let folder = tempfile::tempdir().unwrap();
    let pictures: Vec<_> = (0..6).map(|seed| png(64, 64, seed)).collect();
    let size = pictures.iter().map(Vec::len).max().unwrap() as u64;
    let uploads = Arc::new(Uploads::open(folder.path(), 3 * size).unwrap());
    let ids: Vec<_> = pictures[..3].iter().map(|bytes| uploads.put(bytes).unwrap().id).collect();
    let lease = |at: usize| uploads.lease(&ImageSource::Upload(ids[at].clone()));
    let held = lease(0).unwrap();
    uploads.put(&pictures[1]).unwrap();
    uploads.put(&pictures[3]).unwrap();
    assert_eq!(lease(2).unwrap_err().code(), ErrorCode::UploadNotFound, "the third was longest out of use");
    assert_eq!(held.read().unwrap().size(), (64, 64));
    let also_held = [lease(1).unwrap(), uploads.lease(&ImageSource::Inline(pictures[3].clone())).unwrap()];
    assert_eq!(uploads.put(&pictures[4]).unwrap_err().code(), ErrorCode::UploadsFull);
    drop(also_held);
    assert!(uploads.put(&pictures[4]).is_ok());
    assert!(held.read().is_ok(), "what a job holds stays");

    drop(held);
    let reopened = Arc::new(Uploads::open(folder.path(), 3 * size).unwrap());
    assert!(reopened.lease(&ImageSource::Upload(ids[0].clone())).is_ok(), "uploads outlive the process");
}

proptest! {
    #[test]
    fn mutated_pictures_never_panic(at in 0_usize..4000, value: u8, cut in 0_usize..4000, format in 0_usize..4) {
        let format = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif][format];
        let pixel = |x: u32, y: u32| Rgb([x as u8 * 8, y as u8 * 8, 40]);
        let mut bytes = encoded(RgbImage::from_fn(24, 17, pixel), format);
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(1 + cut % (2 * bytes.len()));
        if let Ok(image) = InputImage::decode(&bytes) {
            let (width, height) = image.size();
            prop_assert!(width > 0 && height > 0);
        }
    }
}
