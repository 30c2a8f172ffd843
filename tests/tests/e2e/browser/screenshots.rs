//! Pictures of the page, for people: `target/screenshots`, and the README's when `SD_UPDATE_SCREENSHOT=1`.

use std::path::Path;
use std::{env, fs};

use anyhow::{Result, ensure};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;

use super::page::{Job, Page};

/// Name, width, height, device pixels a px, whether it is a phone, colour scheme.
const SCREENS: [(&str, u32, u32, u32, bool, &str); 4] = [
    ("desktop-dark", 1440, 900, 1, false, "dark"),
    ("desktop-light", 1440, 900, 1, false, "light"),
    ("phone-dark", 390, 844, 2, true, "dark"),
    ("phone-light", 390, 844, 2, true, "light"),
];

/// Waits for two frames, in the second of which the page has taken its new form, and for what moves to arrive.
const SETTLE: &str = "
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const moving = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity);
    await Promise.allSettled(moving.map((one) => one.finished));
";

/// The picture in the README.
const README_PICTURE: (&str, &str) = ("desktop-dark", ".github/screenshot.png");

/// Keeps a picture of the page as it is now, once it has come to rest.
pub(crate) async fn keep(browser: &Browser, name: &str) -> Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    fs::create_dir_all(&folder)?;
    browser.evaluate_async(SETTLE, Vec::new()).await?;
    let png = browser.screenshot().await?;
    fs::write(folder.join(format!("{name}.png")), &png)?;
    Ok(png)
}

/// The same by day and by night.
pub(crate) async fn keep_both(browser: &Browser, name: &str) -> Result<()> {
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await?;
        keep(browser, &format!("{name}-{scheme}")).await?;
    }
    Ok(())
}

/// Asserts that nothing of the page lies beside the screen.
pub(crate) async fn fits(browser: &Browser, name: &str) -> Result<()> {
    let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    let overflow = browser.evaluate(overflow, Vec::new()).await?;
    ensure!(overflow == 0, "{name} scrolls sideways by {overflow} px");
    Ok(())
}

#[tokio::test]
async fn the_page_fits_desktops_and_phones() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::WebGpu).await?;
    let page = Page::open(&browser, &worker.url()).await?;
    page.submit(&Job { prompt: "a red hot air balloon over mountains at sunset", steps: 20, seed: 7, side_px: None })
        .await?;
    page.until_state("succeeded").await?;
    page.picture_size().await?;
    for (name, width, height, scale, is_phone, scheme) in SCREENS {
        browser.resize(width, height, scale, is_phone).await?;
        browser.prefer(scheme).await?;
        // The last field that was filled in may lie further down.
        browser.evaluate("scrollTo(0, 0)", Vec::new()).await?;
        let png = keep(&browser, name).await?;
        if README_PICTURE.0 == name && env::var_os("SD_UPDATE_SCREENSHOT").is_some_and(|value| value == "1") {
            fs::create_dir_all(root.join(".github"))?;
            fs::write(root.join(README_PICTURE.1), &png)?;
        }
        let shown = image::load_from_memory(&png)?;
        assert_eq!((shown.width(), shown.height()), (width * scale, height * scale), "{name}");
        fits(&browser, name).await?;
        let inside = "const box = document.querySelector('#submit').getBoundingClientRect(); \
                      return box.left >= 0 && box.right <= innerWidth && box.height >= 32";
        assert_eq!(browser.evaluate(inside, Vec::new()).await?, true, "{name}: #submit can be tapped");
    }
    Ok(())
}
