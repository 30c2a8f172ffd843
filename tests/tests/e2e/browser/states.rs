//! What the page says when things are not as they should be, and the way on.

use anyhow::Result;
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;

use super::page::{Job, Page};
use super::{lasting, screenshots};

#[tokio::test]
async fn a_full_queue_is_told_and_nothing_is_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_with(&folder, &["--queue-jobs", "1"]).await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    worker.api().submit(&lasting("running")).await?;
    let runs = "return Boolean(document.querySelector('#queue li[data-job-id=running][data-state=running]'))";
    browser.until("a job that runs", runs).await?;
    worker.api().submit(&lasting("waiting")).await?;
    page.fill("#prompt", "a white house in green hills at noon").await?;
    page.fill("#steps", "4").await?;
    page.click("#submit").await?;
    let told = "return document.querySelector('#errors').innerText.includes('waiting')";
    browser.until("a word on the queue", told).await?;
    screenshots::keep(&browser, "queue-full-canvas2d").await?;
    let words = "return document.querySelector('#prompt').value";
    assert_eq!(browser.evaluate(words, Vec::new()).await?, "a white house in green hills at noon");

    for id in ["running", "waiting"] {
        worker.api().cancel(id).await?;
    }
    page.submit(&Job { prompt: "a white house in green hills at noon", steps: 4, seed: 1, side_px: None }).await?;
    page.until_state("succeeded").await?;
    let gone = "return document.querySelector('#errors').innerText === ''";
    browser.until("the fault to be forgotten", gone).await?;
    Ok(())
}
