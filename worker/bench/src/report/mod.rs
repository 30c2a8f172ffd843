//! What was measured, for people and for programs.
//!
//! | module | what it holds |
//! |---|---|
//! | [`machine`] | what it was measured on, and with which versions |
//! | [`peaks`] | what a core can do at most, in each type of number |
//! | [`tables`] | the numbers, in Markdown |
//! | [`verdicts`] | what the targets say of them |
//! | [`document`] | the document, of which only a part is generated |

mod document;
mod machine;
mod peaks;
pub(crate) mod tables;
mod verdicts;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use self::machine::Machine;
pub(crate) use self::peaks::Peak;
use self::verdicts::Verdict;
use crate::engines::OURS;
use crate::networks::Outcome;
use crate::server::Quantity;
use crate::setting::Setting;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    command: String,
    quick: bool,
    machine: Machine,
    peaks: Vec<Peak>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) quantities: Vec<Quantity>,
    verdicts: Vec<Verdict>,
}

impl Report {
    pub(crate) fn new(setting: &Setting, command: String) -> Self {
        Self {
            command,
            quick: setting.quick,
            machine: Machine::of(setting),
            peaks: peaks::measured(),
            outcomes: Vec::new(),
            quantities: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    pub(crate) fn peaks(&self) -> &[Peak] {
        &self.peaks
    }

    /// Prints the verdicts.
    pub(crate) fn print(&self) {
        print!("{}", tables::quantities(&self.quantities));
        print!("\n{}", tables::verdicts(&self.verdicts));
    }

    /// Writes all so far to `folder` in both forms, and to `document` where there is one, so that a run that is broken off
    /// leaves what it measured.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn save(&mut self, folder: &Path, document: Option<&Path>) -> anyhow::Result<()> {
        self.verdicts = verdicts::all(&self.outcomes, &self.quantities, &self.peaks, self.machine.threads);
        let markdown = self.markdown()?;
        fs::write(folder.join("cpu.md"), &markdown)?;
        fs::write(folder.join("cpu.json"), serde_json::to_vec_pretty(self)?)?;
        if let Some(document) = document {
            document::replace(document, &markdown)?;
        }
        Ok(())
    }

    /// Whether all of ours that was measured is near enough to what it should be.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn verify(&self) -> anyhow::Result<()> {
        let mut faults = String::new();
        for Outcome { case, lines } in &self.outcomes {
            for line in lines.iter().filter(|line| line.engine == OURS) {
                let max = case.dtype.distance_max();
                let fault = match &line.measured {
                    Err(why) => Some(why.clone()),
                    Ok(measured) => match &measured.relative_l2 {
                        Ok(distance) if *distance <= max => None,
                        Ok(distance) => {
                            Some(format!("relative L2 {distance:.1e} from torch, at most {max:.0e} is right"))
                        }
                        Err(why) => Some(why.clone()),
                    },
                };
                if let Some(fault) = fault {
                    writeln!(faults, "{} {}, {}: {fault}", case.id, case.name, case.dtype.name())?;
                }
            }
        }
        anyhow::ensure!(faults.is_empty(), "ours does not compute what it should:\n{faults}");
        Ok(())
    }

    fn markdown(&self) -> Result<String, std::fmt::Error> {
        let Self { command, machine, outcomes, quantities, verdicts, peaks, .. } = self;
        let mut text = String::new();
        writeln!(text, "Made by `{command}` on {}.\n", machine.date)?;
        write!(text, "{machine}")?;
        for peak in peaks {
            writeln!(text, "- {peak}")?;
        }
        writeln!(text, "\n{}", tables::LEGEND)?;
        if !verdicts.is_empty() {
            write!(text, "\n### Targets\n\n{}", tables::verdicts(verdicts))?;
        }
        if !outcomes.is_empty() {
            write!(text, "\n### Operations and networks\n\n{}", tables::HEAD)?;
            for outcome in outcomes {
                write!(text, "{}", tables::case(outcome, peaks, machine.threads))?;
            }
        }
        if !quantities.is_empty() {
            write!(text, "\n### The server\n\n{}", tables::quantities(quantities))?;
        }
        Ok(text)
    }
}
