//! Tasks on threads: rayon's, those of the pool that a kernel is called in.
//!
//! A kernel takes less time than a thread that sleeps takes to wake up. So threads may be kept [`together`] while a network
//! computes kernel after kernel: they look for the next tasks in a loop, and sleep only where none come for long.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{hint, ptr};

/// For how long a thread looks for tasks before it sleeps.
const WATCH: Duration = Duration::from_millis(1);
/// Looks between two looks at the clock, and at what else the pool has to do.
const LOOKS: usize = 64;

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
    let work = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            f(task);
        }
    };
    match TEAM.with_borrow(Option::clone) {
        Some(team) => team.share(&work),
        None => rayon::scope(|scope| (0..workers).for_each(|_| scope.spawn(|_| work()))),
    }
}

/// Calls `f` in the pool, and keeps its threads at hand for the kernels that `f` calls.
///
/// They do what else the pool has to do, but only between those kernels.
pub fn together<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let helpers = threads() - 1;
    if helpers == 0 || TEAM.with_borrow(Option::is_some) {
        return f();
    }
    let team = Arc::new(Team::default());
    rayon::scope(|scope| {
        // Scopes begin on a thread of the pool, whichever thread they are called on.
        for _ in 0..helpers {
            scope.spawn(|_| team.help());
        }
        let _leaving = Leaving::begin(&team);
        f()
    })
}

thread_local! {
    /// Those who help this thread.
    static TEAM: RefCell<Option<Arc<Team>>> = const { RefCell::new(None) };
}

/// Ends a team, however its work ends.
struct Leaving<'a>(&'a Team);

impl<'a> Leaving<'a> {
    fn begin(team: &'a Arc<Team>) -> Self {
        TEAM.set(Some(Arc::clone(team)));
        Self(team)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        TEAM.set(None);
        self.0.is_over.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

/// Work that several threads do: a function to call, with what it is called with.
struct Shared {
    work: *const (),
    call: unsafe fn(*const ()),
}

/// Threads that look for what one of them has to share.
#[derive(Default)]
struct Team {
    /// Lies in the frame of [`Self::share`], and is null while there is nothing to do.
    shared: AtomicPtr<Shared>,
    /// Counts what was shared, so that nobody does one thing twice.
    round: AtomicUsize,
    /// Threads that may hold what `shared` was.
    busy: AtomicUsize,
    has_panicked: AtomicBool,
    is_over: AtomicBool,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    alarm: Condvar,
}

impl Team {
    /// Calls `work` here and on every thread of the team that is at hand.
    ///
    /// # Panics
    /// When `work` does, on any of them.
    fn share<F: Fn() + Sync>(&self, work: &F) {
        /// # Safety
        /// `work` is an `F`.
        unsafe fn call<F: Fn()>(work: *const ()) {
            // SAFETY: the caller's promise.
            unsafe { (*work.cast::<F>())() }
        }
        /// Takes back what was shared before it goes, however that ends.
        struct Taken<'a>(&'a Team);
        impl Drop for Taken<'_> {
            fn drop(&mut self) {
                self.0.shared.store(ptr::null_mut(), Ordering::SeqCst);
                let mut looks = 0;
                while self.0.busy.load(Ordering::SeqCst) > 0 {
                    looks += 1;
                    // Whoever is busy may have lost its core.
                    if looks % (LOOKS * LOOKS) == 0 { std::thread::yield_now() } else { hint::spin_loop() }
                }
            }
        }
        let mut shared = Shared { work: ptr::from_ref(work).cast(), call: call::<F> };
        let taken = Taken(self);
        self.round.fetch_add(1, Ordering::SeqCst);
        self.shared.store(&raw mut shared, Ordering::SeqCst);
        self.wake();
        work();
        drop(taken);
        assert!(!self.has_panicked.load(Ordering::SeqCst), "a task of a kernel panicked");
    }

    /// Looks for what is shared until the team is over.
    fn help(&self) {
        let mut done = 0;
        let mut since = Instant::now();
        while !self.is_over.load(Ordering::SeqCst) {
            for _ in 0..LOOKS {
                if self.take_part(&mut done) {
                    since = Instant::now();
                }
                hint::spin_loop();
            }
            if since.elapsed() > WATCH {
                self.sleep(done);
                since = Instant::now();
            } else {
                rayon::yield_now();
            }
        }
    }

    /// Does what is shared, where there is something that was not `done`.
    fn take_part(&self, done: &mut usize) -> bool {
        if self.shared.load(Ordering::Relaxed).is_null() || self.round.load(Ordering::Relaxed) == *done {
            return false;
        }
        /// Says that it is no longer held, however that ends.
        struct Held<'a>(&'a Team);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.has_panicked.store(true, Ordering::SeqCst);
                }
                self.0.busy.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        let _held = Held(self);
        // What was there before may be gone; from here on it stays, because this thread is counted.
        let shared = self.shared.load(Ordering::SeqCst);
        if shared.is_null() {
            return false;
        }
        *done = self.round.load(Ordering::SeqCst);
        // SAFETY: whoever shared it waits in `share` until this thread is counted no more, and what it points to is of the
        // type that its function was made for.
        unsafe { ((*shared).call)((*shared).work) }
        true
    }

    fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
            self.alarm.notify_all();
        }
    }

    /// Sleeps until something is shared, or the team is over.
    fn sleep(&self, done: usize) {
        let bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let nothing_is_there = |_: &mut ()| {
            let is_shared = !self.shared.load(Ordering::SeqCst).is_null() && self.round.load(Ordering::SeqCst) != done;
            !is_shared && !self.is_over.load(Ordering::SeqCst)
        };
        drop(self.alarm.wait_while(bed, nothing_is_there));
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::{WATCH, each, together};

    fn in_pool<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("there are threads").install(f)
    }

    /// Every task of `rounds` works is done once, with `between` before each work.
    fn check(threads: usize, rounds: usize, between: impl Fn() + Sync) {
        let done: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
        in_pool(threads, || {
            together(|| {
                for round in 1..=rounds {
                    between();
                    each(done.len(), |task| {
                        done[task].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == round), "in round {round}");
                }
            });
        });
    }

    #[test]
    fn every_task_is_done_once_before_the_next_work_begins() {
        for threads in [1, 2, 3, 7] {
            check(threads, 200, || {});
        }
    }

    #[test]
    fn threads_that_sleep_are_woken() {
        // Nothing is waited for: the longer the pause, the deeper they sleep.
        check(3, 5, || thread::sleep(3 * WATCH));
    }

    #[test]
    fn works_in_a_work_are_done_too() {
        let done = AtomicUsize::new(0);
        let count = |_| {
            done.fetch_add(1, Ordering::Relaxed);
        };
        in_pool(3, || together(|| each(10, |_| each(10, count))));
        assert_eq!(done.into_inner(), 100);
    }

    #[test]
    fn a_task_that_panics_ends_its_work_on_whichever_thread_and_no_other() {
        let panics = |task: usize| assert_ne!(task, 50, "on purpose");
        for _ in 0..20 {
            let ended = in_pool(3, || catch_unwind(AssertUnwindSafe(|| together(|| each(100, panics)))));
            assert!(ended.is_err(), "the caller does not take half of a result for the whole");
        }
        check(3, 10, || {});
    }
}
