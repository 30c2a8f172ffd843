//! A person at the page, in a real browser: once with WebGPU and once without.

mod accessible;
mod canvas;
mod form;
mod journey;
mod library;
mod live;
mod loading;
mod oracle;
mod package;
mod page;
mod screenshots;
mod unlock;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result};
use sd_protocol::JobState;
use sd_tests::browser::{Browser, Graphics};
use sd_tests::proxy::Proxy;
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use page::{Job, LASTING_PX, Page};

use crate::{long, with};

/// A job of another device that is still being drawn when a test has done what it does meanwhile.
fn lasting(id: &str) -> Value {
    with(long(), json!({"id": id, "prompt": id, "width": LASTING_PX, "height": LASTING_PX}))
}

#[tokio::test]
async fn a_person_with_webgpu_draws_cancels_and_reloads() -> Result<()> {
    draw_cancel_reload(Graphics::WebGpu).await
}

#[tokio::test]
async fn a_person_without_webgpu_draws_cancels_and_reloads() -> Result<()> {
    draw_cancel_reload(Graphics::Canvas2d).await
}

async fn draw_cancel_reload(graphics: Graphics) -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(graphics).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    sees_previews_before_the_picture(&page, graphics).await.context("the first job")?;
    cancels_in_the_middle(&page, &worker).await.context("the second job")?;
    finds_the_job_after_a_reload(&page).await.context("the third job")?;
    let log = browser.log().await?;
    assert!(!log.contains("SEVERE"), "the page complains:\n{log}");
    Ok(())
}

async fn sees_previews_before_the_picture(page: &Page<'_>, graphics: Graphics) -> Result<()> {
    // A GPU that is still being made ready misses what a quick worker draws meanwhile.
    page.until_backend(graphics.backend()).await?;
    page.watch_previews().await?;
    page.submit(&Job {
        prompt: "a red hot air balloon over mountains at sunset",
        steps: 150,
        seed: 7,
        side_px: Some(384),
    })
    .await?;
    page.until_state("succeeded").await?;
    assert_eq!(page.picture_size().await?, (384, 384));
    assert_eq!(page.backend().await?, graphics.backend());

    let seen = page.seen_previews().await?;
    let before: Vec<_> = seen.iter().filter(|preview| !preview.has_picture).collect();
    let steps: Vec<_> = before.iter().map(|preview| preview.step).collect();
    assert!(steps.is_sorted(), "previews of one job rise: {steps:?}");
    let pictures: BTreeSet<_> = before.iter().map(|preview| &preview.pixels).collect();
    assert!(pictures.len() >= 3, "{} different previews before the picture, at steps {steps:?}", pictures.len());
    for preview in &before {
        let colours: BTreeSet<_> = preview.pixels.as_chunks::<4>().0.iter().collect();
        assert!(colours.len() >= 8, "the preview of step {} is all but blank", preview.step);
        assert!(preview.pixels.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255), "a preview is opaque");
    }
    let progress = page.progress().await?;
    assert_eq!(progress, (150, 150));
    Ok(())
}

async fn cancels_in_the_middle(page: &Page<'_>, worker: &Worker) -> Result<()> {
    page.submit(&Job {
        prompt: "a white house in green hills at night",
        steps: 150,
        seed: 8,
        side_px: Some(LASTING_PX),
    })
    .await?;
    page.until_previews(2).await?;
    let clicked = Instant::now();
    page.click("#cancel").await?;
    page.until_state("canceled").await?;
    let view = worker.api().view(&page.job_id().await?).await?;
    println!("canceled {:?} after the click, at step {} of {}", clicked.elapsed(), view.step, view.steps);
    assert_eq!(view.state, JobState::Canceled);
    assert!(view.step < view.steps, "nothing was left to cancel");
    Ok(())
}

async fn finds_the_job_after_a_reload(page: &Page<'_>) -> Result<()> {
    page.submit(&Job { prompt: "mountains at noon", steps: 60, seed: 9, side_px: Some(512) }).await?;
    page.until_previews(2).await?;
    let id = page.job_id().await?;
    page.reload().await?;
    page.until_previews(1).await?;
    assert_eq!(page.job_id().await?, id);
    assert_eq!(page.state().await?, "running", "the reload fell into the middle of the job");
    page.until_state("succeeded").await?;
    assert_eq!(page.job_id().await?, id);
    assert_eq!(page.picture_size().await?, (512, 512));
    Ok(())
}

#[tokio::test]
async fn a_lost_gpu_is_replaced_without_a_reload() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::WebGpu).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    page.until_backend("webgpu").await?;
    page.submit(&Job { prompt: "mountains at noon", steps: 150, seed: 9, side_px: Some(LASTING_PX) }).await?;
    page.until_previews(2).await?;
    let changes = "window.backends = ['webgpu']; new MutationObserver(() => { \
                     const { backend } = document.querySelector('canvas#preview')?.dataset ?? {}; \
                     if (backend && backend !== window.backends.at(-1)) window.backends.push(backend); \
                   }).observe(document.body, { subtree: true, childList: true, attributeFilter: ['data-backend'] });";
    browser.evaluate(changes, Vec::new()).await?;
    browser.crash_gpu().await?;
    let back = "return window.backends.join() === 'webgpu,canvas2d,webgpu' || null";
    browser.until("the 2D canvas to step in, and a new GPU after it", back).await?;
    page.until_previews(1).await?;
    page.click("#cancel").await?;
    page.until_state("canceled").await
}

#[tokio::test]
async fn a_lost_connection_is_shown_repaired_and_resumed() -> Result<()> {
    let worker = Worker::start().await?;
    let wire = Proxy::start(&worker).await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let page = Page::open(&browser, &wire.url()).await?;
    page.submit(&Job { prompt: "mountains at noon", steps: 60, seed: 9, side_px: Some(512) }).await?;
    page.until_previews(2).await?;
    let id = page.job_id().await?;
    wire.cut();
    page.until_connection("reconnecting").await?;
    wire.mend();
    page.until_connection("connected").await?;
    page.until_state("succeeded").await?;
    assert_eq!(page.job_id().await?, id);
    assert_eq!(page.picture_size().await?, (512, 512));
    Ok(())
}

#[tokio::test]
async fn a_faulty_job_is_explained() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    page.fill("#width", "2048").await?;
    page.fill("#height", "2048").await?;
    page.fill("#batch-size", "8").await?;
    page.fill("#prompt", "mountains at noon").await?;
    page.click("#submit").await?;
    let shown = browser.until("an explanation", "return document.querySelector('#errors')?.innerText?.trim() || null");
    let shown = shown.await?;
    assert!(shown.as_str().is_some_and(|text| text.contains("Width") && text.contains("limit")), "{shown}");
    for (css, text) in [("#width", "256"), ("#height", "256"), ("#batch-size", "1")] {
        page.fill(css, text).await?;
    }
    page.submit(&Job { prompt: "mountains at noon", steps: 4, seed: 9, side_px: None }).await?;
    page.until_state("succeeded").await
}
