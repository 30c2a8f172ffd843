//! The cores of the CPU that networks compute on: a thread for each physical one.
//!
//! Two threads of one core wait for the same multipliers, and evict each other's numbers from its caches.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

/// How far threads let others go first: by a factor of three, and by nothing where nobody else has something to do.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Starts the pool that every kernel finds itself in, with `threads` of them; where nothing is said, with one for each
/// physical core that this process may use, or fewer where a container has less of their time.
///
/// Threads let others go first: whoever watches a picture on the same machine has a page that answers, and sockets are
/// served while networks compute. A thread that has a core for itself stays on it. Where there are fewer threads than
/// cores the system moves them: other processes may have settled on the same few.
///
/// # Errors
/// When the system starts no threads, or the pool was started before.
pub fn start_pool(threads: Option<NonZeroUsize>) -> Result<(), ThreadPoolBuildError> {
    let time = available_parallelism().map_or(1, NonZeroUsize::get);
    let cores = physical();
    let count = match threads {
        Some(threads) => threads.get(),
        None if cores.is_empty() => time,
        None => cores.len().min(time),
    };
    let has_each = cores.len() == count;
    let builder = ThreadPoolBuilder::new().num_threads(count).thread_name(|at| format!("compute-{at}"));
    builder.start_handler(move |at| settle(has_each.then(|| cores[at]))).build_global()
}

/// The first CPU of each physical core that this process may run on; nothing where that is not known.
#[cfg(target_os = "linux")]
fn physical() -> Vec<usize> {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    let allowed: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(path).map_or_else(|_| vec![cpu], |list| cpus(&list))
    };
    firsts(&allowed, siblings)
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
fn physical() -> Vec<usize> {
    Vec::new()
}

/// Those of `allowed` that are the first of their siblings in it.
#[cfg(any(target_os = "linux", test))]
fn firsts(allowed: &[usize], siblings: impl Fn(usize) -> Vec<usize>) -> Vec<usize> {
    let is_first = |cpu: &usize| !siblings(*cpu).iter().any(|other| other < cpu && allowed.contains(other));
    allowed.iter().copied().filter(is_first).collect()
}

/// The CPUs of a list such as `0-3,8`, as Linux writes it.
#[cfg(any(target_os = "linux", test))]
fn cpus(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Gives this thread a third of the weight that others have, and keeps it on `cpu` where there is one.
#[cfg(target_os = "linux")]
fn settle(cpu: Option<usize>) {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(error = &error as &dyn std::error::Error, "a thread keeps its priority");
    }
    let Some(cpu) = cpu else { return };
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &cpus) {
        tracing::debug!(cpu, error = &error as &dyn std::error::Error, "a thread is not kept on its core");
    }
}

/// Other systems have no priority for a thread alone.
#[cfg(not(target_os = "linux"))]
fn settle(_: Option<usize>) {}

#[cfg(test)]
mod tests {
    use super::{cpus, firsts};

    #[test]
    fn a_core_counts_once_whichever_of_its_cpus_are_allowed() {
        let pairs = |cpu: usize| vec![cpu % 4, cpu % 4 + 4];
        assert_eq!(firsts(&[0, 1, 2, 3, 4, 5, 6, 7], pairs), [0, 1, 2, 3]);
        assert_eq!(firsts(&[1, 4, 5], pairs), [1, 4]);
        assert_eq!(firsts(&[], pairs), [0; 0]);
    }

    #[test]
    fn lists_of_cpus_are_read() {
        for (list, expected) in
            [("0\n", vec![0]), ("0,64", vec![0, 64]), ("0-2,8-9\n", vec![0, 1, 2, 8, 9]), ("", vec![])]
        {
            assert_eq!(cpus(list), expected, "{list:?}");
        }
    }
}
