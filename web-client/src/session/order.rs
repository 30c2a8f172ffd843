//! The order of what waits.

use sd_protocol::JobId;
use sd_protocol::limits::PRIORITY_MAX;

/// A job that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub id: JobId,
    /// Higher ones are drawn first; among equals, the older one.
    pub priority: i32,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// Which way a job moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// One place towards being drawn.
    Earlier,
    /// One place away from it.
    Later,
}

/// The priorities that change so that the job at `index` trades places with its neighbour. `waiting` is in the order of
/// drawing, the next one first. Nothing where there is no neighbour, or no priority left to give.
pub fn swap(waiting: &[Waiting], index: usize, direction: Move) -> Vec<(JobId, i32)> {
    let ahead = match direction {
        Move::Earlier => index.checked_sub(1),
        Move::Later => Some(index),
    };
    let Some(ahead) = ahead.filter(|ahead| ahead + 1 < waiting.len()) else { return Vec::new() };
    // Jobs of one millisecond stand in the order of their acceptance while their priorities are equal.
    let mut wanted: Vec<_> = waiting.iter().zip(0..).map(|(job, place)| (job, (job.created_at_ms, place))).collect();
    wanted.swap(ahead, ahead + 1);
    let steps = wanted.windows(2).map(|pair| i32::from(pair[0].1 > pair[1].1)).collect::<Vec<_>>();
    let mut priorities: Vec<_> = wanted.iter().map(|(job, _)| job.priority).collect();
    raise(&mut priorities, &steps);
    if priorities[0] > PRIORITY_MAX {
        priorities = wanted.iter().map(|(job, _)| job.priority).collect();
        sink(&mut priorities, &steps);
        if priorities.last().is_none_or(|last| *last < -PRIORITY_MAX) {
            return Vec::new();
        }
    }
    let changed = wanted.iter().zip(priorities).filter(|((job, _), priority)| job.priority != *priority);
    changed.map(|((job, _), priority)| (job.id.clone(), priority)).collect()
}

/// Raises what stands ahead as little as it takes; `steps[i]` is how far `i` must be above the one behind it.
fn raise(priorities: &mut [i32], steps: &[i32]) {
    for at in (0..steps.len()).rev() {
        priorities[at] = priorities[at].max(priorities[at + 1] + steps[at]);
    }
}

/// Sinks what stands behind as little as it takes.
fn sink(priorities: &mut [i32], steps: &[i32]) {
    for at in 0..steps.len() {
        priorities[at + 1] = priorities[at + 1].min(priorities[at] - steps[at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which the worker draws.
    fn sort(waiting: &mut [Waiting]) {
        waiting.sort_by_key(|job| (-job.priority, job.created_at_ms));
    }

    /// Jobs with these priorities, the oldest first.
    fn queue(priorities: &[i32]) -> Vec<Waiting> {
        let id = |at| JobId::parse(format!("job-{at}")).unwrap();
        let job = |(at, &priority)| Waiting { id: id(at), priority, created_at_ms: at as u64 };
        let mut waiting: Vec<_> = priorities.iter().enumerate().map(job).collect();
        sort(&mut waiting);
        waiting
    }

    fn ids(waiting: &[Waiting]) -> Vec<JobId> {
        waiting.iter().map(|job| job.id.clone()).collect()
    }

    fn check(priorities: &[i32]) {
        let before = queue(priorities);
        for index in 0..before.len() {
            for direction in [Move::Earlier, Move::Later] {
                let mut expect = ids(&before);
                let other = if direction == Move::Earlier { index.checked_sub(1) } else { Some(index + 1) };
                if let Some(other) = other.filter(|other| *other < expect.len()) {
                    expect.swap(index, other);
                }
                let mut after = before.clone();
                for (id, priority) in swap(&before, index, direction) {
                    assert!((-PRIORITY_MAX..=PRIORITY_MAX).contains(&priority));
                    after.iter_mut().find(|job| job.id == id).unwrap().priority = priority;
                }
                sort(&mut after);
                assert_eq!(ids(&after), expect, "{priorities:?}: {index} {direction:?}");
            }
        }
    }

    #[test]
    fn neighbours_trade_places_and_nobody_else_does() {
        let queues =
            [&[][..], &[0], &[0, 0], &[0, 0, 0, 0], &[3, 1, 1, 0], &[0, 5, 0, 1, 1], &[10, 10, 10], &[-10, 10, 9, 9]];
        for priorities in queues {
            check(priorities);
        }
    }

    #[test]
    fn a_full_scale_leaves_everything_as_it_is() {
        let younger_first: Vec<_> =
            (0..30).map(|at| Waiting { created_at_ms: 30 - at, ..queue(&[0])[0].clone() }).collect();
        assert_eq!(swap(&younger_first, 0, Move::Later), [], "there are 21 priorities, and 30 are asked for");
    }
}
