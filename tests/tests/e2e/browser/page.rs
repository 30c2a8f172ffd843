//! The page of the browser client, as a person and a test see it: by the ids of its elements.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sd_tests::browser::Browser;
use serde_json::Value;

/// Pixels along a side of what [`Page::seen_previews`] keeps of a preview.
const THUMBNAIL_PX: u32 = 16;

/// What a person asks for.
pub(crate) struct Job {
    pub(crate) prompt: &'static str,
    pub(crate) steps: u32,
    pub(crate) seed: u64,
    /// Width and height; those that are in the form where there are none.
    pub(crate) side_px: Option<u32>,
}

/// A side so long that a picture is still being drawn when a test has done what it does meanwhile.
pub(crate) const LASTING_PX: u32 = 768;

/// A preview that was on the canvas.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) step: u32,
    /// Whether a final picture was there at that time.
    pub(crate) has_picture: bool,
    /// The canvas in small: `[16, 16, 4]` u8, RGBA.
    pub(crate) pixels: Vec<u8>,
}

/// The page.
pub(crate) struct Page<'a> {
    browser: &'a Browser,
}

impl<'a> Page<'a> {
    /// Opens the page and waits until it is connected.
    pub(crate) async fn open(browser: &'a Browser, url: &str) -> Result<Self> {
        browser.open(url).await?;
        let page = Self { browser };
        page.until_connection("connected").await?;
        Ok(page)
    }

    /// Opens the page of a worker that asks for a token, and waits until the page does.
    pub(crate) async fn open_locked(browser: &'a Browser, url: &str) -> Result<Self> {
        browser.open(url).await?;
        let page = Self { browser };
        page.until_connection("locked").await?;
        Ok(page)
    }

    pub(crate) async fn reload(&self) -> Result<()> {
        self.browser.reload().await?;
        self.until_connection("connected").await
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) -> Result<()> {
        self.browser.fill(css, text).await
    }

    pub(crate) async fn click(&self, css: &str) -> Result<()> {
        self.browser.click(css).await
    }

    /// Types a job, submits it and waits until the page shows it instead of the last one.
    pub(crate) async fn submit(&self, job: &Job) -> Result<()> {
        let last = self.evaluate("return document.querySelector('#job')?.dataset.jobId ?? ''").await?;
        self.fill("#prompt", job.prompt).await?;
        self.open_settings().await?;
        self.fill("#steps", &job.steps.to_string()).await?;
        self.fill("#seed", &job.seed.to_string()).await?;
        for side in ["#width", "#height"] {
            if let Some(px) = job.side_px {
                self.fill(side, &px.to_string()).await?;
            }
        }
        self.click("#submit").await?;
        let script =
            format!("const id = document.querySelector('#job')?.dataset.jobId; return id && id !== {last} ? id : null");
        self.browser.until("the new job on the page", &script).await?;
        Ok(())
    }

    /// On a phone the settings are folded away.
    pub(crate) async fn open_settings(&self) -> Result<()> {
        if self.evaluate("return !document.querySelector('#settings').open").await? == true {
            self.click("#settings > summary").await?;
        }
        Ok(())
    }

    pub(crate) async fn until_connection(&self, state: &str) -> Result<()> {
        let script = format!("return document.querySelector('#connection')?.dataset.state === '{state}'");
        self.browser.until(&format!("the connection to be {state}"), &script).await?;
        Ok(())
    }

    /// Waits until this draws the previews.
    pub(crate) async fn until_backend(&self, backend: &str) -> Result<()> {
        let script =
            format!("return document.querySelector('canvas#preview')?.dataset.backend === '{backend}' || null");
        self.browser.until(&format!("previews by {backend}"), &script).await?;
        Ok(())
    }

    /// Waits until the job of the page has `state`; any other end is a failure.
    pub(crate) async fn until_state(&self, state: &str) -> Result<()> {
        let script = "const state = document.querySelector('#job')?.dataset.state; \
                      return ['succeeded', 'failed', 'canceled'].includes(state) ? state : null";
        let ended = self.browser.until(&format!("the job to have {state}"), script).await?;
        anyhow::ensure!(ended == state, "the job {ended}: {}", self.evaluate("return document.body.innerText").await?);
        Ok(())
    }

    /// Waits until `count` previews of the running job were drawn.
    pub(crate) async fn until_previews(&self, count: u32) -> Result<()> {
        let script = format!(
            "return document.querySelector('#job')?.dataset.state === 'running' \
             && Number(document.querySelector('canvas#preview')?.dataset.frames ?? 0) >= {count}"
        );
        self.browser.until(&format!("{count} previews"), &script).await?;
        Ok(())
    }

    pub(crate) async fn state(&self) -> Result<String> {
        self.text("return document.querySelector('#job')?.dataset.state").await
    }

    pub(crate) async fn job_id(&self) -> Result<String> {
        self.text("return document.querySelector('#job')?.dataset.jobId").await
    }

    pub(crate) async fn backend(&self) -> Result<String> {
        self.text("return document.querySelector('canvas#preview')?.dataset.backend").await
    }

    /// `aria-valuenow` and `aria-valuemax` of the progress bar.
    pub(crate) async fn progress(&self) -> Result<(u64, u64)> {
        let script = "const bar = document.querySelector('#progress[role=progressbar]'); \
                      return [Number(bar.ariaValueNow), Number(bar.ariaValueMax)]";
        let values = self.evaluate(script).await?;
        Ok((values[0].as_u64().context("aria-valuenow")?, values[1].as_u64().context("aria-valuemax")?))
    }

    /// Width and height of the final picture, in px of the file, once it is decoded.
    pub(crate) async fn picture_size(&self) -> Result<(u64, u64)> {
        let script = "const picture = document.querySelector('img#picture'); \
                      return picture?.complete && picture.naturalWidth ? [picture.naturalWidth, picture.naturalHeight] : null";
        let size = self.browser.until("the final picture", script).await?;
        Ok((size[0].as_u64().context("a width")?, size[1].as_u64().context("a height")?))
    }

    /// Begins to keep every preview that the page draws.
    pub(crate) async fn watch_previews(&self) -> Result<()> {
        // Observers run right after the script that drew, while a WebGPU canvas still holds its picture.
        let script = format!(
            "window.seenPreviews = []; \
             const thumbnail = new OffscreenCanvas({THUMBNAIL_PX}, {THUMBNAIL_PX}); \
             const context = thumbnail.getContext('2d', {{ willReadFrequently: true }}); \
             new MutationObserver(() => {{ \
               const canvas = document.querySelector('canvas#preview'); \
               if (!(Number(canvas?.dataset.frames) > 0)) return; \
               context.clearRect(0, 0, thumbnail.width, thumbnail.height); \
               context.drawImage(canvas, 0, 0, thumbnail.width, thumbnail.height); \
               const {{ data }} = context.getImageData(0, 0, thumbnail.width, thumbnail.height); \
               window.seenPreviews.push([Number(canvas.dataset.step), \
                 Boolean(document.querySelector('img#picture')?.getAttribute('src')), btoa(String.fromCharCode(...data))]); \
             }}).observe(document.body, {{ subtree: true, attributeFilter: ['data-frames', 'data-step'] }});"
        );
        self.evaluate(&script).await?;
        Ok(())
    }

    /// The previews since [`Page::watch_previews`].
    pub(crate) async fn seen_previews(&self) -> Result<Vec<Seen>> {
        let seen = self.evaluate("return window.seenPreviews").await?;
        let seen = seen.as_array().context("the previews are a list")?.iter().map(|preview| {
            Ok(Seen {
                step: preview[0].as_u64().context("a step is a number")?.try_into()?,
                has_picture: preview[1].as_bool().context("a flag")?,
                pixels: BASE64_STANDARD.decode(preview[2].as_str().context("base64 is text")?)?,
            })
        });
        seen.collect()
    }

    async fn evaluate(&self, script: &str) -> Result<Value> {
        self.browser.evaluate(script, Vec::new()).await
    }

    async fn text(&self, script: &str) -> Result<String> {
        Ok(self.evaluate(script).await?.as_str().with_context(|| format!("{script}: nothing"))?.to_owned())
    }
}
