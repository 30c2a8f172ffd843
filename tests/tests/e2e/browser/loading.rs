//! How soon the page can be used, and what a browser fetches when it comes back.

use std::time::Duration;

use anyhow::{Context, Result};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;

/// Longest time between the begin of the navigation and a page that draws when asked to.
const INTERACTIVE_MAX: Duration = Duration::from_secs(1);

/// Loads that are timed; the middle one counts.
const LOADS: usize = 5;

/// Milliseconds since the navigation began, once the page is connected and can be told to draw.
const INTERACTIVE: &str = "return document.querySelector('#submit:enabled') ? performance.now() : null";

/// The files of the page that were not in the browser's cache.
const FETCHED: &str = "
    const files = performance.getEntriesByType('resource').filter((file) => /-[0-9a-f]{16}[.]/.test(file.name));
    return [files.length, files.filter((file) => file.transferSize > 0).map((file) => file.name)];
";

#[tokio::test]
async fn the_page_is_interactive_within_a_second() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let mut times = Vec::new();
    for _ in 0..LOADS {
        browser.open(&worker.url()).await?;
        let time = browser.until("a page that can draw", INTERACTIVE).await?;
        times.push(Duration::from_secs_f64(time.as_f64().context("a time is a number")? / 1000.0));
    }
    println!("interactive after {times:?}");
    times.sort_unstable();
    let median = times[LOADS / 2];
    assert!(median <= INTERACTIVE_MAX, "the page takes {median:?}");
    Ok(())
}

#[tokio::test]
async fn a_browser_that_comes_back_fetches_nothing_again() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    browser.open(&worker.url()).await?;
    browser.until("a page that can draw", INTERACTIVE).await?;
    let first = browser.evaluate(FETCHED, Vec::new()).await?;
    let files = first[0].as_u64().context("a count")?;
    assert!(files >= 4 && first[1].as_array().is_some_and(|fetched| !fetched.is_empty()), "{first}");
    browser.reload().await?;
    browser.until("a page that can draw", INTERACTIVE).await?;
    let again = browser.evaluate(FETCHED, Vec::new()).await?;
    assert_eq!(again[1].as_array().map(Vec::len), Some(0), "fetched again: {again}");
    Ok(())
}
