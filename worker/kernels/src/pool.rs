//! Tasks on threads: rayon's, those of the pool that a kernel is called in.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that [`each`] uses.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `f` for every task of `0..tasks`, in no order, on all threads; one that is done takes the next task.
pub(crate) fn each(tasks: usize, f: impl Fn(usize) + Sync) {
    let workers = threads().min(tasks);
    if workers < 2 {
        return (0..tasks).for_each(f);
    }
    let next = AtomicUsize::new(0);
    let work = |_: &rayon::Scope| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            f(task);
        }
    };
    rayon::scope(|scope| (0..workers).for_each(|_| scope.spawn(work)));
}
