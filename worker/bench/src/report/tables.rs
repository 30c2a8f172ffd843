//! The numbers, in Markdown.

use std::fmt::Write as _;

use super::peaks::{self, Peak};
use super::verdicts::Verdict;
use crate::networks::outcome::Measured;
use crate::networks::{Line, Outcome};
use crate::server::Quantity;

/// How the tables are read.
pub(super) const LEGEND: &str = "\
Times are milliseconds: the fastest, the median and the range. *ours / it* is the fastest of ours over the fastest of that \
engine, taken in turns in the same minutes: below 1 ours is faster. *relative L2* is the distance of an output from that of \
torch in fp32. *of the peak* counts the operations of \
the plain sums against what all threads can do in registers alone, whatever an engine spares of them. Memory \
is the most that an engine's process held while it computed, and what of it was not there before: activations and scratch \
memory.";

/// The head of the table of operations and networks.
pub(super) const HEAD: &str = "\
| case | engine | fastest | median | range | times | GFLOP/s | of the peak | ours / it | relative L2 | memory | over weights |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// The rows of a case.
pub(crate) fn case(outcome: &Outcome, peaks: &[Peak], threads: usize) -> String {
    let Outcome { case, lines } = outcome;
    let mut text = String::new();
    for line in lines {
        let engine = match line.threads {
            all if all == threads => line.engine.to_owned(),
            1 => format!("{}, 1 thread", line.engine),
            some => format!("{}, {some} threads", line.engine),
        };
        let name = format!("{} {}, {}", case.id, case.name, case.dtype.name());
        let rest = match &line.measured {
            Ok(measured) => row(outcome, line, measured, peaks),
            Err(why) => format!("{} | | | | | | | | | ", cell(why)),
        };
        // A string takes every character.
        writeln!(text, "| {name} | {engine} | {rest} |").ok();
    }
    text
}

fn row(outcome: &Outcome, line: &Line, measured: &Measured, peaks: &[Peak]) -> String {
    let case = &outcome.case;
    let fastest = measured.fastest_ms();
    let gflops = case.work.operations().map(|operations| operations / fastest / 1e6);
    let peak = peaks::highest(peaks, case.dtype).map(|one| one * line.threads as f64);
    let share = gflops.zip(peak).map(|(gflops, peak)| format!("{:.0} %", 100.0 * gflops / peak));
    let megabytes = |bytes: Option<u64>| bytes.map(|bytes| format!("{:.0} MB", bytes as f64 / 1e6));
    let distance = match &measured.relative_l2 {
        Ok(distance) if *distance > case.dtype.distance_max() => format!("**{distance:.1e}**"),
        Ok(distance) => format!("{distance:.1e}"),
        Err(why) => cell(why),
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    [
        number(fastest),
        number(measured.median_ms()),
        format!("{}–{}", number(fastest), number(measured.slowest_ms())),
        measured.times_ms.len().to_string(),
        or_dash(gflops.map(|gflops| format!("{gflops:.0}"))),
        or_dash(share),
        or_dash(measured.ours_over_it.map(|ratio| format!("{ratio:.2}"))),
        distance,
        or_dash(megabytes(measured.peak_bytes)),
        or_dash(megabytes(measured.over_weights_bytes)),
    ]
    .join(" | ")
}

/// What the server did.
pub(super) fn quantities(quantities: &[Quantity]) -> String {
    if quantities.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "| benchmark | engine | least | median | most | times | remark |\n|---|---|--:|--:|--:|--:|---|\n",
    );
    for quantity in quantities {
        let Quantity { id, what, engine, unit, remark, samples } = quantity;
        let of = |value: Option<f64>| value.map_or("–".into(), |value| format!("{} {unit}", number(value)));
        let rest = match samples {
            Ok(samples) => [
                of(quantity.least()),
                of(quantity.median()),
                of(quantity.most()),
                samples.len().to_string(),
                cell(remark),
            ]
            .join(" | "),
            Err(why) => format!("– | – | – | 0 | {}", cell(why)),
        };
        writeln!(text, "| {id} {what} | {engine} | {rest} |").ok();
    }
    text
}

/// What the targets say.
pub(super) fn verdicts(verdicts: &[Verdict]) -> String {
    let mut text = String::from("| benchmark | target | found | verdict |\n|---|---|---|---|\n");
    for Verdict { id, target, found, verdict } in verdicts {
        writeln!(text, "| {id} | {target} | {found} | {verdict} |").ok();
    }
    text
}

/// Three digits that say something.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Text that breaks no table.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
    match line.char_indices().nth(240) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
