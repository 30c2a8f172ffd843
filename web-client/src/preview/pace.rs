//! At which pace previews are drawn: each when the one before is on the screen. A GPU slower than the worker skips
//! previews, and the page stays as quick as ever.

/// Whether the GPU draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// The next preview is drawn when it comes.
    #[default]
    Idle,
    /// The GPU draws.
    Busy,
    /// The GPU draws, and what it draws is old already.
    Behind,
}

impl Pace {
    /// A preview came. Returns whether it is drawn now; otherwise the newest one is, later.
    pub fn came(&mut self) -> bool {
        let is_idle = *self == Self::Idle;
        *self = if is_idle { Self::Busy } else { Self::Behind };
        is_idle
    }

    /// What was drawn is on the screen. Returns whether a newer preview came in the meantime.
    pub fn shown(&mut self) -> bool {
        std::mem::take(self) == Self::Behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_the_gpu_draws_waits_for_its_turn() {
        let mut pace = Pace::default();
        assert!(pace.came());
        assert!(!pace.shown(), "nothing newer came");
        assert!(pace.came());
        assert!(!pace.came() && !pace.came(), "the GPU is at work");
        assert!(pace.shown(), "the newest is drawn next");
        assert!(pace.came());
    }
}
