//! Numbered stages, so that a long run says where it is and where its time went.

use std::time::{Duration, Instant};

use anyhow::Context;

/// The stages of one command.
pub(crate) struct Stages {
    total: usize,
    done: Vec<(&'static str, Duration)>,
    remarks: Vec<String>,
}

impl Stages {
    /// `total` stages will run.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: Vec::with_capacity(total), remarks: Vec::new() }
    }

    /// Announces a stage, runs it and notes its time.
    ///
    /// # Errors
    /// What `work` returned, under the name of the stage.
    pub(crate) fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        eprintln!("[{}/{}] {name}", self.done.len() + 1, self.total);
        let start = Instant::now();
        let outcome = work().with_context(|| format!("stage {:?} failed", name))?;
        self.done.push((name, start.elapsed()));
        Ok(outcome)
    }

    /// Says something now and again in the summary.
    pub(crate) fn remark(&mut self, remark: String) {
        eprintln!("{remark}");
        self.remarks.push(remark);
    }

    /// Prints the time of every stage and every remark.
    pub(crate) fn summarize(&self) {
        for (name, time) in &self.done {
            eprintln!("{:>8.1} s  {name}", time.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, time)| *time).sum();
        eprintln!("{:>8.1} s  all {} stages passed", total.as_secs_f64(), self.total);
        for remark in &self.remarks {
            eprintln!("{remark}");
        }
    }
}
