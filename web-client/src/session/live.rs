//! Drawing while things change: the newest state of the page takes the place of older ones.

use std::collections::VecDeque;

use sd_protocol::JobId;

/// Time without a change after which the newest state is sent, in milliseconds: about a pause between two words.
pub const QUIET_MS: f64 = 250.0;
/// Longest time that changes without a pause hold the newest state back, in milliseconds.
pub const HELD_BACK_MS: f64 = 1000.0;
/// Jobs whose state is remembered; older ones have been superseded long ago.
const SENT_MAX: usize = 8;

/// The states of the page, numbered from 1, and which of them has been drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    newest: u64,
    /// Times of the first change that has not been sent, and of the newest one, in milliseconds.
    unsent: Option<(f64, f64)>,
    /// Jobs and the states that they draw, the newest last.
    sent: VecDeque<(JobId, u64)>,
    drawn: u64,
}

impl Live {
    /// Something changed at `now_ms`.
    pub fn changed(&mut self, now_ms: f64) {
        self.newest += 1;
        let first = self.unsent.map_or(now_ms, |(first, _)| first);
        self.unsent = Some((first, now_ms));
    }

    /// How long to wait at `now_ms` until the newest state should be sent, in milliseconds; `None` when it has been.
    pub fn wait_ms(&self, now_ms: f64) -> Option<f64> {
        let (first, last) = self.unsent?;
        Some(((last + QUIET_MS).min(first + HELD_BACK_MS) - now_ms).max(0.0))
    }

    /// The newest state is drawn by this job.
    pub fn sent(&mut self, job: JobId) {
        self.unsent = None;
        self.sent.push_back((job, self.newest));
        if self.sent.len() > SENT_MAX {
            self.sent.pop_front();
        }
    }

    /// Something of this job is on the screen.
    pub fn drew(&mut self, job: &JobId) {
        let state = self.sent.iter().find(|(sent, _)| sent == job).map(|(_, state)| *state);
        self.drawn = self.drawn.max(state.unwrap_or(0));
    }

    /// How many changes are not on the screen yet.
    pub fn behind(&self) -> u64 {
        self.newest - self.drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> JobId {
        JobId::parse(name).unwrap()
    }

    #[test]
    fn sends_in_the_first_pause_or_after_the_longest_wait() {
        let mut live = Live::default();
        assert_eq!(live.wait_ms(0.0), None, "nothing has changed");
        live.changed(100.0);
        assert_eq!(live.wait_ms(100.0), Some(QUIET_MS));
        live.changed(300.0);
        assert_eq!(live.wait_ms(300.0), Some(QUIET_MS), "another change moves the pause");
        for tenth in 4..=10 {
            live.changed(f64::from(tenth) * 100.0);
        }
        assert_eq!(live.wait_ms(1000.0), Some(100.0), "changes without a pause are sent all the same");
        assert_eq!(live.wait_ms(5000.0), Some(0.0));
        live.sent(id("a"));
        assert_eq!(live.wait_ms(5000.0), None);
    }

    #[test]
    fn says_how_many_changes_are_not_on_the_screen() {
        let mut live = Live::default();
        live.changed(0.0);
        live.sent(id("a"));
        live.changed(1.0);
        live.changed(2.0);
        assert_eq!(live.behind(), 3);
        live.drew(&id("a"));
        assert_eq!(live.behind(), 2);
        live.sent(id("b"));
        live.drew(&id("b"));
        assert_eq!(live.behind(), 0);
        live.drew(&id("a"));
        live.drew(&id("another"));
        assert_eq!(live.behind(), 0, "an older job or another one changes nothing");
    }
}
