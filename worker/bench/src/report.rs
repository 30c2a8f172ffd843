//! The table.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use sd_kernels::{Path as Instructions, peak};
use serde::Serialize;

use crate::engines::OURS;
use crate::round::Outcome;

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    threads: usize,
    quick: bool,
    /// Of our kernels.
    instructions: &'static str,
    /// Multiplications and additions of one thread in a second, in registers alone, in units of 10⁹.
    peak_gflops: f64,
    outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new(threads: usize, quick: bool) -> Self {
        let path = Instructions::detected();
        Self { threads, quick, instructions: path.name(), peak_gflops: peak(path) / 1e9, outcomes: Vec::new() }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Prints the table, and writes it to `folder` in both forms.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let markdown = self.markdown()?;
        print!("{markdown}");
        fs::write(folder.join("cpu.md"), markdown)?;
        Ok(fs::write(folder.join("cpu.json"), serde_json::to_vec_pretty(self)?)?)
    }

    fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let Self { threads, instructions, peak_gflops, .. } = self;
        writeln!(text, "{threads} threads, {instructions}, {peak_gflops:.0} GFLOP/s a thread at most\n")?;
        writeln!(
            text,
            "| case | engine | fastest | median | slowest | GFLOP/s | of the peak | ours / it | relative L2 |"
        )?;
        writeln!(text, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for Outcome { case, lines } in &self.outcomes {
            let ours = lines.iter().find(|line| line.engine == OURS).map(|line| line.fastest_ms);
            for line in lines {
                let gflops = case.work.operations().map(|operations| operations / line.fastest_ms / 1e6);
                let share = gflops.map(|gflops| gflops / (peak_gflops * *threads as f64));
                writeln!(
                    text,
                    "| {} | {} | {:.2} ms | {:.2} ms | {:.2} ms | {} | {} | {} | {:.1e} |",
                    case.name,
                    line.engine,
                    line.fastest_ms,
                    line.median_ms,
                    line.slowest_ms,
                    gflops.map_or("–".into(), |gflops| format!("{gflops:.0}")),
                    share.map_or("–".into(), |share| format!("{:.0} %", 100.0 * share)),
                    ours.map_or("–".into(), |ours| format!("{:.2}", ours / line.fastest_ms)),
                    line.relative_l2,
                )?;
            }
        }
        self.means(&mut text)?;
        Ok(text)
    }

    /// The geometric mean of ours over each other engine, for all cases whose names begin alike.
    fn means(&self, text: &mut String) -> std::fmt::Result {
        for id in ["C0", "C1", "C2"] {
            let outcomes: Vec<_> = self.outcomes.iter().filter(|outcome| outcome.case.name.starts_with(id)).collect();
            let Some(first) = outcomes.first() else { continue };
            for engine in first.lines.iter().map(|line| line.engine).filter(|engine| *engine != OURS) {
                let ratios: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.ratio(engine)).collect();
                let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
                writeln!(text, "\n{id}: ours takes {mean:.2} of the time of {engine}.")?;
            }
        }
        Ok(())
    }
}

impl Outcome {
    /// Our time over that of `engine`.
    fn ratio(&self, engine: &str) -> Option<f64> {
        let fastest = |name: &str| self.lines.iter().find(|line| line.engine == name).map(|line| line.fastest_ms);
        Some(fastest(OURS)? / fastest(engine)?)
    }
}
