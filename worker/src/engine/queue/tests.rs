use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::JobQueue;

#[test]
fn who_waits_in_vain_is_told_once() {
    let queue = JobQueue::new(1);
    let told = AtomicUsize::new(0);
    let tell = || {
        told.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.take(Duration::from_millis(1), tell).is_err());
        while told.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        // Longer than its patience by far.
        std::thread::sleep(Duration::from_millis(30));
        queue.close();
        assert!(waiting.join().unwrap(), "the queue is closed");
    });
    assert_eq!(told.into_inner(), 1);
}

#[test]
fn who_is_answered_in_time_is_told_nothing() {
    let queue = JobQueue::new(1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.take(Duration::MAX, || panic!("it has waited for ever")).is_err());
        queue.close();
        assert!(waiting.join().unwrap(), "the queue is closed");
    });
}
