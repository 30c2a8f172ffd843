//! The binary `sd-worker`, started on a free port with a folder of its own.

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::StatusCode;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::api::Api;
use crate::within;

/// Time between two looks at `/ready`.
const READY_INTERVAL: Duration = Duration::from_millis(20);

/// What the worker prints before its address.
const ANNOUNCEMENT: &str = "sd-worker listening on ";

/// A free port that only this machine reaches.
const LOOPBACK: &str = "127.0.0.1:0";

/// A running worker; killed when dropped.
pub struct Worker {
    child: Child,
    address: String,
    api: Api,
    // Held, so that the worker does not write into a closed pipe.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts a worker that keeps nothing and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let worker = Self::spawn(&["--ephemeral"]).await?;
        worker.ready().await?;
        Ok(worker)
    }

    /// Starts a worker that keeps its jobs in `folder` and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_in(folder: &TempDir) -> anyhow::Result<Self> {
        Self::start_with(folder, &[]).await
    }

    /// Starts a worker with more flags that keeps its jobs in `folder` and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(folder: &TempDir, flags: &[&str]) -> anyhow::Result<Self> {
        let worker = Self::spawn_in(folder, flags).await?;
        worker.ready().await?;
        Ok(worker)
    }

    /// As [`Worker::start_with`], and waits only until it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn spawn_in(folder: &TempDir, flags: &[&str]) -> anyhow::Result<Self> {
        let folder = folder.path().to_str().context("a temporary folder has a plain name")?;
        Self::spawn(&[&["--data-dir", folder], flags].concat()).await
    }

    /// Starts a worker with more flags and waits until it listens; its model may still be loading.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn spawn(flags: &[&str]) -> anyhow::Result<Self> {
        Self::spawn_at(LOOPBACK, flags, &[]).await
    }

    /// Starts a worker on another address and with more of an environment, and waits until it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn spawn_at(listen: &str, flags: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(["serve", "--listen", listen]).args(flags).envs(variables.iter().copied());
        Self::launch(&mut command).await
    }

    /// Starts a worker that asks for tokens and waits until it is ready. Everything that it logs goes to `log`, where
    /// there is one.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_guarded(flags: &[&str], tokens: &TokenFile, log: Option<File>) -> anyhow::Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(["serve", "--listen", LOOPBACK]).args(flags).arg("--token-file").arg(tokens.path());
        if let Some(log) = log {
            command.env("SD_WORKER_LOG", "trace").stderr(log);
        }
        let worker = Self::launch(&mut command).await?;
        worker.ready().await?;
        Ok(worker)
    }

    /// Runs a worker that does not start; what it says on the way out.
    ///
    /// # Errors
    /// When it starts.
    pub async fn refusal(flags: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut command = Command::new(binary()?);
        command.arg("serve").args(flags).envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = within("a worker that does not start", command.output()).await??;
        ensure!(!output.status.success(), "{flags:?} started and ended well");
        Ok(String::from_utf8(output.stderr)?)
    }

    async fn launch(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?} does not start"))?;
        let stdout = child.stdout.take().context("the output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = within("the worker's address", lines.next_line()).await??;
        let line = line.context("the worker ended before it listened")?;
        let url = line.strip_prefix(ANNOUNCEMENT).with_context(|| format!("{line:?} announces no address"))?;
        let address = url.strip_prefix("http://").with_context(|| format!("{url:?} is no address"))?.to_owned();
        Ok(Self { child, api: Api::new(&address), address, _stdout: lines })
    }

    /// Waits until `/ready` says so; until then it may only say 503.
    async fn ready(&self) -> anyhow::Result<()> {
        within("/ready", async {
            loop {
                let response = self.api.get("/ready").await?;
                if response.status() == StatusCode::OK {
                    return Ok(());
                }
                ensure!(response.status() == StatusCode::SERVICE_UNAVAILABLE, "/ready says {}", response.status());
                tokio::time::sleep(READY_INTERVAL).await;
            }
        })
        .await?
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its HTTP API as the holder of a token.
    ///
    /// # Errors
    /// When the token is no header value.
    pub fn api_as(&self, token: &str) -> anyhow::Result<Api> {
        Api::with_token(&self.address, token)
    }

    /// Its HTTP API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Asks it to stop, as a service manager does.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        let id = self.child.id().context("the worker has ended before it was asked to")?;
        let status = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        ensure!(status.success(), "kill: {status}");
        Ok(())
    }

    /// Kills it as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not.
    pub async fn exit_status(mut self) -> anyhow::Result<ExitStatus> {
        Ok(within("the worker's end", self.child.wait()).await??)
    }
}

/// A token file and the tokens in it; gone when dropped.
pub struct TokenFile {
    file: NamedTempFile,
    tokens: Vec<String>,
}

impl TokenFile {
    /// A file with a new token for each of these names, as `sd-worker token` makes them, with these lines below.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn new(entries: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (mut file, mut tokens) = (NamedTempFile::new()?, Vec::new());
        for (name, lines) in entries {
            let output = Command::new(binary()?).args(["token", name]).output();
            let output = within("a token", output).await??;
            ensure!(output.status.success(), "sd-worker token: {}", output.status);
            let (shown, text) = (String::from_utf8(output.stderr)?, String::from_utf8(output.stdout)?);
            let token = shown.split_whitespace().find(|word| word.starts_with("sdw_"));
            tokens.push(token.with_context(|| format!("no token in {shown:?}"))?.to_owned());
            writeln!(file, "{text}{lines}")?;
        }
        Ok(Self { file, tokens })
    }

    /// The token of the entry at that index.
    pub fn token(&self, index: usize) -> &str {
        &self.tokens[index]
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

/// `SD_WORKER_BIN`, or the binary that cargo builds beside this one.
fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("SD_WORKER_BIN") {
        return Ok(path.into());
    }
    let test = env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("a test lies in target/PROFILE/deps")?;
    let path = profile.join(format!("sd-worker{}", env::consts::EXE_SUFFIX));
    ensure!(
        path.exists(),
        "{} is missing: run `cargo xtask test`, or build it with --features embed-client",
        path.display()
    );
    Ok(path)
}
