//! Pages of other origins: the package for them, as npm brings it and as the worker serves it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sd_tests::browser::{Browser, Graphics};
use sd_tests::origin::Origin;
use sd_tests::proxy::Proxy;
use sd_tests::worker::{TokenFile, Worker};
use sd_web_client::preview::oracle;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::accessible::{DESKTOP, PHONE, TABLET};
use super::screenshots;

/// Most that a channel of a pixel may differ from plain Rust, of 255.
const TOLERANCE: u8 = 2;

/// What scripts of these tests begin with: `url` is where the worker is, and the package comes from there.
const IMPORT: &str = "
    const [url, ...rest] = parameters;
    const { Client, PreviewCanvas, WorkerError } = await import(`${url}/pkg/index.js`);
    const fault = (call) => Promise.resolve().then(call).then(() => null, (error) => {
        if (!(error instanceof WorkerError && error instanceof Error)) throw error;
        return { code: error.code, message: error.message, fields: error.details.map(({ field }) => field) };
    });
    const quick = { prompt: 'a red hot air balloon over mountains at sunset', width: 128, height: 128, steps: 8, seed: 7 };
";

/// A worker and a page of another origin that it lets in.
struct Stage {
    worker: Worker,
    browser: Browser,
    _origin: Origin,
    _folder: TempDir,
}

impl Stage {
    async fn set(graphics: Graphics) -> Result<Self> {
        let (origin, folder) = (Origin::serve(&package()).await?, tempfile::tempdir()?);
        let worker = Worker::start_with(&folder, &["--cors-origin", &origin.url()]).await?;
        let browser = Browser::start(graphics).await?;
        browser.open(&format!("{}/README.md", origin.url())).await?;
        Ok(Self { worker, browser, _origin: origin, _folder: folder })
    }

    /// What `script` returns, which has what [`IMPORT`] names.
    async fn run(&self, script: &str, more: &[Value]) -> Result<Value> {
        self.run_at(&self.worker.url(), script, more).await
    }

    async fn run_at(&self, url: &str, script: &str, more: &[Value]) -> Result<Value> {
        let parameters = [&[Value::from(url)], more].concat();
        self.browser.evaluate_async(&format!("{IMPORT}\n{script}"), parameters).await
    }
}

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-client/pkg")
}

#[tokio::test]
async fn the_example_draws_a_live_preview_with_webgpu() -> Result<()> {
    example(Graphics::WebGpu).await
}

#[tokio::test]
async fn the_example_draws_a_live_preview_without_webgpu() -> Result<()> {
    example(Graphics::Canvas2d).await
}

async fn example(graphics: Graphics) -> Result<()> {
    let origin = Origin::serve(&package()).await?;
    let folder = tempfile::tempdir()?;
    let worker = Worker::start_with(&folder, &["--cors-origin", &origin.url()]).await?;
    let browser = Browser::start(graphics).await?;
    let url = format!("{}/example.html?worker={}", origin.url(), worker.url());
    for (screen, width, height, is_phone) in [DESKTOP, TABLET, PHONE] {
        browser.resize(width, height, 1, is_phone).await?;
        browser.open(&url).await?;
        watch(&browser, &worker).await.context(screen)?;
        screenshots::keep(&browser, &format!("example-{screen}-{}", graphics.backend())).await?;
    }
    Ok(())
}

/// Sees a preview and then the picture in the example.
async fn watch(browser: &Browser, worker: &Worker) -> Result<()> {
    // A canvas has 300 × 150 px until there is a preview on it.
    let script = "const canvas = document.querySelector('canvas'); \
                  return canvas ? canvas.width === 256 && canvas.height === 256 : 'too late'";
    assert_eq!(browser.until("a preview on the canvas", script).await?, true, "previews come before the picture");
    let screen = image::load_from_memory(&browser.screenshot().await?)?.to_rgb8();
    let colours: BTreeSet<_> = (0..256).map(|at| screen.get_pixel(20 + at % 16 * 14, 20 + at / 16 * 14).0).collect();
    assert!(colours.len() >= 8, "the preview is all but blank: {colours:?}");
    let script = "const picture = document.querySelector('img'); \
                  return picture?.complete && picture.naturalWidth ? [picture.naturalWidth, picture.src] : null";
    let picture = browser.until("the picture", script).await?;
    let url = picture[1].as_str().context("an address")?;
    assert!(picture[0] == 256 && url.starts_with(&worker.url()), "{picture}");
    let said = browser.evaluate("return document.querySelector('[role=status]').textContent", Vec::new()).await?;
    assert_eq!(said, "succeeded, step 20 of 20");
    let log = browser.log().await?;
    let is_fault = |line: &str| line.contains("SEVERE") && !line.contains("favicon.ico");
    assert!(!log.lines().any(is_fault), "the page complains:\n{log}");
    Ok(())
}

#[tokio::test]
async fn a_page_that_is_not_let_in_is_told_what_to_do() -> Result<()> {
    let origin = Origin::serve(&package()).await?;
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    browser.open(&format!("{}/example.html?worker={}", origin.url(), worker.url())).await?;
    let script = "const { textContent } = document.querySelector('[role=status]'); \
                  return textContent === 'connecting' ? null : textContent";
    let said = browser.until("a word about it", script).await?;
    let said = said.as_str().context("a sentence")?;
    assert!(said.contains(&worker.url()) && said.contains(&format!("--cors-origin {}", origin.url())), "{said}");
    let script = "const { Client } = await import('./index.js'); \
                  return Client.connect(parameters[0]).catch(({ name, code }) => ({ name, code }))";
    let fault = browser.evaluate_async(script, vec![worker.url().into()]).await?;
    assert_eq!(fault, json!({"name": "WorkerError", "code": "unreachable"}));
    Ok(())
}

#[tokio::test]
async fn a_job_tells_of_everything_until_its_picture() -> Result<()> {
    let stage = Stage::set(Graphics::Canvas2d).await?;
    let script = "
        const client = await Client.connect(url);
        const canvas = document.createElement('canvas');
        const preview = await PreviewCanvas.create(canvas);
        const job = client.submit({ ...quick, batch_size: 2 });
        preview.follow(job, { index: 1 });
        const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
        const drawn = [];
        job.on('preview', ({ index, step, frame, basis }) => {
            if (index !== 1 || drawn.length) return;
            const { width, height, data } = preview.readPixels();
            drawn.push({ step, width, height, basis, frame: base64(frame), pixels: base64(data) });
        });
        const changes = [], states = new Set();
        job.on('change', ({ state, step }) => changes.push([state, step]));
        for await (const { state } of job) states.add(state);
        const { images, request, timings } = await job.finished;
        const picture = await (await client.fetch(images[1].url)).blob();
        const again = client.attach(job.id);
        const found = await again.finished;
        const answer = {
            url: client.url, link: client.link, server: client.server,
            model: client.catalogue.models[0].name, side: client.limits.side_px_multiple,
            changes, states: [...states], urls: images.map(({ url }) => url), seed: request.seed, chosen: request.model,
            denoised: timings.denoise_ms > 0, picture: [picture.type, picture.size > 1000],
            found: found.images.length, another: again !== job, frozen: Object.isFrozen(found), drawn: drawn[0],
        };
        preview.close();
        client.close();
        answer.closed = [client.link, await fault(() => client.submit(quick)), found.state];
        return answer;
    ";
    let seen = stage.run(script, &[]).await?;
    assert_eq!((&seen["url"], &seen["link"]), (&json!(stage.worker.url()), &json!("connected")));
    assert!(seen["server"].as_str().is_some_and(|server| server.starts_with("sd-worker/")), "{}", seen["server"]);
    assert_eq!((&seen["seed"], &seen["chosen"], &seen["side"]), (&json!(7), &seen["model"], &json!(8)));
    let changes: Vec<(String, u32)> = serde_json::from_value(seen["changes"].clone())?;
    let running: Vec<_> = changes.iter().filter(|(state, _)| state == "running").map(|(_, step)| *step).collect();
    assert!(running.is_sorted() && running.len() >= 3 && running.ends_with(&[8]), "{changes:?}");
    assert!(seen["states"].as_array().is_some_and(|states| states.contains(&json!("succeeded"))), "{}", seen["states"]);
    for (index, url) in seen["urls"].as_array().context("addresses")?.iter().enumerate() {
        let url = url.as_str().context("an address")?;
        let path = url.strip_prefix(&stage.worker.url()).context("it is whole")?;
        assert!(path.starts_with("/v1/jobs/web-") && path.ends_with(&format!("/images/{index}")), "{path}");
    }
    assert_eq!((&seen["denoised"], &seen["picture"]), (&json!(true), &json!(["image/png", true])));
    assert_eq!((&seen["found"], &seen["another"], &seen["frozen"]), (&json!(2), &json!(true), &json!(true)));
    assert_eq!((&seen["closed"][0], &seen["closed"][1]["code"]), (&json!("closed"), &json!("closed")));
    same_as_oracle(&seen["drawn"])
}

/// Asserts that the canvas showed what plain Rust makes of the frame.
fn same_as_oracle(drawn: &Value) -> Result<()> {
    let bytes = |name: &str| Ok::<_, anyhow::Error>(BASE64_STANDARD.decode(drawn[name].as_str().context("base64")?)?);
    let expected = oracle::draw(&bytes("frame")?, &serde_json::from_value(drawn["basis"].clone())?)?;
    assert_eq!((&drawn["width"], &drawn["height"]), (&json!(expected.width), &json!(expected.height)));
    let pixels = bytes("pixels")?;
    assert_eq!(pixels.len(), expected.rgba.len());
    let worst = pixels.iter().zip(&expected.rgba).map(|(found, expected)| found.abs_diff(*expected)).max();
    assert!(worst.is_some_and(|worst| worst <= TOLERANCE), "differs by {worst:?}/255");
    Ok(())
}

#[tokio::test]
async fn what_is_not_granted_is_an_error_with_a_code() -> Result<()> {
    let stage = Stage::set(Graphics::Canvas2d).await?;
    let script = "
        const client = await Client.connect(url);
        const long = client.submit({ ...quick, steps: 150, width: 512, height: 512 });
        const started = new Promise((resolve) => long.on('change', ({ step }) => step > 0 && resolve()));
        await started;
        const twice = await fault(() => client.submit({ ...quick, id: long.id }));
        const same = client.attach(long.id) === long;
        long.cancel();
        const canceled = await fault(() => long.finished);
        const states = [];
        for await (const { state } of long) states.push(state);
        const faults = {
            twice, canceled,
            misspelt: await fault(() => client.submit({ ...quick, stepz: 3 })),
            faulty: await fault(() => client.submit({ ...quick, width: 9, steps: 0 }).finished),
            unknown: await fault(() => client.attach('nobody').finished),
            nameless: await fault(() => client.attach('no name at all/')),
            route: await fault(() => client.fetch('/v1/nothing')),
            picture: await fault(() => client.upload(new Blob(['no picture']))),
        };
        const elsewhere = await client.fetch('https://example.org/').catch((error) => error.constructor.name);
        const open = client.submit({ ...quick, steps: 150 });
        client.close();
        faults.closed = await fault(() => open.finished);
        return { faults, states, same, elsewhere, step: long.snapshot.step };
    ";
    let seen = stage.run(script, &[]).await?;
    let code = |name: &str| seen["faults"][name]["code"].as_str().unwrap_or("none").to_owned();
    assert_eq!(
        ["twice", "canceled", "misspelt", "faulty", "unknown", "nameless", "route", "closed"].map(code),
        [
            "invalid_request",
            "canceled",
            "invalid_request",
            "invalid_request",
            "job_not_found",
            "invalid_request",
            "not_found",
            "closed"
        ],
        "{seen}"
    );
    assert_ne!(code("picture"), "none", "{seen}");
    let fields = |name: &str| seen["faults"][name]["fields"].clone();
    assert_eq!((fields("misspelt"), fields("faulty")), (json!(["stepz"]), json!(["width", "steps"])));
    assert_eq!((&seen["states"], &seen["same"]), (&json!(["canceled"]), &json!(true)));
    assert_eq!(seen["elsewhere"], "TypeError", "the token is shown to nobody else");
    assert!(seen["step"].as_u64().is_some_and(|step| step < 150), "nothing was left to cancel");
    Ok(())
}

#[tokio::test]
async fn a_token_opens_the_worker_to_a_page() -> Result<()> {
    let origin = Origin::serve(&package()).await?;
    let tokens = TokenFile::new(&[("alice", "")]).await?;
    let worker = Worker::start_guarded(&["--ephemeral", "--cors-origin", &origin.url()], &tokens, None).await?;
    let browser = Browser::start(Graphics::Canvas2d).await?;
    browser.open(&format!("{}/README.md", origin.url())).await?;
    let script = format!(
        "{IMPORT}
        const closed = await fault(() => Client.connect(url));
        const wrong = await fault(() => Client.connect(url, {{ token: 'sdw_wrong' }}));
        const client = await Client.connect(url, {{ token: rest[0] }});
        const {{ images }} = await client.submit(quick).finished;
        const plain = await fetch(images[0].url);
        const picture = await (await client.fetch(images[0].url)).blob();
        client.close();
        return {{ closed, wrong, plain: plain.status, picture: picture.type }};"
    );
    let seen = browser.evaluate_async(&script, vec![worker.url().into(), tokens.token(0).into()]).await?;
    for (name, word) in [("closed", "asks for a token"), ("wrong", "refuses this token")] {
        assert_eq!(seen[name]["code"], "unauthorized");
        assert!(seen[name]["message"].as_str().is_some_and(|text| text.contains(word)), "{seen}");
    }
    assert_eq!((&seen["plain"], &seen["picture"]), (&json!(401), &json!("image/png")));
    Ok(())
}

#[tokio::test]
async fn a_lost_connection_is_repaired_for_a_page() -> Result<()> {
    let stage = Stage::set(Graphics::Canvas2d).await?;
    let wire = Proxy::start(&stage.worker).await?;
    let script = "
        window.links = [];
        window.client = await Client.connect(url);
        client.on('change', ({ link }) => links.push(link));
        window.job = client.submit({ ...quick, steps: 150, width: 512, height: 512 });
    ";
    stage.run_at(&wire.url(), script, &[]).await?;
    stage.browser.until("a preview", "return window.job.previews.length > 0").await?;
    wire.cut();
    let lost = "window.step = window.job.previews[0].step; return window.links.includes('waiting')";
    stage.browser.until("the loss to be told", lost).await?;
    wire.mend();
    let back = "return window.client.link === 'connected' && window.job.previews[0].step > window.step";
    stage.browser.until("a newer preview of the same job", back).await?;
    stage.browser.evaluate("window.job.cancel()", Vec::new()).await?;
    stage.browser.until("the end of the job", "return window.job.snapshot.state === 'canceled'").await?;
    Ok(())
}

#[tokio::test]
async fn a_canvas_outlives_its_gpu() -> Result<()> {
    let stage = Stage::set(Graphics::WebGpu).await?;
    let script = "
        window.client = await Client.connect(url);
        const canvas = document.body.appendChild(document.createElement('canvas'));
        window.preview = await PreviewCanvas.create(canvas, { backend: 'webgpu' });
        window.job = client.submit({ ...quick, steps: 150, width: 256, height: 256 });
        window.drawn = () => {
            try { return new Set(new Uint32Array(preview.readPixels()?.data.buffer ?? [])).size >= 8; } catch { return false; }
        };
        preview.follow(job, { decoder: 'always' });
    ";
    stage.run(script, &[]).await?;
    stage.browser.until("a decoded preview", "return window.drawn() && window.preview.drawn === 'decoder'").await?;
    stage.browser.crash_gpu().await?;
    stage.browser.until("the loss", "return !window.drawn()").await?;
    stage.browser.until("another GPU", "return window.drawn()").await?;
    stage.browser.evaluate("window.job.cancel(); window.preview.close(); window.client.close()", Vec::new()).await?;
    Ok(())
}
