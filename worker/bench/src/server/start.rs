//! C9: from the start of the process to a ready model and to its first step, files in the page cache.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use sd_protocol::{ClientFrame, Event};
use sd_tests::socket::{Incoming, Socket};
use serde_json::json;

use super::Quantity;
use super::host::{self, Model, PROMPT, Wish};
use crate::cases::Dtype;
use crate::engines::process::{self, Process};
use crate::engines::{OURS, SDCPP};
use crate::networks::outcome::ms;
use crate::setting::Setting;

const WISH: Wish = Wish { model: Model::Sd15, size: 256, steps: 4, guidance_scale: 7.5 };

/// How the time to a ready model is called.
pub(crate) const READY: &str = "process start to ready";
/// Longest time that weights may take to be written.
const PACKING_TIMEOUT: Duration = Duration::from_secs(300);
const PACKING_INTERVAL: Duration = Duration::from_millis(100);

/// Milliseconds from the start of a process.
struct Times {
    ready: f64,
    first_step: f64,
}

/// What is started.
#[derive(Clone, Copy, Debug)]
enum Starter {
    /// A worker, which may find weights beside the model as it reads them.
    Ours { dtype: Dtype, is_packed: bool },
    /// Another program, by its name, in fp32.
    Peer(&'static str),
}

const STARTERS: [Starter; 5] = [
    Starter::Ours { dtype: Dtype::Fp32, is_packed: false },
    Starter::Ours { dtype: Dtype::Fp32, is_packed: true },
    Starter::Ours { dtype: Dtype::Bf16, is_packed: true },
    Starter::Peer("diffusers"),
    Starter::Peer(SDCPP),
];

impl Starter {
    fn engine(self) -> &'static str {
        match self {
            Self::Ours { .. } => OURS,
            Self::Peer(name) => name,
        }
    }

    /// What tells it from others of its engine.
    fn way(self) -> String {
        match self {
            Self::Ours { dtype, is_packed: true } => format!("{}, packed weights", dtype.name()),
            _ => Dtype::Fp32.name().into(),
        }
    }

    async fn start(self, setting: &Setting) -> anyhow::Result<Times> {
        match self {
            Self::Ours { dtype, is_packed } => ours(dtype, is_packed, setting).await,
            Self::Peer(name) => peer(name, setting),
        }
    }
}

/// Starts everyone again and again, in turns.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let repeats = if setting.quick { 1 } else { 3 };
    let starters = STARTERS
        .into_iter()
        .filter(|starter| !setting.quick || matches!(starter, Starter::Ours { is_packed: false, .. }));
    let mut all: Vec<(Starter, Result<Vec<Times>, String>)> =
        starters.map(|starter| (starter, Ok(Vec::new()))).collect();
    for repeat in 0..=repeats {
        for (starter, times) in &mut all {
            let Ok(known) = times else { continue };
            match starter.start(setting).await {
                // The first one fills the page cache.
                Ok(_) if repeat == 0 => {}
                Ok(found) => known.push(found),
                Err(error) => *times = Err(format!("{error:#}")),
            }
        }
    }
    let mut quantities = Vec::new();
    for (starter, times) in all {
        for (what, pick) in
            [(READY, (|times| times.ready) as fn(&Times) -> f64), ("to the first step", |times| times.first_step)]
        {
            let what = format!("{what}, {}, {} px, {}", WISH.model.title(), WISH.size, starter.way());
            quantities.push(match &times {
                Ok(times) => Quantity::new("C9", what, starter.engine(), "ms", times.iter().map(pick).collect()),
                Err(why) => Quantity::absent("C9", what, starter.engine(), why.clone()),
            });
        }
    }
    Ok(quantities)
}

async fn ours(dtype: Dtype, is_packed: bool, setting: &Setting) -> anyhow::Result<Times> {
    let flags: &[&str] = if is_packed { &["--packed-weights"] } else { &[] };
    let start = Instant::now();
    let worker = host::start(WISH.model, dtype, setting.threads, flags, setting).await?;
    let ready = ms(start.elapsed());
    let mut socket = Socket::greet(&worker).await?;
    let job = socket.submit(1, &WISH.job(0, "none")).await?.view.id;
    let stepped = |incoming: &Incoming| match incoming {
        Incoming::Event(frame) => matches!(frame.event, Event::Progress { .. }).then(Instant::now),
        _ => None,
    };
    let first_step = ms(socket.take("the first step", stepped).await? - start);
    socket.send(&ClientFrame::Cancel { job }).await?;
    if is_packed {
        packed(&setting.pipeline(), dtype).await?;
    }
    Ok(Times { ready, first_step })
}

/// Waits until weights of every network lie beside the model.
async fn packed(model: &Path, dtype: Dtype) -> anyhow::Result<()> {
    let ending = match dtype {
        Dtype::Fp32 => "f32.packed",
        Dtype::Bf16 => "bf16.packed",
    };
    let start = Instant::now();
    for network in ["text_encoder", "unet", "vae"] {
        while !std::fs::read_dir(model.join(network))?
            .any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().ends_with(ending)))
        {
            anyhow::ensure!(start.elapsed() < PACKING_TIMEOUT, "no packed weights of {network} were written");
            tokio::time::sleep(PACKING_INTERVAL).await;
        }
    }
    Ok(())
}

fn peer(name: &'static str, setting: &Setting) -> anyhow::Result<Times> {
    let (module, python) = match name {
        SDCPP => ("sdcpp_engine", setting.sdcpp()?),
        _ => ("pictures_engine", setting.python.as_path()),
    };
    let output = setting.folder.join("output.safetensors");
    let spec = json!({
        "module": module, "engine": name, "dtype": Dtype::Fp32, "threads": setting.threads,
        "model": setting.pipeline(), "output": output, "prompt": PROMPT, "width": WISH.size, "height": WISH.size,
        "steps": WISH.steps, "guidance_scale": WISH.guidance_scale, "first_step": true,
    });
    let start = Instant::now();
    let log = setting.log(&format!("C9 {name}"));
    let mut process = Process::launch(name, process::script(python), setting.threads, log, setting)?;
    process.prepare_spec(&spec.to_string(), output)?;
    let ready = ms(start.elapsed());
    process.time().context("no first step")?;
    Ok(Times { ready, first_step: ms(start.elapsed()) })
}
