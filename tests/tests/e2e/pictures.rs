//! Jobs that start from a picture.

use std::io::Cursor;

use anyhow::Result;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use reqwest::StatusCode;
use sd_protocol::{ErrorCode, JobState, UploadView};
use sd_tests::api::{Api, expect_error};
use sd_tests::worker::Worker;
use serde_json::json;

use crate::{quick, with};

const SIDE: u32 = 128;

fn png(image: impl Into<DynamicImage>) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// Evening over a meadow, in two gradients.
fn meadow() -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (x, y) = (x as u8, y as u8);
        if y < 64 { Rgb([200 - y, 120 + x / 4, 160]) } else { Rgb([30, 140 - y / 2, 40 + x / 4]) }
    })
}

/// The right half.
fn mask() -> GrayImage {
    GrayImage::from_fn(SIDE, SIDE, |x, _| Luma([if x < SIDE / 2 { 0 } else { 255 }]))
}

async fn upload(api: &Api, file: Vec<u8>) -> Result<String> {
    Ok(api.upload("image/png", file).await?.error_for_status()?.json::<UploadView>().await?.id)
}

#[tokio::test]
async fn a_picture_is_drawn_over() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let image = upload(api, png(meadow())?).await?;
    let job = with(quick(), json!({"image": image, "strength": 0.5, "steps": 8}));
    let view = api.submit(&job).await?;
    assert_eq!(view.request.image.as_deref(), Some(image.as_str()));
    let view = api.ended(view.id.as_str()).await?;
    assert_eq!((view.state, view.steps), (JobState::Succeeded, 4), "{view:?}");

    let weak = api.submit(&with(job, json!({"strength": 0.125}))).await?;
    let weak = api.ended(weak.id.as_str()).await?;
    let distance = |file: &[u8]| -> Result<u64> {
        let drawn = image::load_from_memory(file)?.to_rgb8();
        Ok(drawn.as_raw().iter().zip(meadow().as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum())
    };
    let (strong, weak) = (distance(&api.picture(&view).await?)?, distance(&api.picture(&weak).await?)?);
    assert!(weak < strong, "less strength stays closer: {weak} against {strong}");
    Ok(())
}

#[tokio::test]
async fn what_the_mask_leaves_out_comes_back_byte_for_byte() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let (image, mask) = (upload(api, png(meadow())?).await?, upload(api, png(mask())?).await?);
    let view = api.submit(&with(quick(), json!({"image": image, "mask": mask}))).await?;
    let view = api.ended(view.id.as_str()).await?;
    assert_eq!(view.state, JobState::Succeeded, "{view:?}");
    let (drawn, before) = (image::load_from_memory(&api.picture(&view).await?)?.to_rgb8(), meadow());
    let columns = |image: &RgbImage, from: u32, to: u32| -> Vec<Rgb<u8>> {
        image.enumerate_pixels().filter(|(x, ..)| (from..to).contains(x)).map(|(.., pixel)| *pixel).collect()
    };
    assert_eq!(columns(&drawn, 0, SIDE / 2), columns(&before, 0, SIDE / 2));
    assert_ne!(columns(&drawn, SIDE / 2, SIDE), columns(&before, SIDE / 2, SIDE));
    Ok(())
}

#[tokio::test]
async fn a_picture_grows_to_the_side() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let image = upload(api, png(meadow())?).await?;
    let grown = json!({"image": image, "outpaint": {"right": 64}, "width": 192, "height": 128});
    let view = api.submit(&with(quick(), grown)).await?;
    let view = api.ended(view.id.as_str()).await?;
    assert_eq!(view.state, JobState::Succeeded, "{view:?}");
    let drawn = image::load_from_memory(&api.picture(&view).await?)?.to_rgb8();
    assert_eq!(drawn.dimensions(), (192, 128));
    assert_eq!(image::imageops::crop_imm(&drawn, 0, 0, SIDE, SIDE).to_image(), meadow());
    Ok(())
}

#[tokio::test]
async fn a_picture_that_is_none_is_named() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    for image in ["aGVsbG8=", "not base64!", &"0".repeat(64)] {
        let response = api.post("/v1/jobs", with(quick(), json!({"image": image})).to_string()).await?;
        let error = expect_error(response, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
        assert_eq!(error.details.iter().map(|detail| detail.field.as_str()).collect::<Vec<_>>(), ["image"]);
    }
    let next = api.submit(&quick()).await?;
    assert_eq!(api.ended(next.id.as_str()).await?.state, JobState::Succeeded);
    Ok(())
}
