//! Pictures and jobs of other pages, of yesterday, and of a whole batch.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use sd_protocol::JobState;
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use super::page::{Job, LASTING_PX, Page};
use super::{lasting, screenshots};
use crate::{quick, with};

#[tokio::test]
async fn yesterdays_picture_is_found_and_kept_with_webgpu() -> Result<()> {
    find_and_keep(Graphics::WebGpu).await
}

#[tokio::test]
async fn yesterdays_picture_is_found_and_kept_without_webgpu() -> Result<()> {
    find_and_keep(Graphics::Canvas2d).await
}

async fn find_and_keep(graphics: Graphics) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_in(&folder).await?;
    let mut drawn = Vec::new();
    for (id, prompt) in
        [("tower", "a stone tower at dusk"), ("boat", "a boat at dawn"), ("tree", "100% of a lone tree")]
    {
        drawn.push(worker.api().submit(&with(quick(), json!({"id": id, "prompt": prompt}))).await?);
    }
    for job in &drawn {
        worker.api().ended(job.id.as_str()).await?;
    }
    worker.terminate().await?;
    worker.exit_status().await?;

    let worker = Worker::start_in(&folder).await?;
    let browser = Browser::start(graphics).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    until_tiles(&browser, 3).await?;
    assert_eq!(page.picture_size().await?, (128, 128), "the page begins with the newest picture");
    for (search, tiles) in [("DUSK tower", 1), ("100%", 1), ("%", 1), ("a", 3), ("submarine", 0), ("boat", 1)] {
        page.fill("#search", search).await?;
        until_tiles(&browser, tiles).await?;
    }
    page.click("#pictures .tile").await?;
    browser.until("the picture that was found", &shows("boat")).await?;
    browser.until("its small copy", "return document.querySelector('#pictures img')?.naturalWidth > 0 || null").await?;
    page.click("#favorite").await?;
    let is_kept = "return document.querySelector('#favorite').ariaPressed === 'true' || null";
    browser.until("the favourite", is_kept).await?;
    assert!(worker.api().view("boat").await?.favorite);
    screenshots::keep(&browser, &format!("gallery-{}", graphics.backend())).await?;

    page.reload().await?;
    until_tiles(&browser, 3).await?;
    page.click("#favorites").await?;
    until_tiles(&browser, 1).await?;
    page.click("#pictures .tile").await?;
    browser.until("the favourite picture", &shows("boat")).await?;
    page.click("#delete").await?;
    assert!(worker.api().view("boat").await.is_ok(), "one click deletes nothing");
    page.click("#delete").await?;
    until_tiles(&browser, 0).await?;
    assert!(worker.api().view("boat").await.is_err(), "it is gone from the worker");
    page.click("#favorites").await?;
    until_tiles(&browser, 2).await?;
    let log = browser.log().await?;
    assert!(!log.contains("SEVERE"), "the page complains:\n{log}");
    Ok(())
}

#[tokio::test]
async fn what_another_device_asks_for_is_in_the_queue() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    worker.api().submit(&lasting("running")).await?;
    for id in ["first", "second", "third"] {
        worker.api().submit(&with(quick(), json!({"id": id, "prompt": id}))).await?;
    }
    until_queue(&browser, &["running", "first", "second", "third"]).await?;
    screenshots::keep(&browser, "queue-canvas2d").await?;
    page.click("#queue li[data-job-id=third] button[title='Draw earlier']").await?;
    until_queue(&browser, &["running", "first", "third", "second"]).await?;
    page.click("#queue li[data-job-id=first] button[title='Draw later']").await?;
    until_queue(&browser, &["running", "third", "first", "second"]).await?;
    page.click("#queue li[data-job-id=first] button[title='Cancel']").await?;
    until_queue(&browser, &["running", "third", "second"]).await?;
    assert_eq!(worker.api().view("first").await?.state, JobState::Canceled);

    page.click("#queue li[data-job-id=running] .line").await?;
    page.until_previews(2).await?;
    assert_eq!(page.job_id().await?, "running", "a job of another device can be watched");
    page.click("#cancel").await?;
    page.until_state("canceled").await?;
    until_tiles(&browser, 2).await?;
    let (third, second) = (worker.api().ended("third").await?, worker.api().ended("second").await?);
    assert!(third.started_at_ms < second.started_at_ms, "they were drawn in the order that the page gave them");
    Ok(())
}

#[tokio::test]
async fn every_picture_of_a_batch_is_seen_while_it_is_drawn() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::WebGpu).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    page.fill("#batch-size", "3").await?;
    page.submit(&Job {
        prompt: "a white house in green hills at noon",
        steps: 150,
        seed: 5,
        side_px: Some(LASTING_PX),
    })
    .await?;
    let pixels = "const pictures = [...document.querySelectorAll('#batch canvas')].filter((c) => c.width > 1); \
                  return pictures.length === 3 ? pictures.map((canvas) => canvas.toDataURL()) : null";
    let first = browser.until("three previews", pixels).await?;
    let distinct: BTreeSet<_> = strings(&first)?.into_iter().collect();
    assert_eq!(distinct.len(), 3, "each picture has its own preview");
    let newer = format!(
        "const pictures = (() => {{ {pixels} }})(); return pictures?.every((now, at) => now !== {first}[at]) || null"
    );
    browser.until("newer previews", &newer).await?;
    screenshots::keep(&browser, "batch-webgpu").await?;
    page.click("#batch li:nth-child(2) .tile").await?;
    page.until_previews(1).await?;
    page.click("#cancel").await?;
    page.until_state("canceled").await?;
    page.submit(&Job { prompt: "a white house in green hills at noon", steps: 4, seed: 5, side_px: None }).await?;
    page.until_state("succeeded").await?;
    let images = "return [...document.querySelectorAll('#batch img')].filter((one) => one.naturalWidth > 0).length === 3 || null";
    browser.until("three pictures", images).await?;
    until_tiles(&browser, 3).await
}

fn strings(value: &Value) -> Result<Vec<&str>> {
    value.as_array().context("a list")?.iter().map(|item| item.as_str().context("a text")).collect()
}

fn shows(job: &str) -> String {
    format!("return document.querySelector('#job').dataset.jobId === '{job}' || null")
}

async fn until_tiles(browser: &Browser, count: usize) -> Result<()> {
    let script = format!("return document.querySelectorAll('#pictures .tile').length === {count} || null");
    browser.until(&format!("{count} pictures in the gallery"), &script).await?;
    Ok(())
}

async fn until_queue(browser: &Browser, jobs: &[&str]) -> Result<()> {
    let script = format!(
        "const jobs = [...document.querySelectorAll('#queue li')].map((line) => line.dataset.jobId); \
         return JSON.stringify(jobs) === {:?} || null",
        serde_json::to_string(jobs)?
    );
    browser.until(&format!("the queue to be {jobs:?}"), &script).await?;
    Ok(())
}
