//! The form: words and weights, sizes and seeds, what changes a model, keys and undo.

use std::fs;

use anyhow::{Context, Result};
use fantoccini::key::Key;
use sd_protocol::{ImageFormat, LoraRequest};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;
use serde_json::Value;
use tempfile::TempDir;

use super::page::{Job, Page};
use super::screenshots;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens");

/// A worker with two tiny models of one latent space, LoRAs and embeddings.
async fn equipped(folder: &TempDir) -> Result<Worker> {
    let model = |name: &str| format!("{name}={GOLDENS}/{name}");
    let (lora, embedding) = (format!("{GOLDENS}/lora"), format!("{GOLDENS}/embeddings"));
    let embeddings = folder.path().join("embeddings");
    fs::create_dir(&embeddings)?;
    fs::copy(format!("{embedding}/hills-style.safetensors"), embeddings.join("hills-style.safetensors"))?;
    let embeddings = embeddings.to_str().context("a temporary folder has a plain name")?;
    let (first, second) = (model("sd1"), model("sd2"));
    let flags = ["--model", &first, "--model", &second, "--lora-dir", &lora, "--embedding-dir", embeddings];
    Worker::start_with(folder, &flags).await
}

/// The page under test.
struct Form<'a> {
    browser: &'a Browser,
    page: Page<'a>,
}

impl<'a> Form<'a> {
    async fn open(browser: &'a Browser, worker: &Worker) -> Result<Self> {
        let page = Page::open(browser, &worker.url()).await?;
        Ok(Self { browser, page })
    }

    async fn value(&self, css: &str) -> Result<String> {
        let script = format!("return document.querySelector({css:?})?.value ?? ''");
        Ok(self.browser.evaluate(&script, Vec::new()).await?.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a field holds `text`.
    async fn until_value(&self, css: &str, text: &str) -> Result<()> {
        let script = format!("return document.querySelector({css:?})?.value === {text:?}");
        self.browser.until(&format!("{css} to hold {text:?}"), &script).await?;
        Ok(())
    }

    /// Waits until an element is there, or is not.
    async fn until_there(&self, css: &str, is_there: bool) -> Result<()> {
        let script = format!("return Boolean(document.querySelector({css:?})) === {is_there}");
        self.browser.until(&format!("{css}: {is_there}"), &script).await?;
        Ok(())
    }

    async fn press(&self, css: &str, keys: &str) -> Result<()> {
        Ok(self.browser.element(css).await?.send_keys(keys).await?)
    }

    /// Presses keys while no text has the focus.
    async fn press_anywhere(&self, keys: &str) -> Result<()> {
        self.leave().await?;
        self.press("body", keys).await
    }

    /// Takes the focus from whatever has it.
    async fn leave(&self) -> Result<()> {
        self.browser.evaluate("document.activeElement?.blur()", Vec::new()).await?;
        Ok(())
    }

    async fn place_cursor(&self, css: &str, start: u32, end: u32) -> Result<()> {
        let script = format!(
            "const text = document.querySelector({css:?}); text.focus(); text.setSelectionRange({start}, {end})"
        );
        self.browser.evaluate(&script, Vec::new()).await?;
        Ok(())
    }
}

fn ctrl(key: Key) -> String {
    Key::Control + &key
}

#[tokio::test]
async fn the_form_with_webgpu() -> Result<()> {
    the_form(Graphics::WebGpu).await
}

#[tokio::test]
async fn the_form_without_webgpu() -> Result<()> {
    the_form(Graphics::Canvas2d).await
}

async fn the_form(graphics: Graphics) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = equipped(&folder).await?;
    let browser = Browser::start(graphics).await?;
    let form = Form::open(&browser, &worker).await?;
    words_are_weighed_by_key(&form).await.context("weights")?;
    tokens_are_counted(&form).await.context("tokens")?;
    sizes_are_chosen_swapped_and_rounded(&form).await.context("sizes")?;
    sweeps_are_taken_back(&form).await.context("undo")?;
    adapters_reach_the_worker(&form, &worker).await.context("adapters")?;
    seeds_are_kept_and_rolled(&form).await.context("seeds")?;
    keys_are_listed(&form).await.context("keys")?;
    it_fits_every_screen(&form, graphics).await.context("screens")?;
    let log = browser.log().await?;
    assert!(!log.contains("SEVERE"), "the page complains:\n{log}");
    Ok(())
}

async fn words_are_weighed_by_key(form: &Form<'_>) -> Result<()> {
    form.page.fill("#prompt", "a red house").await?;
    form.place_cursor("#prompt", 3, 3).await?;
    form.press("#prompt", &ctrl(Key::Up)).await?;
    form.until_value("#prompt", "a (red:1.1) house").await?;
    form.press("#prompt", &ctrl(Key::Up)).await?;
    form.until_value("#prompt", "a (red:1.2) house").await?;
    form.press("#prompt", &(Key::Control + "z")).await?;
    form.until_value("#prompt", "a (red:1.1) house").await.context("the browser's own undo")?;
    form.press("#prompt", &ctrl(Key::Down)).await?;
    form.until_value("#prompt", "a red house").await?;
    form.place_cursor("#prompt", 2, 11).await?;
    form.press("#prompt", &ctrl(Key::Down)).await?;
    form.until_value("#prompt", "a (red house:0.9)").await
}

async fn tokens_are_counted(form: &Form<'_>) -> Result<()> {
    let counted =
        |id: &str, text: &str| format!("return document.querySelector('#{id}-tokens')?.innerText.includes({text:?})");
    form.page.fill("#prompt", "a red house").await?;
    form.browser.until("a count", &counted("prompt", " of 75 tokens")).await?;
    form.until_there(".tokens details", false).await?;
    form.page.fill("#negative-prompt", "rain BREAK snow").await?;
    form.browser.until("two chunks", &counted("negative-prompt", "in 2 chunks of 75")).await?;
    form.page.click(".tokens summary").await?;
    let chunks = "return [...document.querySelectorAll('.tokens li')].map((li) => li.firstChild.data).join('|')";
    assert_eq!(form.browser.evaluate(chunks, Vec::new()).await?, "rain|snow");
    form.page.fill("#negative-prompt", "").await?;
    form.press("#negative-prompt", " ").await?;
    form.until_there(".tokens details", false).await
}

async fn sizes_are_chosen_swapped_and_rounded(form: &Form<'_>) -> Result<()> {
    form.page.fill("#width", "251").await?;
    form.leave().await?;
    form.until_value("#width", "248").await?;
    form.page.fill("#width", "64").await?;
    form.page.fill("#height", "96").await?;
    form.page.click("#swap").await?;
    form.until_value("#width", "96").await?;
    form.until_value("#height", "64").await?;
    form.page.click("[aria-label^=Square]").await?;
    form.until_there("[aria-label^=Square][aria-pressed=true]", true).await?;
    assert_eq!(form.value("#width").await?, form.value("#height").await?);

    form.page.fill("#width", "4096").await?;
    form.leave().await?;
    let fault = "return document.querySelector('#width-fault')?.innerText ?? null";
    assert_eq!(form.browser.until("a word on the bounds", fault).await?, "Width should be 64 to 2048");
    let invalid = "return document.querySelector('#width').ariaInvalid";
    assert_eq!(form.browser.evaluate(invalid, Vec::new()).await?, "true");
    form.page.fill("#width", "64").await?;
    form.page.fill("#height", "64").await?;
    form.until_there("#width-fault", false).await
}

async fn sweeps_are_taken_back(form: &Form<'_>) -> Result<()> {
    form.page.fill("#steps", "3").await?;
    form.page.click("#reset").await?;
    form.until_there("#undo", true).await?;
    assert_ne!(form.value("#steps").await?, "3");
    form.page.fill("#prompt", "a blue house").await?;
    form.page.fill("#width", "128").await?;
    form.page.click("[aria-label^=Square]").await?;
    form.until_value("#width", "64").await?;
    form.page.click("#undo").await?;
    form.until_value("#width", "128").await?;
    form.press_anywhere(&(Key::Control + "z")).await?;
    form.until_value("#width", "64").await?;
    form.press_anywhere(&(Key::Control + "z")).await?;
    form.until_value("#prompt", "a red house").await.context("letters in a row are one change")?;
    form.until_there("#undo", true).await?;
    form.page.click("#undo").await?;
    form.until_value("#steps", "3").await?;
    form.until_value("#width", "64").await?;
    let focus = "return document.activeElement?.id";
    assert_eq!(form.browser.evaluate(focus, Vec::new()).await?, "submit", "the focus is not lost with the button");
    Ok(())
}

async fn adapters_reach_the_worker(form: &Form<'_>, worker: &Worker) -> Result<()> {
    for name in ["kohya", "peft"] {
        form.browser.choose("#add-lora", name).await?;
        form.page.click("#add-lora-button").await?;
    }
    form.until_value("#lora-1", "1").await?;
    form.page.click("#remove-lora-0").await?;
    form.until_there("#lora-1", false).await?;
    form.page.fill("#lora-0", "-0.4").await?;
    form.page.click("#embeddings summary").await?;
    form.page.fill("#prompt", "a house").await?;
    form.page.click("#embeddings button").await?;
    form.until_value("#prompt", "a house, hills-style").await?;
    form.browser.choose("[id='refiner-model']", "sd2").await?;
    form.page.fill("[id='refiner-switch-at']", "0.5").await?;
    form.page.click("#advanced summary").await?;
    form.browser.choose("#output-format", "jpg").await?;
    form.page.fill("#output-quality", "80").await?;
    form.page.fill("#guidance-rescale", "0.5").await?;

    form.page.reload().await?;
    form.until_value("#lora-0", "-0.4").await.context("the form remembers itself")?;
    form.page.fill("#steps", "4").await?;
    let last = form.page.job_id().await.ok();
    form.press("#steps", &ctrl(Key::Enter)).await?;
    form.browser.until("a job", "return document.querySelector('#job')?.dataset.jobId || null").await?;
    form.page.until_state("succeeded").await?;
    let id = form.page.job_id().await?;
    assert_ne!(last, Some(id.clone()));
    let request = worker.api().view(&id).await?.request;
    assert_eq!(request.loras, Some(vec![LoraRequest { name: "peft".into(), weight: -0.4 }]));
    let refiner = request.refiner.context("a refiner")?;
    assert_eq!((refiner.model.as_str(), refiner.switch_at), ("sd2", 0.5));
    let output = request.output.context("an output")?;
    assert_eq!((output.format, output.quality), (ImageFormat::Jpeg, 80));
    assert_eq!((request.guidance_rescale, request.steps), (Some(0.5), Some(4)));
    Ok(())
}

async fn seeds_are_kept_and_rolled(form: &Form<'_>) -> Result<()> {
    form.until_there("#dice[aria-pressed=true]", true).await?;
    form.page.click("#lock").await?;
    form.until_there("#lock[aria-pressed=true]", true).await?;
    let shown = "return [...document.querySelectorAll('.facts dd')].map((dd) => dd.innerText)";
    let facts = form.browser.evaluate(shown, Vec::new()).await?;
    let seed = form.value("#seed").await?;
    assert!(facts.as_array().is_some_and(|facts| facts.iter().any(|fact| *fact == seed.as_str())), "{seed} in {facts}");
    form.page.click("#dice").await?;
    form.until_value("#seed", "").await
}

async fn keys_are_listed(form: &Form<'_>) -> Result<()> {
    let open = ":popover-open#shortcuts";
    form.page.click("#help").await?;
    form.until_there(open, true).await?;
    form.press("#shortcuts", &Key::Escape.to_string()).await?;
    form.until_there(open, false).await?;
    form.press_anywhere("?").await?;
    form.until_there(open, true).await?;
    form.press("#shortcuts", &Key::Escape.to_string()).await?;
    form.until_there(open, false).await
}

async fn it_fits_every_screen(form: &Form<'_>, graphics: Graphics) -> Result<()> {
    form.browser.evaluate("document.querySelector('#advanced').open = true", Vec::new()).await?;
    for (width, height, is_phone) in [(1440, 1500, false), (768, 1700, false), (390, 2400, true)] {
        form.browser.resize(width, height, 1, is_phone).await?;
        let name = format!("form-{width}-{}", graphics.backend());
        screenshots::keep_both(form.browser, &name).await?;
        screenshots::fits(form.browser, &name).await?;
        let small = "const least = arguments[0]; \
             return [...document.querySelectorAll('form button, form summary, form select')] \
               .filter((one) => one.checkVisibility()) \
               .filter((one) => { const box = one.getBoundingClientRect(); \
                 return box.height < least || box.width < 24 || box.right > innerWidth; }) \
               .map((one) => one.outerHTML.slice(0, 80))";
        let least = if is_phone { 40 } else { 24 };
        let small = form.browser.evaluate(small, vec![least.into()]).await?;
        assert_eq!(small, Value::Array(Vec::new()), "{width} px: too small to be hit");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_worker_does_not_have_is_not_offered() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let form = Form::open(&browser, &worker).await?;
    form.until_there("#width", true).await?;
    for css in ["#add-lora", "#embeddings", "[id='refiner-model']", "#model", "#lock", "#undo"] {
        form.until_there(css, false).await?;
    }
    form.page.submit(&Job { prompt: "mountains at noon", steps: 4, seed: 9, side_px: None }).await?;
    form.page.until_state("succeeded").await
}
