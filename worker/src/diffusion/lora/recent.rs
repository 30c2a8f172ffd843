//! The last few things that were built, by what they were built from.

use std::collections::VecDeque;

/// A short memory; the one that was asked for longest ago leaves first.
#[derive(Debug)]
pub struct Recent<K, V> {
    /// The last one asked for is in front.
    entries: VecDeque<(K, V)>,
    count_max: usize,
}

/// Combinations of LoRAs that stay merged.
pub const COMBINATIONS_MAX: usize = 3;

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), count_max: COMBINATIONS_MAX }
    }
}

impl<K: PartialEq, V> Recent<K, V> {
    /// What belongs to `key`, built where it is not remembered. What leaves for it, leaves before it is built, so
    /// that there is room.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn get_or_build<E>(&mut self, key: K, build: impl FnOnce(&K) -> Result<V, E>) -> Result<&V, E> {
        let entry = match self.entries.iter().position(|(known, _)| *known == key) {
            Some(place) => self.entries.remove(place).expect("the place was found just now"),
            None => {
                self.entries.truncate(self.count_max.saturating_sub(1));
                let value = build(&key)?;
                (key, value)
            }
        };
        self.entries.push_front(entry);
        Ok(&self.entries[0].1)
    }
}
