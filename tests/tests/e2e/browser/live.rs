//! Live mode: the newest state of the page is drawn while it changes.

use anyhow::{Context, Result};
use sd_protocol::{JobList, JobState};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;

use super::page::{LASTING_PX, Page};
use super::screenshots;

#[tokio::test]
async fn typing_draws_the_newest_state_with_webgpu() -> Result<()> {
    type_and_watch(Graphics::WebGpu).await
}

#[tokio::test]
async fn typing_draws_the_newest_state_without_webgpu() -> Result<()> {
    type_and_watch(Graphics::Canvas2d).await
}

async fn type_and_watch(graphics: Graphics) -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(graphics).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    page.fill("#steps", "150").await?;
    for side in ["#width", "#height"] {
        page.fill(side, &LASTING_PX.to_string()).await?;
    }
    page.fill("#seed", "7").await?;
    page.fill("#prompt", "a red tower").await?;
    page.click("#live").await?;
    page.until_previews(1).await?;
    let slow = page.job_id().await?;
    page.fill("#prompt", "a white house at noon").await?;
    let behind = "return Number(document.querySelector('#behind').dataset.behind) > 0 || null";
    browser.until("the page to say that it is behind", behind).await?;
    screenshots::keep(&browser, &format!("live-{}", graphics.backend())).await?;
    page.fill("#steps", "6").await?;
    page.until_state("succeeded").await?;
    let drawn = worker.api().view(&page.job_id().await?).await?;
    assert_eq!((drawn.request.prompt.as_deref(), drawn.request.steps), (Some("a white house at noon"), Some(6)));
    browser
        .until("the page to be up to date", "return document.querySelector('#behind').dataset.behind === '0' || null")
        .await?;
    assert_eq!(worker.api().view(&slow).await?.state, JobState::Superseded, "the older state gives way");

    page.click("#live").await?;
    page.fill("#prompt", "a boat").await?;
    page.click("#submit").await?;
    page.until_state("succeeded").await?;
    let list: JobList = worker.api().get("/v1/jobs").await?.json().await?;
    let of_button = list.jobs.iter().filter(|job| job.request.prompt.as_deref() == Some("a boat"));
    assert_eq!(of_button.count(), 1, "with the switch off, the button alone draws");
    let newest = list.jobs.first().context("there are jobs")?;
    assert_eq!(newest.request.lane, None);
    Ok(())
}
