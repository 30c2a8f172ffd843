//! The page of a worker that asks for a token.

use anyhow::Result;
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::{TokenFile, Worker};

use super::page::{Job, Page};

#[tokio::test]
async fn a_worker_with_tokens_asks_the_person_for_one() -> Result<()> {
    let tokens = TokenFile::new(&[("alice", "")]).await?;
    let worker = Worker::start_guarded(&["--ephemeral"], &tokens, None).await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    let page = Page::open_locked(&browser, &worker.url()).await?;

    let note = "return document.querySelector('#unlock-note')?.innerText";
    let first = browser.evaluate(note, Vec::new()).await?;
    page.fill("#token", "sdw_somebody-elses").await?;
    page.click("#unlock button").await?;
    let changed = format!("{note} !== {first} ? true : null");
    browser.until("a word on the wrong token", &changed).await?;

    page.fill("#token", tokens.token(0)).await?;
    page.click("#unlock button").await?;
    page.until_connection("connected").await?;
    browser.until("the question to go", "return document.querySelector('#unlock') ? null : true").await?;
    page.submit(&Job { prompt: "mountains at noon", steps: 4, seed: 9, side_px: None }).await?;
    page.until_state("succeeded").await?;
    assert_eq!(page.picture_size().await?, (256, 256), "the picture is fetched with the token");

    page.reload().await?;
    assert_eq!(page.picture_size().await?, (256, 256), "the tab keeps the token");
    let kept = "return JSON.stringify([sessionStorage, localStorage].map(s => JSON.stringify(s).includes('sdw_')))";
    assert_eq!(browser.evaluate(kept, Vec::new()).await?, "[true,false]", "only the tab keeps it");
    let log = browser.log().await?;
    assert!(!log.contains("SEVERE"), "the page complains:\n{log}");
    Ok(())
}
