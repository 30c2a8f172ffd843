//! An engine in a process of its own: it reads commands and answers with seconds.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use candle_core::{Device, Tensor};
use serde::Deserialize;

use super::serve::Spec;
use super::{Engine, OURS, Program};
use crate::cases::Case;
use crate::setting::{PYTHON, Setting};

/// A process that computes one case again and again, and then another.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Where outputs of the case go.
    output: PathBuf,
    log: PathBuf,
}

/// One line of what a process says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    seconds: Option<f64>,
    error: Option<String>,
    /// Why nothing was written.
    unwritten: Option<String>,
}

/// What an engine computed, or why that cannot be had.
pub(crate) type Computed = Result<Tensor, String>;

impl Process {
    /// Starts an engine that waits for a case.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn start(engine: &Engine, threads: usize, setting: &Setting) -> anyhow::Result<Self> {
        let command = match engine.program {
            Program::Python(_) => script(&setting.python),
            Program::SdCpp => script(setting.sdcpp()?),
            Program::Own => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("serve");
                if engine.name == OURS {
                    command.args(["--worker-threads", &threads.to_string()]);
                }
                command
            }
        };
        Self::launch(engine.name, command, threads, setting.log(&format!("{} {threads}", engine.name)), setting)
    }

    /// Starts any program that speaks the protocol.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn launch(
        name: &'static str,
        mut command: Command,
        threads: usize,
        log: PathBuf,
        setting: &Setting,
    ) -> anyhow::Result<Self> {
        let count = threads.to_string();
        let mut process = command
            .env("RAYON_NUM_THREADS", &count)
            .env("OMP_NUM_THREADS", &count)
            .env("TORCHINDUCTOR_CACHE_DIR", setting.cache().join("inductor"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{command:?} could not be started"))?;
        let commands = process.stdin.take().context("its input is piped")?;
        let answers = BufReader::new(process.stdout.take().context("its output is piped")?);
        Ok(Self { name, process, commands, answers, output: PathBuf::new(), log })
    }

    /// Makes a case ready, whose inputs lie in a file.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn prepare(
        &mut self,
        engine: &Engine,
        case: &Case,
        threads: usize,
        inputs: &Path,
        setting: &Setting,
    ) -> anyhow::Result<()> {
        let output = setting.folder.join("output.safetensors");
        let module = match engine.program {
            Program::Python(module) => module,
            Program::SdCpp => "sdcpp_engine",
            Program::Own => "",
        };
        let spec = Spec {
            work: case.work,
            dtype: case.dtype,
            engine: engine.name.to_owned(),
            module: module.to_owned(),
            threads,
            inputs: inputs.to_owned(),
            model: setting.model(),
            pipeline: setting.pipeline(),
            output: output.clone(),
            cache: setting.cache(),
        };
        self.prepare_spec(&serde_json::to_string(&spec)?, output)
    }

    /// The same with whatever the engine understands.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn prepare_spec(&mut self, spec: &str, output: PathBuf) -> anyhow::Result<()> {
        self.output = output;
        writeln!(self.commands, "case {spec}")?;
        self.answer()?;
        Ok(())
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
            anyhow::bail!("{} ended ({}): {last}", self.name, self.process.wait()?);
        }
        let answer: Answer = serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.name))?;
        match answer.error {
            Some(error) => anyhow::bail!("{error}"),
            None => Ok(answer),
        }
    }

    /// Computes the case and gives what came out: `[batch, height, width, channels]` or `[rows, channels]`.
    pub(crate) fn output(&mut self) -> anyhow::Result<Computed> {
        writeln!(self.commands, "write")?;
        if let Some(why) = self.answer()?.unwritten {
            return Ok(Err(why));
        }
        let mut tensors = candle_core::safetensors::load(&self.output, &Device::Cpu)?;
        Ok(Ok(tensors.remove("output").context("it wrote something else")?))
    }

    /// Computes it and says how long that took.
    pub(crate) fn time(&mut self) -> anyhow::Result<Duration> {
        writeln!(self.commands, "run")?;
        let seconds = self.answer()?.seconds.context("it told no time")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Bytes of memory that it has now.
    pub(crate) fn resident(&self) -> Option<u64> {
        status(self.process.id(), "VmRSS:")
    }

    /// Most bytes of memory that it had since [`Process::forget_peak`].
    pub(crate) fn peak(&self) -> Option<u64> {
        status(self.process.id(), "VmHWM:")
    }

    /// Lets [`Process::peak`] start from what is held now.
    pub(crate) fn forget_peak(&self) {
        forget_peak(self.process.id());
    }
}

/// The Python side of the protocol, before it is told what to do.
pub(crate) fn script(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(PYTHON).join("serve.py"));
    command
}

/// A line of what Linux says of a process, in bytes.
pub(crate) fn status(process: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Lets the peak of a process start from what it holds now; where the system has no such thing, it stays.
pub(crate) fn forget_peak(process: u32) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").ok();
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which `wait` sees as well.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
