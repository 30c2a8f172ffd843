//! A picture to start from: brought, painted over, grown, compared.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::{Rgb, RgbImage};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;
use serde_json::{Value, json};

use super::accessible::{DESKTOP, PHONE, Screen, TABLET};
use super::page::{Job, Page};
use super::screenshots;

const SIDE: u32 = 256;

/// Sends a pointer over `#surface` through these shares of it.
const POINTER: &str = "
    const [kind, points] = [...arguments];
    const surface = document.querySelector('#surface');
    const edges = surface.getBoundingClientRect();
    points.forEach(([x, y, pressure], at) => {
        const last = at === points.length - 1;
        const type = at === 0 ? 'pointerdown' : last ? 'pointerup' : 'pointermove';
        surface.dispatchEvent(new PointerEvent(type, {
            bubbles: true, cancelable: true, isPrimary: true, pointerId: 7, pointerType: kind, pressure, button: 0, buttons: last ? 0 : 1,
            clientX: edges.left + x * edges.width, clientY: edges.top + y * edges.height,
        }));
    });
";

/// The alpha of the mask on the screen where these px of the picture are.
const MASKED: &str = "
    const context = document.querySelector('#mask').getContext('2d');
    return [...arguments][0].map(([x, y]) => context.getImageData(x, y, 1, 1).data[3] > 0);
";

fn meadow() -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        if y < SIDE / 2 { Rgb([90, 150, (120 + x / 3) as u8]) } else { Rgb([(60 + y / 4) as u8, 140, 70]) }
    })
}

pub(super) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    pub(super) fn meadow(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("meadow.png");
        meadow().save(&path)?;
        Ok(path)
    }
}

/// A person who paints.
pub(super) struct Painter<'a> {
    browser: &'a Browser,
    pub(super) page: Page<'a>,
}

impl<'a> Painter<'a> {
    pub(super) async fn new(browser: &'a Browser, worker: &Worker) -> Result<Self> {
        Ok(Self { browser, page: Page::open(browser, &worker.url()).await? })
    }

    pub(super) async fn pick(&self, file: &Path) -> Result<()> {
        let input = self.browser.element("#image-file").await?;
        input.send_keys(file.to_str().context("a path is text")?).await?;
        self.browser.element("#surface").await?;
        self.until("the picture", "return document.querySelector('#input')?.width > 1").await
    }

    async fn until(&self, what: &str, script: &str) -> Result<()> {
        self.browser.until(what, script).await?;
        Ok(())
    }

    async fn point(&self, kind: &str, points: Value) -> Result<()> {
        self.browser.evaluate(POINTER, vec![json!(kind), points]).await?;
        Ok(())
    }

    /// Whether these px of the picture are masked.
    pub(super) async fn masked(&self, points: &[(u32, u32)]) -> Result<Vec<bool>> {
        let seen = self.browser.evaluate(MASKED, vec![json!(points)]).await?;
        Ok(serde_json::from_value(seen)?)
    }

    async fn keys(&self, keys: &str) -> Result<()> {
        Ok(self.browser.element("#surface").await?.send_keys(keys).await?)
    }

    /// Draws with what the form says, and returns the picture.
    pub(super) async fn draw(&self) -> Result<RgbImage> {
        self.page
            .submit(&Job { prompt: "a red hot air balloon over mountains at sunset", steps: 6, seed: 5, side_px: None })
            .await?;
        self.page.until_state("succeeded").await?;
        self.page.picture_size().await?;
        Ok(image::load_from_memory(&self.result().await?)?.to_rgb8())
    }

    /// The file of the picture that is shown.
    async fn result(&self) -> Result<Vec<u8>> {
        let script = "const answer = await fetch(document.querySelector('#picture').src); \
                      return [...new Uint8Array(await answer.arrayBuffer())];";
        Ok(serde_json::from_value(self.browser.evaluate_async(script, Vec::new()).await?)?)
    }

    pub(super) async fn complains(&self) -> Result<()> {
        let log = self.browser.log().await?;
        anyhow::ensure!(!log.contains("SEVERE"), "the page complains:\n{log}");
        Ok(())
    }
}

/// Paints, takes back, draws, compares; then grows the picture by a handle.
async fn paints_and_draws(graphics: Graphics, (screen, width, height, is_phone): Screen) -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(graphics).await?;
    browser.resize(width, height, 1, is_phone).await?;
    let files = Files::new()?;
    let painter = Painter::new(&browser, &worker).await?;
    let shot = async |state: &str| {
        screenshots::keep_both(&browser, &format!("canvas-{state}-{screen}-{}", graphics.backend())).await
    };
    shot("empty").await?;
    painter.pick(&files.meadow()?).await?;
    shot("picked").await?;

    painter.drags_a_mouse().await.context("the mouse")?;
    painter.takes_back().await.context("undo and redo")?;
    painter.presses_a_pen().await.context("the pen")?;
    shot("painted").await?;

    let drawn = painter.draw().await?;
    assert_eq!(drawn.dimensions(), (SIDE, SIDE));
    compare_with_meadow(&drawn);
    painter.until("the picture before", "return document.querySelector('.compare.arrived') !== null").await?;
    let slide = "const slider = document.querySelector('#compare'); slider.value = 50; \
                 slider.dispatchEvent(new Event('input', { bubbles: true }))";
    browser.evaluate(slide, Vec::new()).await?;
    shot("compared").await?;

    painter.page.click("#see-input").await?;
    painter.page.click("#mask-clear").await?;
    painter.page.click("#frame").await?;
    painter.pulls_a_handle().await.context("the frame")?;
    shot("grown").await?;
    let drawn = painter.draw().await?;
    assert_eq!(drawn.dimensions(), (SIDE + 64, SIDE), "the result is larger");
    let far = |x: u32, y: u32| drawn.get_pixel(x, y) == meadow().get_pixel(x, y);
    assert!((0..SIDE - 32).all(|x| (0..SIDE).all(|y| far(x, y))), "what was there is there still");
    painter.complains().await
}

/// Outside the mask, and beyond its feathered border, a result is the input byte for byte.
fn compare_with_meadow(drawn: &RgbImage) {
    let before = meadow();
    let differs = |x: u32, y: u32| drawn.get_pixel(x, y) != before.get_pixel(x, y);
    let outside = (0..SIDE).flat_map(|x| (0..SIDE / 4).map(move |y| (x, y)));
    assert!(outside.into_iter().all(|(x, y)| !differs(x, y)), "outside the mask nothing changes");
    let inside = (64..192).filter(|&x| differs(x, SIDE / 2)).count();
    assert!(inside > 64, "inside it {inside} of 128 px change");
}

impl Painter<'_> {
    async fn drags_a_mouse(&self) -> Result<()> {
        assert_eq!(self.masked(&[(128, 128)]).await?, [false]);
        self.browser.drag("#surface", (0.25, 0.5), (0.75, 0.5)).await?;
        // Two samples far apart, and no gap between them.
        assert_eq!(
            self.masked(&[(64, 128), (100, 128), (128, 128), (191, 128), (128, 40)]).await?,
            [true, true, true, true, false]
        );
        let told = "return document.querySelector('#mask-cover').innerText.includes('%')";
        self.until("a word on the mask", told).await
    }

    async fn takes_back(&self) -> Result<()> {
        self.page.click("#mask-undo").await?;
        assert_eq!(self.masked(&[(128, 128)]).await?, [false]);
        self.page.click("#mask-redo").await?;
        assert_eq!(self.masked(&[(128, 128)]).await?, [true]);
        self.keys("x").await?;
        assert_eq!(self.masked(&[(128, 128), (128, 40)]).await?, [false, true]);
        self.keys("x").await?;
        assert_eq!(self.masked(&[(128, 128), (128, 40)]).await?, [true, false]);
        self.page.click("#eraser").await?;
        self.browser.drag("#surface", (0.5, 0.4), (0.5, 0.6)).await?;
        assert_eq!(self.masked(&[(128, 128), (80, 128)]).await?, [false, true]);
        self.browser.keys_with_control("#surface", "z").await?;
        assert_eq!(self.masked(&[(128, 128), (80, 128)]).await?, [true, true]);
        self.page.click("#brush").await
    }

    /// A hard press is wide, a light one narrow.
    async fn presses_a_pen(&self) -> Result<()> {
        self.point("pen", json!([[0.3, 0.7, 0.05], [0.4, 0.7, 0.05], [0.4, 0.7, 0.05]])).await?;
        self.point("pen", json!([[0.6, 0.7, 1.0], [0.7, 0.7, 1.0], [0.7, 0.7, 1.0]])).await?;
        let y = SIDE * 7 / 10;
        assert_eq!(
            self.masked(&[(89, y), (89, y + 9), (166, y), (166, y + 9)]).await?,
            [true, false, true, true],
            "pressure"
        );
        self.page.click("#mask-undo").await?;
        self.page.click("#mask-undo").await
    }

    async fn pulls_a_handle(&self) -> Result<()> {
        let edge = "const box = document.querySelector('.handle[data-x=\"1\"][data-y=\"0\"]').getBoundingClientRect(); \
                    const surface = document.querySelector('#surface'); const all = surface.getBoundingClientRect(); \
                    const px = all.width / Number(surface.style.getPropertyValue('--view-width')); \
                    const at = [(box.left + box.width / 2 - all.left) / all.width, (box.top + box.height / 2 - all.top) / all.height]; \
                    return [at, [at[0] + 34 * px / all.width, at[1]]]";
        // The margin has room for less than the whole way.
        for _ in 0..2 {
            let ends: [(f64, f64); 2] = serde_json::from_value(self.browser.evaluate(edge, Vec::new()).await?)?;
            self.browser.drag("#surface", ends[0], ends[1]).await?;
        }
        let width = "return document.querySelector('#width').value";
        assert_eq!(self.browser.evaluate(width, Vec::new()).await?, (SIDE + 64).to_string());
        let right = "return document.querySelector('#side-2').value";
        assert_eq!(self.browser.evaluate(right, Vec::new()).await?, "64", "the numbers say the same");
        Ok(())
    }
}

#[tokio::test]
async fn a_mask_is_painted_on_a_desktop_with_webgpu() -> Result<()> {
    paints_and_draws(Graphics::WebGpu, DESKTOP).await
}

#[tokio::test]
async fn a_mask_is_painted_on_a_tablet_without_webgpu() -> Result<()> {
    paints_and_draws(Graphics::Canvas2d, TABLET).await
}

#[tokio::test]
async fn a_mask_is_painted_on_a_phone_without_webgpu() -> Result<()> {
    paints_and_draws(Graphics::Canvas2d, PHONE).await
}

#[tokio::test]
async fn a_dropped_picture_says_how_it_was_made() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let painter = Painter::new(&browser, &worker).await?;
    painter
        .page
        .submit(&Job { prompt: "a white house in green hills at night", steps: 4, seed: 42, side_px: None })
        .await?;
    painter.page.until_state("succeeded").await?;
    painter.page.picture_size().await?;
    for (field, text) in [("#prompt", "something else"), ("#seed", "1")] {
        painter.page.fill(field, text).await?;
    }
    let drop = "
        const answer = await fetch(document.querySelector('#picture').src);
        const data = new DataTransfer();
        data.items.add(new File([await answer.blob()], 'earlier.png', { type: 'image/png' }));
        for (const type of ['dragover', 'drop'])
            document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data }));
    ";
    browser.evaluate_async(drop, Vec::new()).await?;
    browser.element("#surface").await?;
    screenshots::keep_both(&browser, "canvas-offer-canvas2d").await?;
    painter.page.click("#offer-settings").await?;
    let form = "return [document.querySelector('#prompt').value, document.querySelector('#seed').value]";
    assert_eq!(browser.evaluate(form, Vec::new()).await?, json!(["a white house in green hills at night", "42"]));
    assert!(browser.element("#surface").await.is_ok(), "and it stays the picture to start from");
    painter.complains().await
}

#[tokio::test]
async fn a_result_becomes_the_input() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let painter = Painter::new(&browser, &worker).await?;
    let first = painter.draw().await?;
    painter.page.click("#use-as-input").await?;
    browser.element("#surface").await?;
    painter.page.click("#mask-all").await?;
    assert_eq!(painter.masked(&[(0, 0), (255, 255)]).await?, [true, true]);
    painter.page.click("#mask-clear").await?;
    let second = painter.draw().await?;
    assert_ne!(first, second);
    painter.complains().await
}

#[tokio::test]
async fn painting_draws_while_live_and_survives_a_reload() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let files = Files::new()?;
    let painter = Painter::new(&browser, &worker).await?;
    painter.page.fill("#prompt", "a white house in green hills").await?;
    painter.page.fill("#steps", "4").await?;
    painter.pick(&files.meadow()?).await?;
    painter.page.click("#live").await?;
    let both = "return document.querySelector('.frames').dataset.shows === 'both'";
    painter.until("input and result side by side", both).await?;
    let settled = "const job = document.querySelector('#job').dataset; \
                   return job.state === 'succeeded' && document.querySelector('#behind').dataset.behind === '0' \
                   && job.jobId !== window.seen ? job.jobId : null";
    let first = browser.until("a first picture", settled).await?;
    browser.evaluate("window.seen = [...arguments][0]", vec![first]).await?;
    browser.drag("#surface", (0.25, 0.5), (0.75, 0.5)).await?;
    browser.until("a picture of the newest mask", settled).await?;
    screenshots::keep_both(&browser, "canvas-live-canvas2d").await?;
    let points = [(128, 128), (128, 40)];
    assert_eq!(painter.masked(&points).await?, [true, false]);

    painter.page.reload().await?;
    painter.page.click("#see-input").await?;
    painter.until("the picture of before", "return document.querySelector('#input')?.width > 1").await?;
    assert_eq!(painter.masked(&points).await?, [true, false], "what was painted is there still");
    painter.page.click("#mask-undo").await?;
    assert_eq!(painter.masked(&points).await?, [false, false], "and can be taken back");
    painter.complains().await
}

#[tokio::test]
async fn a_file_that_is_no_picture_is_told() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let files = Files::new()?;
    let painter = Painter::new(&browser, &worker).await?;
    let input = browser.element("#image-file").await?;
    input.send_keys(files.write("letter.txt", b"dear reader")?.to_str().context("a path is text")?).await?;
    painter.until("a sentence", "return document.querySelector('#errors').innerText.includes('PNG')").await
}
