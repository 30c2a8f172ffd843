//! One person's way through everything that the page can do: on each kind of screen, with WebGPU and without.

use anyhow::{Context, Result};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;
use serde_json::json;

use super::accessible::{DESKTOP, PHONE, Screen, TABLET};
use super::canvas::{Files, Painter};
use super::page::Job;
use super::{lasting, screenshots};
use crate::{quick, with};

/// A person on a device.
struct Person<'a, 'w> {
    painter: Painter<'a>,
    browser: &'a Browser,
    worker: &'w Worker,
    name: String,
}

async fn walk(graphics: Graphics, screen: Screen) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_with(&folder, &["--queue-jobs", "2"]).await?;
    let browser = Browser::start(graphics).await?;
    let (name, width, height, is_phone) = screen;
    browser.resize(width, height, 1, is_phone).await?;
    let name = format!("{name}-{}", graphics.backend());
    let person = Person { painter: Painter::new(&browser, &worker).await?, browser: &browser, worker: &worker, name };
    person.reads_what_draws().await.context("the note on previews")?;
    person.watches_a_batch().await.context("a batch")?;
    person.changes_and_takes_back().await.context("the form")?;
    person.paints().await.context("the canvas")?;
    person.draws_while_typing().await.context("live mode")?;
    person.shares_the_queue().await.context("the queue")?;
    person.finds_yesterday().await.context("the gallery")?;
    person.painter.complains().await?;
    let page = person.painter.page;
    drop(worker);
    page.until_connection("reconnecting").await
}

impl Person<'_, '_> {
    async fn keep(&self, state: &str) -> Result<()> {
        screenshots::keep(self.browser, &format!("journey-{state}-{}", self.name)).await?;
        Ok(())
    }

    async fn until(&self, what: &str, script: &str) -> Result<()> {
        self.browser.until(what, script).await?;
        Ok(())
    }

    async fn reads_what_draws(&self) -> Result<()> {
        let words = if self.name.ends_with("webgpu") { "on your GPU" } else { "offers no WebGPU" };
        let note = format!("return document.querySelector('#previews').innerText.includes('{words}')");
        self.until("a sentence on the previews", &note).await
    }

    async fn watches_a_batch(&self) -> Result<()> {
        let page = &self.painter.page;
        page.open_settings().await?;
        page.fill("#batch-size", "2").await?;
        page.submit(&Job {
            prompt: "a red hot air balloon over mountains at sunset",
            steps: 60,
            seed: 7,
            side_px: Some(384),
        })
        .await?;
        page.until_previews(2).await?;
        let pixels = "return [...document.querySelectorAll('#batch canvas')].filter((c) => c.width > 1).length === 2";
        self.until("a preview of each picture", pixels).await?;
        self.keep("drawing").await?;
        page.until_state("succeeded").await?;
        assert_eq!(page.picture_size().await?, (384, 384));
        page.click("#batch li:nth-child(2) .tile").await?;
        self.until("the second picture", "return document.querySelector('#picture').src.includes('/images/1')").await?;
        self.keep("drawn").await
    }

    async fn changes_and_takes_back(&self) -> Result<()> {
        let page = &self.painter.page;
        page.click("[aria-label^=Landscape]").await?;
        let is_wide =
            "return Number(document.querySelector('#width').value) > Number(document.querySelector('#height').value)";
        self.until("a wide size", is_wide).await?;
        page.click("#undo").await?;
        self.until("the size of before", "return document.querySelector('#width').value === '384'").await?;
        page.fill("#batch-size", "1").await?;
        page.fill("#steps", "501").await?;
        page.click("#submit").await?;
        self.until("a word on what is wrong", "return Boolean(document.querySelector('#errors li a'))").await?;
        self.keep("faults").await?;
        page.fill("#steps", "4").await
    }

    async fn paints(&self) -> Result<()> {
        let files = Files::new()?;
        self.painter.pick(&files.meadow()?).await?;
        self.browser.drag("#surface", (0.25, 0.5), (0.75, 0.5)).await?;
        assert_eq!(self.painter.masked(&[(128, 128), (128, 40)]).await?, [true, false]);
        self.keep("painted").await?;
        self.painter.draw().await?;
        self.until("the picture before", "return document.querySelector('.compare.arrived') !== null").await?;
        self.painter.page.click("#image-remove").await
    }

    async fn draws_while_typing(&self) -> Result<()> {
        let page = &self.painter.page;
        page.click("#live").await?;
        page.fill("#prompt", "a white house in green hills at noon").await?;
        let is_newest = "const job = document.querySelector('#job').dataset; \
                         return job.state === 'succeeded' && document.querySelector('#behind').dataset.behind === '0' \
                         && document.querySelector('.caption').innerText.includes('at noon')";
        self.until("a picture of the newest words", is_newest).await?;
        self.keep("live").await?;
        page.click("#live").await
    }

    async fn shares_the_queue(&self) -> Result<()> {
        let page = &self.painter.page;
        self.worker.api().submit(&lasting("running")).await?;
        let runs = "return Boolean(document.querySelector('#queue li[data-job-id=running][data-state=running]'))";
        self.until("a job that runs", runs).await?;
        for id in ["first", "second"] {
            self.worker.api().submit(&with(quick(), json!({"id": id, "prompt": id}))).await?;
        }
        let queue = |jobs: &str| {
            format!(
                "return [...document.querySelectorAll('#queue li')].map((li) => li.dataset.jobId).join() === '{jobs}'"
            )
        };
        self.until("what another device asked for", &queue("running,first,second")).await?;
        page.click("#queue li[data-job-id=second] button[title='Draw earlier']").await?;
        self.until("another order", &queue("running,second,first")).await?;
        self.keep("queue").await?;

        page.fill("#prompt", "one picture too many").await?;
        page.click("#submit").await?;
        let told = "return document.querySelector('#errors').innerText.includes('waiting') \
                    && document.querySelector('#prompt').value === 'one picture too many'";
        self.until("a word on the full queue, which takes nothing away", told).await?;
        self.keep("queue-full").await?;
        page.click("#queue li[data-job-id=running] button[title='Cancel']").await?;
        self.worker.api().ended("first").await?;
        self.until("an empty queue", "return document.querySelector('.queue').hidden").await?;
        page.submit(&Job { prompt: "one picture too many", steps: 4, seed: 1, side_px: None }).await?;
        page.until_state("succeeded").await?;
        self.until("the fault to be forgotten", "return document.querySelector('#errors').innerText === ''").await
    }

    async fn finds_yesterday(&self) -> Result<()> {
        let page = &self.painter.page;
        page.reload().await?;
        page.fill("#search", "BALLOON sunset").await?;
        // The batch, and what was painted over the meadow.
        let tiles = |count: usize| format!("return document.querySelectorAll('#pictures .tile').length === {count}");
        self.until("the pictures of that prompt", &tiles(3)).await?;
        page.click("#pictures li:last-child .tile").await?;
        let picture = "return document.querySelector('.caption').innerText.includes('balloon') \
                       && document.querySelector('#picture')?.naturalWidth > 0";
        self.until("the picture", picture).await?;
        page.click("#favorite").await?;
        page.click("#favorites").await?;
        // A favourite is a job with all its pictures.
        self.until("the favourites alone", &tiles(2)).await?;
        self.keep("found").await?;
        page.click("#use-as-input").await?;
        self.until("the picture as input", "return document.querySelector('#input')?.width === 384").await?;
        page.click("#image-remove").await?;
        page.click("#delete").await?;
        page.click("#delete").await?;
        self.until("an empty gallery", &tiles(0)).await
    }
}

#[tokio::test]
async fn on_a_desktop_with_webgpu() -> Result<()> {
    walk(Graphics::WebGpu, DESKTOP).await
}

#[tokio::test]
async fn on_a_desktop_without_webgpu() -> Result<()> {
    walk(Graphics::Canvas2d, DESKTOP).await
}

#[tokio::test]
async fn on_a_tablet_with_webgpu() -> Result<()> {
    walk(Graphics::WebGpu, TABLET).await
}

#[tokio::test]
async fn on_a_tablet_without_webgpu() -> Result<()> {
    walk(Graphics::Canvas2d, TABLET).await
}

#[tokio::test]
async fn on_a_phone_with_webgpu() -> Result<()> {
    walk(Graphics::WebGpu, PHONE).await
}

#[tokio::test]
async fn on_a_phone_without_webgpu() -> Result<()> {
    walk(Graphics::Canvas2d, PHONE).await
}
