use exif::{In, Tag, Value};
use sd_protocol::{ImageFormat, JobId, JobRequest, LoraRequest, OutputOptions, PreviewOptions};

use super::*;
use crate::diffusion::Picture;

fn request() -> JobRequest {
    JobRequest {
        model: Some("photo, sharp".into()),
        prompt: Some("a café at night".into()),
        negative_prompt: Some("rain".into()),
        width: Some(24),
        height: Some(16),
        steps: Some(20),
        guidance_scale: Some(7.5),
        seed: Some(40),
        batch_size: Some(4),
        scheduler: Some("dpmpp_2m".into()),
        sigmas: Some("karras".into()),
        clip_skip: Some(1),
        loras: Some(vec![LoraRequest { name: "ink".into(), weight: 0.5 }]),
        ..JobRequest::default()
    }
}

fn picture() -> Picture {
    let rgb = (0..24 * 16 * 3).map(|n| (n * 7 % 256) as u8).collect();
    Picture { width: 24, height: 16, rgb }
}

fn encoded(format: ImageFormat, parameters: &Parameters) -> Vec<u8> {
    encode(&picture(), OutputOptions { format, ..OutputOptions::default() }, parameters).unwrap()
}

/// The text chunks of a PNG.
fn texts(file: &[u8]) -> Vec<(String, String)> {
    let reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let international = info.utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap()));
    plain.chain(international).collect()
}

#[test]
fn parameters_are_those_of_one_picture() {
    let found = Parameters::new(&request(), 42);
    assert_eq!(
        found.infotext,
        format!(
            "a café at night <lora:ink:0.5>\nNegative prompt: rain\nSteps: 20, Sampler: DPM++ 2M, \
             Schedule type: Karras, CFG scale: 7.5, Seed: 42, Size: 24x16, Model: \"photo, sharp\", Clip skip: 2, \
             Version: sd-worker {}",
            env!("CARGO_PKG_VERSION")
        )
    );
    let again: JobRequest = serde_json::from_str(&found.request).unwrap();
    assert_eq!(again, JobRequest { seed: Some(42), batch_size: Some(1), ..request() });
}

#[test]
fn parameters_know_nothing_of_how_the_job_was_asked() {
    let asked_otherwise = JobRequest {
        id: Some(JobId::parse("mine").unwrap()),
        preview: Some(PreviewOptions::default()),
        output: Some(OutputOptions { format: ImageFormat::Webp, quality: 1 }),
        lane: Some("canvas".into()),
        priority: Some(3),
        ..request()
    };
    assert_eq!(Parameters::new(&asked_otherwise, 42), Parameters::new(&request(), 42));
}

#[test]
fn a_png_holds_its_pixels_and_both_texts() {
    for prompt in ["a café", "東京の夜", "a\0b"] {
        let parameters = Parameters::new(&JobRequest { prompt: Some(prompt.into()), ..request() }, 1);
        let file = encoded(ImageFormat::Png, &parameters);
        let found = texts(&file);
        let infotext = parameters.infotext.replace('\0', "");
        assert_eq!(found.len(), 2);
        assert!(found.contains(&("parameters".into(), infotext)), "{found:?}");
        assert!(found.contains(&("sd-worker".into(), parameters.request)), "{found:?}");
        assert_eq!(image::load_from_memory(&file).unwrap().to_rgb8().into_raw(), picture().rgb);
    }
}

#[test]
fn jpeg_and_webp_hold_the_text_in_their_exif_data() {
    let parameters = Parameters::new(&request(), 42);
    for (format, guessed) in
        [(ImageFormat::Jpeg, image::ImageFormat::Jpeg), (ImageFormat::Webp, image::ImageFormat::WebP)]
    {
        let file = encoded(format, &parameters);
        assert_eq!(image::guess_format(&file).unwrap(), guessed);
        let found = exif::Reader::new().read_from_container(&mut std::io::Cursor::new(&file)).unwrap();
        let Value::Undefined(comment, _) = &found.get_field(Tag::UserComment, In::PRIMARY).unwrap().value else {
            panic!("{format:?}")
        };
        let text = comment.strip_prefix(b"UNICODE\0").unwrap();
        let units: Vec<u16> = text.chunks_exact(2).map(|unit| u16::from_be_bytes(unit.try_into().unwrap())).collect();
        assert_eq!(String::from_utf16(&units).unwrap(), parameters.infotext);
    }
    let exact = image::load_from_memory(&encoded(ImageFormat::Webp, &parameters)).unwrap();
    assert_eq!(exact.to_rgb8().into_raw(), picture().rgb);
}

#[test]
fn quality_is_what_a_jpeg_costs() {
    let parameters = Parameters::new(&request(), 42);
    let bytes =
        |quality| encode(&picture(), OutputOptions { format: ImageFormat::Jpeg, quality }, &parameters).unwrap().len();
    assert!(bytes(20) < bytes(90));
}

#[test]
fn a_thumbnail_is_the_whole_picture_and_never_larger() {
    let check = |from: (u32, u32), expect: (u32, u32)| {
        let rgb =
            (0..from.0 * from.1).flat_map(|at| if at % from.0 < from.0 / 2 { [250, 10, 10] } else { [10, 10, 250] });
        let picture = Picture { width: from.0, height: from.1, rgb: rgb.collect() };
        for format in ImageFormat::ALL {
            let output = OutputOptions { format, quality: 90 };
            let file = encode(&picture, output, &Parameters::new(&request(), 42)).unwrap();
            let small = thumbnail(&file, format).unwrap();
            assert_eq!(image::guess_format(&small).unwrap(), image::ImageFormat::Jpeg);
            let small = image::load_from_memory(&small).unwrap().to_rgb8();
            assert_eq!(small.dimensions(), expect, "{format:?} {from:?}");
            if expect.0 > 8 {
                let (left, right) = (small.get_pixel(1, 0).0, small.get_pixel(expect.0 - 2, 0).0);
                assert!(left[0] > 200 && left[2] < 60 && right[2] > 200 && right[0] < 60, "{left:?} {right:?}");
            }
        }
    };
    check((1024, 768), (256, 192));
    check((300, 2000), (38, 256));
    check((2000, 3), (256, 1));
    check((256, 64), (256, 64));
    check((64, 64), (64, 64));
    assert!(thumbnail(b"no picture", ImageFormat::Png).is_err());
}
