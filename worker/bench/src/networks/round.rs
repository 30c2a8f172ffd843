//! One case on all engines.

use std::collections::HashMap;
use std::path::Path;
use std::thread;

use anyhow::Context;
use candle_core::Tensor;

use super::inputs;
use super::outcome::{Line, Measured, Outcome, ms};
use crate::cases::{Case, Dtype, Work};
use crate::engines::process::Process;
use crate::engines::{ENGINES, Engine, OURS, REFERENCE, REST};
use crate::setting::Setting;

/// Part of the memory that is free which engines may fill together.
const MEMORY_SHARE: f64 = 0.85;
/// Memory of an engine besides weights.
const ENGINE_BYTES: f64 = 1.0e9;
/// From this time on an engine is repeated [`SLOW_REPEATS`] times only.
const SLOW_MS: f64 = 12e3;
const SLOW_REPEATS: usize = 3;

/// An engine on a number of threads.
type Contestant = (&'static Engine, usize);

/// The rounds of a run, which remember what outputs should be.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    setting: &'a Setting,
    expected: HashMap<Work, Tensor>,
    /// Engines that wait for their next case, by name and threads.
    idle: HashMap<(&'static str, usize), Process>,
}

/// An engine that is ready.
struct Ready {
    contestant: Contestant,
    process: Process,
    relative_l2: Result<f64, String>,
    resident: Option<u64>,
    peak: Option<u64>,
    times_ms: Vec<f64>,
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(setting: &'a Setting) -> Self {
        Self { setting, expected: HashMap::new(), idle: HashMap::new() }
    }

    /// Computes a case on every engine, compares what comes out, then takes times in turns: as many engines at once as
    /// memory holds, ours among them each time.
    ///
    /// # Errors
    /// When there is nothing to compare with.
    pub(crate) fn run(&mut self, case: &Case) -> anyhow::Result<Outcome> {
        let inputs = inputs::write(case.work, self.setting)?;
        self.expect(case, &inputs)?;
        let mut lines = Vec::new();
        let mut able = Vec::new();
        for contestant in self.contestants(case) {
            let (engine, threads) = contestant;
            match self.refusal(engine, case) {
                Some(why) => lines.push(Line { engine: engine.name, threads, measured: Err(why) }),
                None => able.push(contestant),
            }
        }
        for group in groups(case, &able) {
            merge(&mut lines, self.group(case, &group, &inputs));
        }
        let place = |line: &Line| ENGINES.iter().position(|engine| engine.name == line.engine);
        lines.sort_by_key(|line| (place(line), line.threads));
        Ok(Outcome { case: case.clone(), lines })
    }

    /// Remembers what the reference computes.
    fn expect(&mut self, case: &Case, inputs: &Path) -> anyhow::Result<()> {
        if self.expected.contains_key(&case.work) {
            return Ok(());
        }
        let reference = ENGINES.iter().find(|engine| engine.name == REFERENCE).context("there is a reference")?;
        let case = Case { dtype: Dtype::Fp32, ..case.clone() };
        let threads = self.setting.threads;
        let mut process = self.process(reference, threads)?;
        process.prepare(reference, &case, threads, inputs, self.setting)?;
        let output = process.output()?.map_err(anyhow::Error::msg)?;
        self.expected.insert(case.work, output);
        if !case.work.is_network() {
            self.idle.insert((reference.name, threads), process);
        }
        Ok(())
    }

    fn contestants(&self, case: &Case) -> Vec<Contestant> {
        let all = [self.setting.threads];
        let threads = if case.threads.is_empty() { &all[..] } else { &case.threads };
        let engines = ENGINES.iter().filter(|engine| engine.takes_part(case));
        engines.flat_map(|engine| threads.iter().map(move |threads| (engine, *threads))).collect()
    }

    fn refusal(&self, engine: &Engine, case: &Case) -> Option<String> {
        let refusal = (engine.refuses)(&case.work).map(str::to_owned);
        refusal.or_else(|| {
            (self.setting.quick && !(engine.is_quick)(&case.work)).then(|| "takes too long for --quick".into())
        })
    }

    /// An engine that waits, or a new one.
    fn process(&mut self, engine: &'static Engine, threads: usize) -> anyhow::Result<Process> {
        match self.idle.remove(&(engine.name, threads)) {
            Some(process) => Ok(process),
            None => Process::start(engine, threads, self.setting),
        }
    }

    /// One line for each of them.
    fn group(&mut self, case: &Case, group: &[Contestant], inputs: &Path) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut ready = Vec::new();
        for contestant in group {
            match self.ready(case, *contestant, inputs) {
                Ok(one) => ready.push(one),
                Err(error) => lines.push(failed(*contestant, &error)),
            }
        }
        for repeat in 0..case.repeats {
            ready.retain_mut(|one| {
                let is_slow = one.times_ms.first().is_some_and(|time| *time >= SLOW_MS);
                if is_slow && repeat >= SLOW_REPEATS {
                    return true;
                }
                thread::sleep(REST);
                let is_small = !case.work.is_network();
                // A small operation is over before threads have woken up, so that it is called twice.
                let woken = if is_small { one.process.time().map(|_| ()) } else { Ok(()) };
                match woken.and_then(|()| one.process.time()) {
                    Ok(time) => {
                        one.times_ms.push(ms(time));
                        true
                    }
                    Err(error) => {
                        lines.push(failed(one.contestant, &error));
                        false
                    }
                }
            });
        }
        for one in &mut ready {
            one.peak = one.process.peak();
        }
        lines.extend(measured(&mut ready));
        // A network is forgotten with its process, an operation holds nothing to speak of.
        if !case.work.is_network() {
            self.idle.extend(ready.into_iter().map(|one| ((one.contestant.0.name, one.contestant.1), one.process)));
        }
        lines
    }

    /// Starts an engine, and holds its output against what it should be.
    fn ready(&mut self, case: &Case, contestant: Contestant, inputs: &Path) -> anyhow::Result<Ready> {
        let (engine, threads) = contestant;
        let mut process = self.process(engine, threads)?;
        process.prepare(engine, case, threads, inputs, self.setting)?;
        let resident = process.resident();
        process.forget_peak();
        let expected = &self.expected[&case.work];
        let relative_l2 = match process.output()? {
            Ok(output) => Ok(inputs::relative_l2(&output, expected)?),
            Err(why) => Err(why),
        };
        match &relative_l2 {
            Ok(distance) => eprintln!("  {}: relative L2 {distance:.1e}", label(contestant)),
            Err(why) => eprintln!("  {}: {why}", label(contestant)),
        }
        Ok(Ready { contestant, process, relative_l2, resident, peak: None, times_ms: Vec::new() })
    }
}

fn label((engine, threads): Contestant) -> String {
    format!("{} on {threads} threads", engine.name)
}

fn failed(contestant: Contestant, error: &anyhow::Error) -> Line {
    eprintln!("  {}: {error:#}", label(contestant));
    Line { engine: contestant.0.name, threads: contestant.1, measured: Err(format!("{error:#}")) }
}

fn measured(ready: &mut [Ready]) -> Vec<Line> {
    for one in ready.iter_mut() {
        one.times_ms.sort_unstable_by(f64::total_cmp);
    }
    let ours: HashMap<usize, f64> = ready
        .iter()
        .filter(|one| one.contestant.0.name == OURS)
        .filter_map(|one| Some((one.contestant.1, *one.times_ms.first()?)))
        .collect();
    let line = |one: &Ready| {
        let (engine, threads) = one.contestant;
        let measured = Measured {
            ours_over_it: ours.get(&threads).zip(one.times_ms.first()).map(|(ours, it)| ours / it),
            relative_l2: one.relative_l2.clone(),
            times_ms: one.times_ms.clone(),
            peak_bytes: one.peak,
            over_weights_bytes: one.peak.zip(one.resident).map(|(peak, before)| peak.saturating_sub(before)),
        };
        Line { engine: engine.name, threads, measured: Ok(measured) }
    };
    ready.iter().map(line).collect()
}

/// Engines that fit into memory together, ours in each group.
fn groups(case: &Case, able: &[Contestant]) -> Vec<Vec<Contestant>> {
    let weights = case.work.parameters() * case.dtype.bytes();
    let needs =
        |group: &[Contestant]| -> f64 { group.iter().map(|(engine, _)| engine.copies * weights + ENGINE_BYTES).sum() };
    let room = free_bytes().unwrap_or(f64::INFINITY) * MEMORY_SHARE;
    let (ours, peers): (Vec<Contestant>, Vec<Contestant>) = able.iter().partition(|(engine, _)| engine.name == OURS);
    let mut groups = vec![ours.clone()];
    for peer in peers {
        let last = groups.last_mut().expect("there is a first group");
        let fits = needs(last) + needs(&[peer]) <= room;
        if fits || last.len() == ours.len() {
            last.push(peer);
        } else {
            groups.push([ours.clone(), vec![peer]].concat());
        }
    }
    groups
}

fn free_bytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

/// Adds the lines of a group; those of ours are in every one.
fn merge(lines: &mut Vec<Line>, group: Vec<Line>) {
    for line in group {
        let known = lines.iter_mut().find(|known| known.engine == line.engine && known.threads == line.threads);
        match known {
            None => lines.push(line),
            Some(known) => match (&mut known.measured, line.measured) {
                (Ok(known), Ok(more)) => known.add(more),
                (Ok(_), Err(_)) => {}
                (known, found) => *known = found,
            },
        }
    }
}
