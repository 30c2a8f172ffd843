//! PyTorch with diffusers, in a process of its own: it reads commands and answers with seconds.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use candle_core::Tensor;

use crate::cases::Case;
use crate::engines::{Ready, Setting, read};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/torch_peer.py");

/// How tensors lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As torch makes them.
    Eager,
    /// Pictures and kernels with their channels last.
    ChannelsLast,
}

/// A process that computes one case.
struct Torch {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    output: PathBuf,
}

/// Writes the weights of the UNet in the configuration of `model`, unless they are there.
pub(crate) fn make_weights(setting: &Setting, model: &Path) -> anyhow::Result<()> {
    let status = Command::new(&setting.python).args([SCRIPT, "weights"]).arg(model).status()?;
    anyhow::ensure!(status.success(), "torch could not make weights in {}", model.display());
    Ok(())
}

/// Starts a process and lets it read the case.
pub(crate) fn prepare(case: &Case, inputs: &Path, setting: &Setting, mode: Mode) -> anyhow::Result<Box<dyn Ready>> {
    let output = setting.folder.join("torch.safetensors");
    let mut process = Command::new(&setting.python)
        .args([SCRIPT, "serve", &serde_json::to_string(case)?])
        .arg(inputs)
        .arg(setting.model())
        .arg(&output)
        .args([setting.threads.to_string(), if mode == Mode::Eager { "eager" } else { "channels_last" }.into()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} could not be started", setting.python.display()))?;
    let commands = process.stdin.take().context("its input is piped")?;
    let answers = BufReader::new(process.stdout.take().context("its output is piped")?);
    Ok(Box::new(Torch { process, commands, answers, output }))
}

impl Torch {
    fn ask(&mut self, command: &str) -> anyhow::Result<Duration> {
        writeln!(self.commands, "{command}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let seconds = answer.trim().parse().with_context(|| format!("torch answered {answer:?}"))?;
        Ok(Duration::from_secs_f64(seconds))
    }
}

impl Ready for Torch {
    fn output(&mut self) -> anyhow::Result<Tensor> {
        self.ask("write")?;
        Ok(read(&self.output)?["output"].clone())
    }

    fn time(&mut self) -> anyhow::Result<Duration> {
        self.ask("run")
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It may have ended by itself, which `wait` sees as well.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
