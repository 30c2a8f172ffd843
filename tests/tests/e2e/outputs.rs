//! The files of pictures: their formats, and what they say about themselves.

use std::io::Cursor;

use anyhow::{Context, Result};
use reqwest::StatusCode;
use sd_protocol::{ErrorCode, ImageFormat};
use sd_tests::api::expect_error;
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use crate::{quick, with};

/// The text chunk `key` of a PNG.
fn text(png: &[u8], key: &str) -> Result<String> {
    let reader = png::Decoder::new(Cursor::new(png)).read_info()?;
    let chunks = &reader.info().uncompressed_latin1_text;
    let chunk = chunks.iter().find(|chunk| chunk.keyword == key);
    Ok(chunk.with_context(|| format!("the PNG has no {key}"))?.text.clone())
}

#[tokio::test]
async fn a_picture_holds_what_draws_it_again() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let asked = with(quick(), json!({"id": "first", "negative_prompt": "rain", "seed": null, "priority": 2}));
    let view = api.ended(api.submit(&asked).await?.id.as_str()).await?;
    let png = api.picture(&view).await?;

    let infotext = text(&png, "parameters")?;
    let seed = view.images[0].seed;
    assert!(infotext.starts_with(quick()["prompt"].as_str().unwrap()), "{infotext}");
    for part in ["\nNegative prompt: rain\nSteps: 4, Sampler: Euler, ", &format!(", Seed: {seed}, Size: 128x128, ")] {
        assert!(infotext.contains(part), "{infotext}");
    }
    let request: Value = serde_json::from_str(&text(&png, "sd-worker")?)?;
    assert!(request["id"].is_null() && request["priority"].is_null(), "{request}");
    let again = api.ended(api.submit(&request).await?.id.as_str()).await?;
    assert_ne!(again.id, view.id);
    assert_eq!(again.images[0].sha256, view.images[0].sha256);
    Ok(())
}

#[tokio::test]
async fn pictures_come_in_the_format_that_was_asked_for() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let png = api.ended(api.submit(&quick()).await?.id.as_str()).await?;
    let exact = image::load_from_memory(&api.picture(&png).await?)?.to_rgb8();
    for (format, name, content_type, difference_max) in
        [(ImageFormat::Webp, "webp", "image/webp", 0.0), (ImageFormat::Jpeg, "jpeg", "image/jpeg", 4.0)]
    {
        let job = with(quick(), json!({"output": {"format": name, "quality": 95}}));
        let view = api.ended(api.submit(&job).await?.id.as_str()).await?;
        assert_eq!(view.images[0].format, format);
        let answer = api.get(&view.images[0].url).await?.error_for_status()?;
        assert_eq!(answer.headers()["content-type"], content_type);
        let found = image::load_from_memory(&answer.bytes().await?)?.to_rgb8();
        let difference: f64 = exact.iter().zip(found.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        let mean = difference / exact.len() as f64;
        assert!(mean <= difference_max, "{name} is off by {mean}/255 on average");
        assert_eq!(api.delete(&format!("/v1/jobs/{}", view.id)).await?.status(), StatusCode::NO_CONTENT);
    }
    for output in [json!({"format": "gif"}), json!({"quality": 0}), json!({"quality": 101}), json!({"qualité": 1})] {
        let answer = api.post("/v1/jobs", with(quick(), json!({"output": output})).to_string()).await?;
        expect_error(answer, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    }
    Ok(())
}
