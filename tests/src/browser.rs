//! Headless Chromium through chromedriver, and the page of the browser client.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fantoccini::actions::{InputSource as _, MOUSE_BUTTON_LEFT, MouseActions, PointerAction};
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::tungstenite::http::Method;

use crate::{DEADLINE, within};

/// Time between two looks at the page.
const LOOK_INTERVAL: Duration = Duration::from_millis(15);

/// Control and A, and then no key any more, as WebDriver writes them.
const SELECT_ALL: &str = "\u{e009}a\u{e000}";
const BACKSPACE: &str = "\u{e003}";

/// What this browser draws previews with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graphics {
    /// WebGPU on a software adapter.
    WebGpu,
    /// No WebGPU: the 2D canvas.
    Canvas2d,
}

impl Graphics {
    /// The `data-backend` of a canvas that is drawn this way.
    pub fn backend(self) -> &'static str {
        match self {
            Self::WebGpu => "webgpu",
            Self::Canvas2d => "canvas2d",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::WebGpu => &[
                "--enable-unsafe-webgpu",
                "--enable-features=Vulkan",
                "--use-vulkan=swiftshader",
                "--use-angle=swiftshader",
            ],
            Self::Canvas2d => &["--disable-features=WebGPU", "--disable-gpu"],
        }
    }
}

/// chromedriver with the browsers that it started; all of them are ended when this is dropped.
///
/// A driver that is killed leaves its browser behind, so they get a process group of their own to die with.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
        if let Err(error) = kill_process_group(group, Signal::KILL) {
            eprintln!("chromedriver could not be ended: {error}");
        }
    }
}

/// A browser; ended when dropped.
pub struct Browser {
    client: Client,
    // Field order is drop order: the profile can go when nobody writes to it any more.
    _driver: Driver,
    _stdout: Lines<BufReader<ChildStdout>>,
    _profile: TempDir,
}

impl Browser {
    /// Starts chromedriver on a free port and Chromium with an empty profile.
    ///
    /// # Errors
    /// When one of them is missing or does not start.
    pub async fn start(graphics: Graphics) -> anyhow::Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("chromedriver does not start; `cargo xtask test` installs it where it can")?;
        let stdout = driver.stdout.take();
        let driver = Driver(driver);
        let mut stdout = BufReader::new(stdout.context("the output is a pipe")?).lines();
        let port = within("chromedriver's port", async {
            while let Some(line) = stdout.next_line().await? {
                if let Some((_, port)) = line.trim_end_matches('.').split_once("started successfully on port ") {
                    return Ok(port.to_owned());
                }
            }
            bail!("chromedriver ended before it listened")
        })
        .await??;

        let profile = tempfile::tempdir()?;
        let mut flags = vec![format!("--user-data-dir={}", profile.path().display())];
        let always = [
            "--headless=new",
            // Chromium's sandbox refuses to run as root, as containers and test machines do.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
            "--window-size=1440,1000",
        ];
        flags.extend(always.iter().chain(graphics.flags()).map(|flag| (*flag).to_owned()));
        let capabilities = json!({"goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"}});
        let Value::Object(capabilities) = capabilities else { bail!("capabilities are an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let driver_url = format!("http://127.0.0.1:{port}");
        let client = within("chromium", builder.connect(&driver_url)).await?.context("chromium does not start")?;
        Ok(Self { client, _driver: driver, _stdout: stdout, _profile: profile })
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        Ok(within("the page", self.client.goto(url)).await??)
    }

    /// Reloads the page.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn reload(&self) -> anyhow::Result<()> {
        Ok(within("the page", self.client.refresh()).await??)
    }

    /// An element, as soon as there is one.
    ///
    /// # Errors
    /// When there is none.
    pub async fn element(&self, css: &str) -> anyhow::Result<Element> {
        let found = self.client.wait().at_most(DEADLINE).every(LOOK_INTERVAL).for_element(Locator::Css(css));
        found.await.with_context(|| format!("no element {css}"))
    }

    /// Types into a field in place of what stands there.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn fill(&self, css: &str, text: &str) -> anyhow::Result<()> {
        // With keys, as a person does: WebDriver's own way leaves the field when it is empty, and a field that is left
        // empty takes its default.
        Ok(self.element(css).await?.send_keys(&format!("{SELECT_ALL}{BACKSPACE}{text}")).await?)
    }

    /// Chooses a value of a menu.
    ///
    /// # Errors
    /// When there is no such menu or value.
    pub async fn choose(&self, css: &str, value: &str) -> anyhow::Result<()> {
        let menu = self.element(css).await?;
        menu.select_by_value(value).await.with_context(|| format!("{css} has no {value:?}"))
    }

    /// Clicks.
    ///
    /// # Errors
    /// When there is nothing to click.
    pub async fn click(&self, css: &str) -> anyhow::Result<()> {
        self.element(css).await?.click().await.with_context(|| format!("{css} cannot be clicked"))
    }

    /// Presses the mouse at one place of an element and releases it at another; both are shares of its width and height.
    ///
    /// # Errors
    /// When there is no such element.
    pub async fn drag(&self, css: &str, from: (f64, f64), to: (f64, f64)) -> anyhow::Result<()> {
        let element = self.element(css).await?;
        let centre = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })";
        self.evaluate(centre, vec![serde_json::to_value(&element)?]).await?;
        let (left, top, width, height) = element.rectangle().await?;
        let scrolled = self.evaluate("return [scrollX, scrollY]", Vec::new()).await?;
        let (left, top) = (left - scrolled[0].as_f64().unwrap_or(0.0), top - scrolled[1].as_f64().unwrap_or(0.0));
        let at = |(x, y): (f64, f64)| PointerAction::MoveTo {
            duration: Some(Duration::ZERO),
            x: (left + x * width).round(),
            y: (top + y * height).round(),
        };
        let mouse = MouseActions::new("mouse".to_owned())
            .then(at(from))
            .then(PointerAction::Down { button: MOUSE_BUTTON_LEFT })
            .then(at(to))
            .then(PointerAction::Up { button: MOUSE_BUTTON_LEFT });
        Ok(within("a drag", self.client.perform_actions(mouse)).await??)
    }

    /// Types into an element while Control is held.
    ///
    /// # Errors
    /// When there is no such element.
    pub async fn keys_with_control(&self, css: &str, keys: &str) -> anyhow::Result<()> {
        let held = format!("{}{keys}", char::from(Key::Control));
        Ok(self.element(css).await?.send_keys(&held).await?)
    }

    /// Runs the body of a function in the page and returns what it returns.
    ///
    /// # Errors
    /// When it throws.
    pub async fn evaluate(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<Value> {
        Ok(within("a script", self.client.execute(script, arguments)).await??)
    }

    /// Runs the body of an async function in the page and returns what it resolves to.
    ///
    /// # Errors
    /// When it throws.
    pub async fn evaluate_async(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<Value> {
        let wrapped = format!(
            "const done = arguments[arguments.length - 1]; const parameters = [...arguments].slice(0, -1);\n\
             (async function () {{ {script} }})(...parameters)\n\
             .then((value) => done({{ value }}), (error) => done({{ error: String(error?.stack ?? error) }}));"
        );
        let mut outcome = within("a script", self.client.execute_async(&wrapped, arguments)).await??;
        ensure!(outcome.get("error").is_none(), "the script threw {}", outcome["error"]);
        Ok(outcome["value"].take())
    }

    /// Looks at the page through `script` until it returns something other than `null` or `false`.
    ///
    /// # Errors
    /// When it does not; the error says what the page showed last.
    pub async fn until(&self, what: &str, script: &str) -> anyhow::Result<Value> {
        let start = Instant::now();
        loop {
            let seen = self.evaluate(script, Vec::new()).await?;
            if !seen.is_null() && seen != Value::Bool(false) {
                return Ok(seen);
            }
            if start.elapsed() > DEADLINE {
                let page = self.evaluate("return document.body.innerText", Vec::new()).await?;
                bail!("waited {DEADLINE:?} in vain for {what}; the page shows {page}\n{}", self.log().await?);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Makes the viewport `width` × `height` px, as of a screen with `scale` device pixels a px.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn resize(&self, width: u32, height: u32, scale: u32, is_phone: bool) -> anyhow::Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone});
        self.client.issue_cmd(DevTools { method: "Emulation.setDeviceMetricsOverride", parameters: metrics }).await?;
        Ok(())
    }

    /// Makes the page believe that the user prefers `scheme`, `light` or `dark`, and no motion, so that what is looked at
    /// is at rest.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn prefer(&self, scheme: &str) -> anyhow::Result<()> {
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.client.issue_cmd(DevTools { method: "Emulation.setEmulatedMedia", parameters: features }).await?;
        Ok(())
    }

    /// Ends the browser's GPU process: every device of every page is lost.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn crash_gpu(&self) -> anyhow::Result<()> {
        self.client.issue_cmd(DevTools { method: "Browser.crashGpuProcess", parameters: json!({}) }).await?;
        Ok(())
    }

    /// The viewport as a PNG.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn screenshot(&self) -> anyhow::Result<Vec<u8>> {
        Ok(within("a screenshot", self.client.screenshot()).await??)
    }

    /// What the page wrote to the console since the last look, one entry a line.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn log(&self) -> anyhow::Result<String> {
        let entries = self.client.issue_cmd(ConsoleLog).await?;
        let entries = entries.as_array().context("a log is a list")?;
        let lines = entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"]));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// A command of Chromium's own protocol.
#[derive(Debug)]
struct DevTools {
    method: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"cmd": self.method, "params": self.parameters}).to_string()))
    }
}

/// What the page wrote to the console.
#[derive(Debug)]
struct ConsoleLog;

impl WebDriverCompatibleCommand for ConsoleLog {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"type": "browser"}).to_string()))
    }
}
