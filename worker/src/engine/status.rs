//! What the engine is up to, all of its threads together.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// What the engine is up to, for `/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineStatus {
    /// The default model is being loaded and warmed.
    Loading,
    /// A job would start at once, or after those that wait.
    Ready,
    /// The default model cannot be loaded; jobs for other models may still work.
    Failed(String),
    /// The worker stops.
    Stopped,
}

/// What each thread is up to.
#[derive(Debug)]
pub(super) struct Statuses {
    each: Mutex<Vec<EngineStatus>>,
    together: watch::Sender<EngineStatus>,
}

impl Statuses {
    /// So many threads that load, and what they are up to together.
    pub(super) fn new(threads: usize) -> (Arc<Self>, watch::Receiver<EngineStatus>) {
        let (together, status) = watch::channel(EngineStatus::Loading);
        (Arc::new(Self { each: Mutex::new(vec![EngineStatus::Loading; threads]), together }), status)
    }

    /// The thread with that number is up to something else.
    pub(super) fn tell(&self, thread: usize, status: EngineStatus) {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        each[thread] = status;
        self.together.send_replace(together(&each));
    }
}

/// One thread that is ready takes jobs, and one that still loads may yet; a failure is told when no thread is better off.
fn together(each: &[EngineStatus]) -> EngineStatus {
    let rank = |status: &&EngineStatus| match status {
        EngineStatus::Ready => 0,
        EngineStatus::Loading => 1,
        EngineStatus::Failed(_) => 2,
        EngineStatus::Stopped => 3,
    };
    each.iter().min_by_key(rank).cloned().unwrap_or(EngineStatus::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_thread_speaks_for_all() {
        let failed = || EngineStatus::Failed("no memory".into());
        let (statuses, status) = Statuses::new(2);
        let check = |thread, told, expected| {
            statuses.tell(thread, told);
            assert_eq!(*status.borrow(), expected);
        };
        check(0, failed(), EngineStatus::Loading);
        check(1, failed(), failed());
        check(1, EngineStatus::Ready, EngineStatus::Ready);
        check(0, EngineStatus::Stopped, EngineStatus::Ready);
        check(1, EngineStatus::Stopped, EngineStatus::Stopped);
    }
}
