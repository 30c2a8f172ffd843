//! How far a download is: one line that is rewritten on a terminal, lines in the log elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::models::LoadProgress;

/// Time between two lines of the log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two states of the line on a terminal.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Width of the bar, in characters.
const BAR: usize = 24;

/// Shows the progress of one model.
pub struct Meter {
    model: String,
    is_terminal: bool,
    shown_at: Option<Instant>,
}

impl Meter {
    /// A meter for standard error.
    pub fn new(model: &str) -> Self {
        Self { model: model.into(), is_terminal: std::io::stderr().is_terminal(), shown_at: None }
    }

    /// Shows `progress` unless something was shown just before.
    pub fn show(&mut self, progress: &LoadProgress) {
        let interval = if self.is_terminal { DRAW_INTERVAL } else { LOG_INTERVAL };
        let is_done = progress.done_bytes >= progress.total_bytes;
        if !is_done && self.shown_at.is_some_and(|shown_at| shown_at.elapsed() < interval) {
            return;
        }
        self.shown_at = Some(Instant::now());
        if self.is_terminal {
            let end = if is_done { "\n" } else { "" };
            let line = format!("\r\x1b[2K{}{end}", line(&self.model, progress));
            let mut terminal = std::io::stderr().lock();
            if let Err(error) = terminal.write_all(line.as_bytes()).and_then(|()| terminal.flush()) {
                tracing::debug!(error = &error as &dyn std::error::Error, "the terminal is gone");
                self.is_terminal = false;
            }
        } else {
            let megabytes = |bytes: u64| bytes / 1_000_000;
            tracing::info!(
                model = self.model,
                file = progress.file,
                done_mb = megabytes(progress.done_bytes),
                total_mb = megabytes(progress.total_bytes),
                "downloading"
            );
        }
    }
}

/// `name [########················]  33 %  1.1 of 3.4 GB  unet/diffusion_pytorch_model.safetensors`
fn line(model: &str, progress: &LoadProgress) -> String {
    let share = progress.done_bytes as f64 / progress.total_bytes.max(1) as f64;
    let full = ((share * BAR as f64) as usize).min(BAR);
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    format!(
        "{model} [{}{}] {:3.0} %  {:.1} of {:.1} GB  {}",
        "#".repeat(full),
        "·".repeat(BAR - full),
        100.0 * share,
        gigabytes(progress.done_bytes),
        gigabytes(progress.total_bytes),
        progress.file
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let progress = LoadProgress { file: "unet/w".into(), done_bytes: 1_500_000_000, total_bytes: 6_000_000_000 };
        assert_eq!(line("sd", &progress), "sd [######··················]  25 %  1.5 of 6.0 GB  unet/w");
        let empty = LoadProgress { file: String::new(), done_bytes: 0, total_bytes: 0 };
        assert!(line("sd", &empty).contains("  0 %"));
    }
}
