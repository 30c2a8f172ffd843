//! Whose turn it is: credentials share the engine by the work that they ask for, and each orders its own jobs.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996): every owner has a line with a clock that runs on by the work of
//! each of its items that is served. The line whose clock is behind goes first. A line that was empty starts at the time
//! of the last service, so that nobody saves up turns. Within a line the higher priority goes first, then the older.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// Items in the order of their turns.
#[derive(Debug)]
pub(super) struct Turns<T> {
    lines: HashMap<Option<Arc<str>>, Line<T>>,
    /// Clock of the line that was served last, when it was served.
    now: u64,
    arrivals: u64,
}

#[derive(Debug)]
struct Line<T> {
    clock: u64,
    /// Sorted, the next one first.
    items: Vec<Item<T>>,
}

#[derive(Debug)]
struct Item<T> {
    priority: i32,
    arrival: u64,
    work: u64,
    value: T,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), now: 0, arrivals: 0 }
    }
}

impl<T> Turns<T> {
    pub(super) fn len(&self) -> usize {
        self.lines.values().map(|line| line.items.len()).sum()
    }

    /// Adds an item of so much `work` to the line of `owner`.
    pub(super) fn push(&mut self, owner: Option<Arc<str>>, priority: i32, work: u64, value: T) {
        self.arrivals += 1;
        let now = self.now;
        let line = self.lines.entry(owner).or_insert_with(|| Line { clock: now, items: Vec::new() });
        if line.items.is_empty() {
            line.clock = line.clock.max(now);
        }
        line.put(Item { priority, arrival: self.arrivals, work, value });
    }

    /// Items of one owner.
    pub(super) fn len_of(&self, owner: Option<&Arc<str>>) -> usize {
        self.lines.get(&owner.cloned()).map_or(0, |line| line.items.len())
    }

    /// Takes the item whose turn it is, among those whose owners `may` have it now.
    pub(super) fn pop(&mut self, may: impl Fn(&T) -> bool) -> Option<T> {
        let line = self.lines.values_mut().filter(|line| line.items.first().is_some_and(|item| may(&item.value)));
        let line = line.min_by_key(|line| (line.clock, line.items[0].arrival))?;
        let item = line.items.remove(0);
        self.now = line.clock;
        line.clock += item.work.max(1);
        // A line that is behind the present and empty remembers nothing that matters.
        let now = self.now;
        self.lines.retain(|_, line| !line.items.is_empty() || line.clock > now);
        Some(item.value)
    }

    /// Takes the first item that `is_it`.
    pub(super) fn remove(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        self.lines.values_mut().find_map(|line| {
            let at = line.items.iter().position(|item| is_it(&item.value))?;
            Some(line.items.remove(at).value)
        })
    }

    /// Moves the first item that `is_it` to where it would be if it had come with that priority; `false` when there is
    /// none.
    pub(super) fn set_priority(&mut self, is_it: impl Fn(&T) -> bool, priority: i32) -> bool {
        self.lines.values_mut().any(|line| {
            let Some(at) = line.items.iter().position(|item| is_it(&item.value)) else { return false };
            let item = line.items.remove(at);
            line.put(Item { priority, ..item });
            true
        })
    }

    /// Takes everything, in no order.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.lines.drain().flat_map(|(_, line)| line.items).map(|item| item.value).collect()
    }

    /// All items in the order in which they will be taken if no others come.
    pub(super) fn in_order(&self) -> Vec<&T> {
        let mut lines: Vec<_> = self.lines.values().map(|line| (line.clock, line.items.as_slice())).collect();
        let mut ordered = Vec::with_capacity(self.len());
        while let Some((clock, items)) = lines
            .iter_mut()
            .filter(|(_, items)| !items.is_empty())
            .min_by_key(|(clock, items)| (*clock, items[0].arrival))
        {
            let (first, rest) = items.split_first().expect("lines without items were left out");
            *clock += first.work.max(1);
            *items = rest;
            ordered.push(&first.value);
        }
        ordered
    }
}

impl<T> Line<T> {
    /// Puts an item behind those that are as urgent and older.
    fn put(&mut self, item: Item<T>) {
        let goes_before =
            |other: &Item<T>| (Reverse(other.priority), other.arrival) < (Reverse(item.priority), item.arrival);
        let at = self.items.partition_point(goes_before);
        self.items.insert(at, item);
    }
}

#[cfg(test)]
mod tests;
