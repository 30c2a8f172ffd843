//! C9: from the start of the process to a ready model and to its first step, files in the page cache.

use std::time::Instant;

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

/// Milliseconds from the start of a process.
struct Times {
    ready: f64,
    first_step: f64,
}

/// Starts everyone again and again, in turns.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let repeats = if setting.quick { 1 } else { 5 };
    let names = [OURS, "diffusers", SDCPP];
    let mut times: Vec<Result<Vec<Times>, String>> = names.iter().map(|_| Ok(Vec::new())).collect();
    for repeat in 0..=repeats {
        for (name, times) in names.iter().zip(&mut times) {
            let Ok(known) = times else { continue };
            if setting.quick && *name == SDCPP {
                *times = Err("its first step takes too long for --quick".into());
                continue;
            }
            let found = if *name == OURS { ours(setting).await } else { peer(name, setting) };
            match found {
                // The first one fills the page cache.
                Ok(_) if repeat == 0 => {}
                Ok(found) => known.push(found),
                Err(error) => *times = Err(format!("{error:#}")),
            }
        }
    }
    let mut quantities = Vec::new();
    for (name, times) in names.into_iter().zip(times) {
        for (what, pick) in [
            ("process start to ready", (|times| times.ready) as fn(&Times) -> f64),
            ("to the first step", |times| times.first_step),
        ] {
            let what = format!("{what}, {}, {} px", WISH.model.title(), WISH.size);
            quantities.push(match &times {
                Ok(times) => Quantity::new("C9", what, name, "ms", times.iter().map(pick).collect()),
                Err(why) => Quantity::absent("C9", what, name, why.clone()),
            });
        }
    }
    Ok(quantities)
}

async fn ours(setting: &Setting) -> anyhow::Result<Times> {
    let start = Instant::now();
    let worker = host::start(WISH.model, Dtype::Fp32, setting.threads, setting).await?;
    let ready = ms(start.elapsed());
    let mut socket = Socket::greet(&worker).await?;
    let job = socket.submit(1, &WISH.job(0, "none")).await?.view.id;
    let stepped = |incoming: &Incoming| match incoming {
        Incoming::Event(frame) => matches!(frame.event, Event::Progress { .. }).then(Instant::now),
        _ => None,
    };
    let first_step = ms(socket.take("the first step", stepped).await? - start);
    socket.send(&ClientFrame::Cancel { job }).await?;
    Ok(Times { ready, first_step })
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
