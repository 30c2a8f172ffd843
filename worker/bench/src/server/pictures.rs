//! C6: whole pictures through the real server, beside diffusers and stable-diffusion.cpp.

use anyhow::Context;
use sd_tests::worker::Worker;
use serde_json::json;

use super::Quantity;
use super::host::{self, Model, PROMPT, Wish};
use crate::cases::Dtype;
use crate::engines::process::{self, Process};
use crate::engines::{OURS, REST, SDCPP};
use crate::networks::outcome::ms;
use crate::setting::{Setting, builtin};

const GUIDANCE_SCALE: f64 = 7.5;
/// Pixels of a side.
const SIZE: usize = 256;
/// From this time on an engine is repeated [`SLOW_REPEATS`] times only.
const SLOW_MS: f64 = 12e3;
const SLOW_REPEATS: usize = 3;

/// Another program that draws.
#[derive(Clone, Copy, Debug)]
struct Peer {
    name: &'static str,
    dtype: Dtype,
    is_quick: bool,
}

const PEERS: &[Peer] = &[
    Peer { name: "diffusers", dtype: Dtype::Fp32, is_quick: true },
    Peer { name: "diffusers channels_last", dtype: Dtype::Fp32, is_quick: true },
    Peer { name: "diffusers compile channels_last", dtype: Dtype::Fp32, is_quick: false },
    Peer { name: "diffusers", dtype: Dtype::Bf16, is_quick: true },
    Peer { name: "diffusers channels_last", dtype: Dtype::Bf16, is_quick: false },
    Peer { name: SDCPP, dtype: Dtype::Fp32, is_quick: false },
];

/// Who takes part.
enum Painter {
    Ours(Box<Worker>),
    Peer(Box<Process>),
}

struct Contestant {
    name: &'static str,
    painter: Painter,
    /// How far its first picture is from that of diffusers in fp32.
    remark: String,
    times_ms: Vec<f64>,
    /// Milliseconds of each picture that are not its arithmetic.
    own_ms: Vec<f64>,
    drawn: usize,
    /// Why it draws no more.
    fault: Option<String>,
}

/// Draws pictures with everyone, in turns.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let wishes: &[(Model, usize)] = if setting.quick {
        &[(Model::Builtin, 4)]
    } else {
        &[(Model::Builtin, 4), (Model::Builtin, 20), (Model::Sd15, 4)]
    };
    let mut quantities = Vec::new();
    for (model, steps) in wishes {
        let wish = Wish { model: *model, size: SIZE, steps: *steps, guidance_scale: GUIDANCE_SCALE };
        let expected = reference(wish, setting)?;
        let dtypes = if setting.quick { &Dtype::ALL[..1] } else { &Dtype::ALL };
        for dtype in dtypes {
            quantities.extend(one(wish, *dtype, &expected, setting).await?);
        }
    }
    Ok(quantities)
}

async fn one(wish: Wish, dtype: Dtype, expected: &[f32], setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let what = format!("{}, {SIZE} px, {} steps, {}", wish.model.title(), wish.steps, dtype.name());
    let absent = |name: &str, why: String| Quantity::absent("C6", what.clone(), name, why);
    let (mut quantities, mut contestants) = (Vec::new(), Vec::new());
    for peer in PEERS.iter().filter(|peer| peer.dtype == dtype) {
        match start_peer(*peer, wish, setting) {
            Ok(process) => contestants.push(Contestant::new(peer.name, Painter::Peer(Box::new(process)))),
            Err(error) => quantities.push(absent(peer.name, format!("{error:#}"))),
        }
    }
    warm_up(&mut contestants, wish, expected).await;
    // Started when others are ready: some compile for minutes, and a connection that nothing is said on is closed meanwhile.
    match host::start(wish.model, dtype, setting.threads, &[], setting).await {
        Ok(worker) => {
            let mut ours = [Contestant::new(OURS, Painter::Ours(Box::new(worker)))];
            warm_up(&mut ours, wish, expected).await;
            contestants.extend(ours);
        }
        Err(error) => quantities.push(absent(OURS, format!("{error:#}"))),
    }
    let repeats = if setting.quick { 3 } else { 5 };
    for repeat in 0..repeats {
        for contestant in &mut contestants {
            let is_slow = contestant.times_ms.first().is_some_and(|time| *time >= SLOW_MS);
            if contestant.fault.is_none() && (!is_slow || repeat < SLOW_REPEATS) {
                tokio::time::sleep(REST).await;
                contestant.fault = contestant.time(wish).await.err().map(|error| format!("{error:#}"));
            }
        }
    }
    for Contestant { name, times_ms, own_ms, remark, fault, .. } in contestants {
        if let Some(why) = fault {
            quantities.push(absent(name, why));
            continue;
        }
        if name == OURS {
            let shares = own_ms.iter().zip(&times_ms).map(|(own, all)| 100.0 * own / all).collect();
            let share = format!("the server's own share of {what}");
            quantities.push(Quantity::new("C6", share, name, "%", shares));
        }
        quantities.push(Quantity::new("C6", what.clone(), name, "ms", times_ms).remark(remark));
    }
    Ok(quantities)
}

fn start_peer(peer: Peer, wish: Wish, setting: &Setting) -> anyhow::Result<Process> {
    let model = match wish.model {
        Model::Builtin => builtin(),
        Model::Sd15 => setting.pipeline(),
    };
    anyhow::ensure!(!setting.quick || peer.is_quick, "left out of --quick");
    anyhow::ensure!(
        wish.model == Model::Builtin || !peer.name.contains("compile"),
        "its networks are in C1 and C4; it needs more memory than the others leave"
    );
    anyhow::ensure!(
        peer.name != SDCPP || wish.model == Model::Sd15,
        "it knows the sizes of published models only, and those of this one are its own"
    );
    let output = setting.folder.join("output.safetensors");
    let spec = json!({
        "module": if peer.name == SDCPP { "sdcpp_engine" } else { "pictures_engine" }, "engine": peer.name,
        "dtype": peer.dtype, "threads": setting.threads, "model": model, "output": output, "prompt": PROMPT,
        "width": SIZE, "height": SIZE, "steps": wish.steps, "guidance_scale": wish.guidance_scale,
    });
    let python = if peer.name == SDCPP { setting.sdcpp()? } else { &setting.python };
    let log = setting.log(&format!("C6 {} {} {}", wish.model.name(), peer.name, peer.dtype.name()));
    let mut process = Process::launch(peer.name, process::script(python), setting.threads, log, setting)?;
    process.prepare_spec(&spec.to_string(), output)?;
    Ok(process)
}

/// Lets everyone draw once, and compares.
async fn warm_up(contestants: &mut [Contestant], wish: Wish, expected: &[f32]) {
    for contestant in contestants {
        match contestant.picture(wish).await {
            Ok(found) => contestant.remark = difference(&found, expected),
            Err(error) => contestant.fault = Some(format!("{error:#}")),
        }
    }
}

/// How far a picture is from what it should be.
fn difference(found: &[f32], expected: &[f32]) -> String {
    if found.len() != expected.len() {
        return format!("another size: {} numbers, not {}", found.len(), expected.len());
    }
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    let (most, sum) = differences.fold((0.0, 0.0), |(most, sum): (f32, f32), one| (most.max(one), sum + one));
    let mean = sum / found.len() as f32;
    format!("differs from diffusers in fp32 by {most:.0}/255 at most, by {mean:.2}/255 on average")
}

/// The first picture of diffusers in fp32.
fn reference(wish: Wish, setting: &Setting) -> anyhow::Result<Vec<f32>> {
    let mut peer = start_peer(PEERS[0], wish, setting)?;
    let picture = peer.output()?.map_err(anyhow::Error::msg)?;
    Ok(picture.flatten_all()?.to_vec1()?)
}

impl Contestant {
    fn new(name: &'static str, painter: Painter) -> Self {
        Self { name, painter, remark: String::new(), times_ms: Vec::new(), own_ms: Vec::new(), drawn: 0, fault: None }
    }

    /// Its next picture, as numbers from 0 to 255.
    async fn picture(&mut self, wish: Wish) -> anyhow::Result<Vec<f32>> {
        self.drawn += 1;
        Ok(match &mut self.painter {
            Painter::Ours(worker) => {
                let drawn = host::draw(worker, &wish.job(self.drawn - 1, "none")).await?;
                let picture = image::load_from_memory(&drawn.picture)?.to_rgb8();
                picture.into_raw().into_iter().map(f32::from).collect()
            }
            Painter::Peer(process) => process.output()?.map_err(anyhow::Error::msg)?.flatten_all()?.to_vec1()?,
        })
    }

    async fn time(&mut self, wish: Wish) -> anyhow::Result<()> {
        self.drawn += 1;
        let time = match &mut self.painter {
            Painter::Ours(worker) => {
                let drawn = host::draw(worker, &wish.job(self.drawn - 1, "none")).await?;
                self.own_ms.push(ms(drawn.time) - drawn.compute_ms()?);
                ms(drawn.time)
            }
            Painter::Peer(process) => ms(process.time().context(self.name)?),
        };
        self.times_ms.push(time);
        Ok(())
    }
}
