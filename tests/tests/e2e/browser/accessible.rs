//! What axe-core says of the page in each of its main states, on desktops, tablets and phones, by day and by night.

use std::fs;

use anyhow::{Context, Result, ensure};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::{TokenFile, Worker};
use serde_json::{Value, json};

use super::canvas::{Files, Painter};
use super::page::{Job, LASTING_PX, Page};
use super::screenshots;
use crate::peers::node;

/// Rules of WCAG 2.2 AA, and what axe's authors hold good practice.
const RULES: [&str; 6] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/// Name, width, height and whether it is a phone.
pub(super) type Screen = (&'static str, u32, u32, bool);
pub(super) const DESKTOP: Screen = ("desktop", 1440, 900, false);
pub(super) const TABLET: Screen = ("tablet", 768, 1024, false);
pub(super) const PHONE: Screen = ("phone", 390, 844, true);

#[tokio::test]
async fn axe_finds_nothing_without_webgpu() -> Result<()> {
    walk(Graphics::Canvas2d).await
}

#[tokio::test]
async fn axe_finds_nothing_with_webgpu() -> Result<()> {
    walk(Graphics::WebGpu).await
}

async fn walk(graphics: Graphics) -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(graphics).await?;
    let axe = Axe::new(&browser, graphics)?;
    let page = Page::open(&browser, &worker.url()).await?;
    axe.check("empty").await?;

    page.fill("#prompt", "mountains at noon").await?;
    page.fill("#steps", "500").await?;
    page.click("#submit").await?;
    browser.until("the faults", "return document.querySelector('#errors li') && true").await?;
    axe.check("faults").await?;

    page.fill("#batch-size", "2").await?;
    page.submit(&Job { prompt: "a lighthouse by the sea at night", steps: 150, seed: 3, side_px: Some(LASTING_PX) })
        .await?;
    page.until_previews(1).await?;
    axe.check("drawing").await?;
    page.click("#cancel").await?;
    page.until_state("canceled").await?;
    axe.check("canceled").await?;

    page.submit(&Job {
        prompt: "a red hot air balloon over mountains at sunset",
        steps: 8,
        seed: 7,
        side_px: Some(256),
    })
    .await?;
    page.until_state("succeeded").await?;
    page.picture_size().await?;
    axe.check("picture").await?;
    looks_at_the_canvas(&axe, &worker).await?;
    page.fill("#search", "submarine").await?;
    browser.until("an empty gallery", "return document.querySelector('#nothing').innerText && true").await?;
    axe.check("nothing-found").await?;
    drop(worker);
    page.until_connection("reconnecting").await?;
    axe.check("reconnecting").await
}

/// A picture to start from, under the brush and in its frame, beside what came of it, and what its file says.
async fn looks_at_the_canvas(axe: &Axe<'_>, worker: &Worker) -> Result<()> {
    let painter = Painter::new(axe.browser, worker).await?;
    painter.page.picture_size().await?;
    let url = "return document.querySelector('#picture').src";
    let url = axe.browser.evaluate(url, Vec::new()).await?;
    let files = Files::new()?;
    let file = reqwest::get(url.as_str().context("an address")?).await?.bytes().await?;
    painter.pick(&files.write("earlier.png", &file)?).await?;
    axe.browser.until("what the file says", "return Boolean(document.querySelector('#offer-settings'))").await?;
    axe.browser.drag("#surface", (0.25, 0.5), (0.75, 0.5)).await?;
    painter.page.click(".by-numbers summary").await?;
    axe.check("painted").await?;
    painter.page.click("#frame").await?;
    axe.check("frame").await?;
    painter.draw().await?;
    painter.page.click("#see-both").await?;
    axe.check("both").await?;
    painter.page.click("#image-remove").await
}

#[tokio::test]
async fn axe_finds_nothing_at_a_locked_worker() -> Result<()> {
    let tokens = TokenFile::new(&[("alice", "")]).await?;
    let worker = Worker::start_guarded(&["--ephemeral"], &tokens, None).await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let axe = Axe::new(&browser, Graphics::Canvas2d)?;
    Page::open_locked(&browser, &worker.url()).await?;
    axe.check("locked").await
}

struct Axe<'a> {
    browser: &'a Browser,
    graphics: Graphics,
    source: String,
}

impl<'a> Axe<'a> {
    fn new(browser: &'a Browser, graphics: Graphics) -> Result<Self> {
        let path = node()?.join("node_modules/axe-core/axe.min.js");
        let source = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self { browser, graphics, source })
    }

    /// Looks at the page as it is now, in every size and scheme, and keeps a picture of each.
    async fn check(&self, state: &str) -> Result<()> {
        self.browser.evaluate(&self.source, Vec::new()).await?;
        for (size, width, height, is_phone) in [DESKTOP, TABLET, PHONE] {
            for scheme in ["light", "dark"] {
                self.browser.resize(width, height, 1, is_phone).await?;
                self.browser.prefer(scheme).await?;
                let name = format!("{state}-{}-{size}-{scheme}", self.graphics.backend());
                screenshots::keep(self.browser, &name).await.with_context(|| format!("a picture of {name}"))?;
                let script = "const { violations, passes } = await axe.run(document, { runOnly: parameters[0] }); \
                              return [passes.length, violations.flatMap(({ id, help, nodes }) => \
                                nodes.map((node) => [id, help, node.target.join(' '), node.failureSummary].join(' | ')))]";
                let seen = self.browser.evaluate_async(script, vec![json!(RULES)]).await;
                let seen = seen.with_context(|| format!("axe in {name}"))?;
                ensure!(seen[0].as_u64() > Some(10), "axe looked at nothing in {name}: {seen}");
                ensure!(seen[1] == Value::Array(Vec::new()), "{name}: {:#}", seen[1]);
                screenshots::fits(self.browser, &name).await?;
            }
        }
        self.browser.resize(1440, 1000, 1, false).await
    }
}
