//! What the targets say of the numbers.

use serde::Serialize;

use super::peaks::{self, Peak};
use crate::cases::Dtype;
use crate::engines::{ENGINES, OURS, STOCK};
use crate::networks::Outcome;
use crate::server::Quantity;
use crate::server::start::READY;

/// One target.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) id: &'static str,
    pub(super) target: String,
    pub(super) found: String,
    pub(super) verdict: String,
}

/// Which side of a bound is good.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn verdict(self, found: f64) -> String {
        match self {
            Self::AtMost(bound) if found <= bound => "met".into(),
            Self::AtLeast(bound) if found >= bound => "met".into(),
            Self::AtMost(bound) => format!("missed: {:.2} × as much", found / bound),
            Self::AtLeast(bound) => format!("missed: {:.2} of it", found / bound),
        }
    }
}

/// The targets that something was measured for.
pub(super) fn all(outcomes: &[Outcome], quantities: &[Quantity], peaks: &[Peak], threads: usize) -> Vec<Verdict> {
    let mut verdicts = operations(outcomes, peaks, threads);
    for (id, bound) in [("C1", 0.8), ("C2", 0.8), ("C4", 0.75)] {
        verdicts.extend(network(outcomes, id, bound));
    }
    verdicts.extend(memory(outcomes));
    verdicts.extend(server(quantities));
    verdicts.extend(scaling(outcomes));
    verdicts
}

/// The engines that call oneDNN for one operation.
const ONE_DNN: [&str; 2] = ["torch eager", "torch channels_last"];

fn fastest(outcome: &Outcome, engine: &str) -> Option<f64> {
    Some(outcome.measured(engine)?.fastest_ms())
}

/// Ours over that engine, both taken in turns.
fn ratio(outcome: &Outcome, engine: &str) -> Option<f64> {
    outcome.measured(engine)?.ours_over_it
}

/// Ours over the best of these engines.
fn over_best(outcome: &Outcome, engines: &[&'static str]) -> Option<(f64, &'static str)> {
    let ratios = engines.iter().filter_map(|engine| Some((ratio(outcome, engine)?, *engine)));
    ratios.max_by(|(one, _), (other, _)| one.total_cmp(other))
}

fn mean(numbers: &[f64]) -> Option<f64> {
    let sum: f64 = numbers.iter().map(|number| number.ln()).sum();
    (!numbers.is_empty()).then(|| (sum / numbers.len() as f64).exp())
}

fn of<'a>(outcomes: &'a [Outcome], id: &'a str, dtype: Dtype) -> impl Iterator<Item = &'a Outcome> {
    outcomes.iter().filter(move |outcome| outcome.case.id == id && outcome.case.dtype == dtype)
}

fn verdict(
    id: &'static str,
    target: String,
    found: Option<f64>,
    bound: Bound,
    shown: impl Fn(f64) -> String,
) -> Verdict {
    let (found, verdict) = match found {
        Some(found) => (shown(found), bound.verdict(found)),
        None => ("–".into(), "not measured".into()),
    };
    Verdict { id, target, found, verdict }
}

fn times(value: f64) -> String {
    format!("{value:.2}")
}

fn operations(outcomes: &[Outcome], peaks: &[Peak], threads: usize) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (dtype, share) in [(Dtype::Fp32, 0.75), (Dtype::Bf16, 0.65)] {
        let cases: Vec<_> = of(outcomes, "C0", dtype).collect();
        if cases.is_empty() {
            continue;
        }
        let name = dtype.name();
        let over: Vec<f64> = cases.iter().filter_map(|case| Some(over_best(case, &ONE_DNN)?.0)).collect();
        let target = format!("{name}: geometric mean ≤ 0.9 of oneDNN");
        verdicts.push(verdict("C0", target, mean(&over), Bound::AtMost(0.9), times));
        let worst = over.iter().copied().max_by(f64::total_cmp);
        verdicts.push(verdict("C0", format!("{name}: never above 1.0 of oneDNN"), worst, Bound::AtMost(1.0), times));
        let peak = peaks::highest(peaks, dtype).map(|peak| peak * threads as f64);
        let shares: Vec<f64> = cases
            .iter()
            .filter_map(|case| Some(case.case.work.operations()? / fastest(case, OURS)? / 1e6 / peak?))
            .collect();
        let target = format!("{name}: ≥ {:.0} % of the peak (geometric mean)", 100.0 * share);
        let percent = |value: f64| format!("{:.0} %", 100.0 * value);
        verdicts.push(verdict("C0", target, mean(&shares), Bound::AtLeast(share), percent));
        if dtype == Dtype::Fp32 {
            let stock: Vec<f64> = cases.iter().filter_map(|case| Some(1.0 / ratio(case, STOCK)?)).collect();
            let target = format!("{name}: ≥ 4 × as fast as stock candle (geometric mean)");
            verdicts.push(verdict("C0", target, mean(&stock), Bound::AtLeast(4.0), |value| format!("{value:.1} ×")));
        }
    }
    verdicts
}

fn network(outcomes: &[Outcome], id: &'static str, bound: f64) -> Vec<Verdict> {
    let peers: Vec<&'static str> =
        ENGINES.iter().map(|engine| engine.name).filter(|name| ![OURS, STOCK].contains(name)).collect();
    let mut verdicts = Vec::new();
    for dtype in Dtype::ALL {
        for outcome in of(outcomes, id, dtype) {
            let name = format!("{}, {}", outcome.case.name, dtype.name());
            let best = over_best(outcome, &peers);
            let target = format!("{name}: ≤ {bound} of the best peer");
            let shown = |value: f64| format!("{value:.2} of {}", best.map_or("", |(_, engine)| engine));
            verdicts.push(verdict(id, target, best.map(|(ratio, _)| ratio), Bound::AtMost(bound), shown));
            if id == "C1" && dtype == Dtype::Fp32 {
                let target = format!("{name}: ≤ 0.25 of stock candle");
                verdicts.push(verdict(id, target, ratio(outcome, STOCK), Bound::AtMost(0.25), times));
            }
        }
    }
    verdicts
}

fn memory(outcomes: &[Outcome]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.case.id == "C4") {
        let over = outcome.measured(OURS).and_then(|measured| measured.over_weights_bytes);
        let target = format!("{}, {}: ≤ 0.8 GB over the weights", outcome.case.name, outcome.case.dtype.name());
        let gigabytes = |value: f64| format!("{value:.2} GB");
        verdicts.push(verdict("C4", target, over.map(|over| over as f64 / 1e9), Bound::AtMost(0.8), gigabytes));
    }
    verdicts
}

fn scaling(outcomes: &[Outcome]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.case.id == "C10") {
        let on = |threads| Some(outcome.measured_on(OURS, threads)?.fastest_ms());
        let target = format!("{}, {}: ≥ 1.9 × on 2 threads", outcome.case.name, outcome.case.dtype.name());
        let gain = on(1).zip(on(2)).map(|(one, two)| one / two);
        verdicts.push(verdict("C10", target, gain, Bound::AtLeast(1.9), |value| format!("{value:.2} ×")));
    }
    verdicts
}

fn server(quantities: &[Quantity]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let ours = |id: &str, start: &str| -> Vec<&Quantity> {
        let wanted =
            |quantity: &&Quantity| quantity.id == id && quantity.engine == OURS && quantity.what.starts_with(start);
        quantities.iter().filter(wanted).collect()
    };
    let peers = |quantity: &Quantity| -> Option<f64> {
        let same = quantities.iter().filter(|other| other.what == quantity.what && other.engine != OURS);
        same.filter_map(Quantity::least).min_by(f64::total_cmp)
    };
    let percent = |value: f64| format!("{value:.2} %");
    let milliseconds = |value: f64| format!("{value:.1} ms");

    for quantity in quantities.iter().filter(|quantity| quantity.id == "C6" && quantity.engine == OURS) {
        let what = &quantity.what;
        verdicts.push(if what.starts_with("the server") {
            let target = format!("{what}: ≤ 1 %");
            verdict("C6", target, quantity.median(), Bound::AtMost(1.0), percent)
        } else {
            let over = quantity.least().zip(peers(quantity)).map(|(ours, peer)| ours / peer);
            verdict("C6", format!("{what}: ≤ 0.8 of the best peer"), over, Bound::AtMost(0.8), times)
        });
    }
    for quantity in ours("C7", "first preview") {
        let evaluation = ours("C7", "text encoder").first().and_then(|quantity| quantity.median());
        let over = quantity.median().zip(evaluation).map(|(preview, evaluation)| preview / evaluation);
        let target = format!("{}: ≤ 1.1 × text encoder and one evaluation", quantity.what);
        verdicts.push(verdict("C7", target, over, Bound::AtMost(1.1), |value| format!("{value:.2} ×")));
    }
    for quantity in ours("C7", "what previews add") {
        let target = format!("{} (median): ≤ 1 %", quantity.what);
        verdicts.push(verdict("C7", target, quantity.median(), Bound::AtMost(1.0), percent));
    }
    for quantity in ours("C7", "from cancel") {
        let target = format!("{}: p95 ≤ 150 ms", quantity.what);
        verdicts.push(verdict("C7", target, quantity.quantile(0.95), Bound::AtMost(150.0), milliseconds));
    }
    // The target is one for 64 viewers; fewer must be served as soon.
    for quantity in ours("C8", "p99").into_iter().filter(|quantity| !quantity.what.contains(" 256 viewers")) {
        let target = format!("{}: ≤ 5 ms at 64", quantity.what);
        verdicts.push(verdict("C8", target, quantity.median(), Bound::AtMost(5.0), milliseconds));
    }
    for quantity in ours("C8", "steps") {
        let target = format!("{}: ≤ 2 % more", quantity.what);
        verdicts.push(verdict("C8", target, quantity.median(), Bound::AtMost(2.0), percent));
    }
    let memory = ours("C8", "memory");
    if let Some((first, last)) =
        memory.first().and_then(|first| first.median()).zip(memory.last().and_then(|last| last.median()))
    {
        let target = "memory of the worker with the most viewers, of that with the fewest: flat (≤ 1.1)".into();
        verdicts.push(verdict("C8", target, Some(last / first), Bound::AtMost(1.1), times));
    }
    for quantity in ours("C9", READY) {
        let target = format!("{}: ≤ 500 ms", quantity.what);
        verdicts.push(verdict("C9", target, quantity.median(), Bound::AtMost(500.0), milliseconds));
        for (engine, bound) in [(crate::engines::SDCPP, 0.3), ("diffusers", 0.1)] {
            let is_other = |other: &&Quantity| other.engine == engine && other.what.starts_with(READY);
            let other = quantities.iter().find(is_other);
            let over = quantity.median().zip(other.and_then(Quantity::median)).map(|(ours, other)| ours / other);
            verdicts.push(verdict(
                "C9",
                format!("{}: ≤ {bound} of {engine}", quantity.what),
                over,
                Bound::AtMost(bound),
                times,
            ));
        }
    }
    verdicts
}
