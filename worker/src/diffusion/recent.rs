//! The last few things that were made, by what they were made from.

use std::collections::VecDeque;

/// A short memory, bounded by the sizes of what it holds; what was asked for longest ago leaves first.
#[derive(Debug)]
pub struct Recent<K, V> {
    /// The last one asked for is in front.
    entries: VecDeque<Entry<K, V>>,
    size_max: usize,
    reuse: Reuse,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    size: usize,
}

/// How often something was at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// Times that it was.
    pub found: u32,
    /// Times that it had to be made.
    pub made: u32,
}

impl std::ops::AddAssign for Reuse {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.made += other.made;
    }
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    /// An empty memory for things of `size_max` together, in whatever unit their sizes are told.
    pub fn new(size_max: usize) -> Self {
        Self { entries: VecDeque::new(), size_max, reuse: Reuse::default() }
    }

    /// What belongs to `key`, made where it is not remembered. What leaves for it, leaves before it is made, so that
    /// there is room; what is larger than the whole memory is made and not kept.
    ///
    /// # Errors
    /// Those of `make`, after which nothing is remembered for `key`.
    pub fn get_or_make<E>(&mut self, key: K, size: usize, make: impl FnOnce(&K) -> Result<V, E>) -> Result<V, E> {
        if let Some(place) = self.entries.iter().position(|entry| entry.key == key) {
            let entry = self.entries.remove(place).expect("the place was found just now");
            let value = entry.value.clone();
            self.entries.push_front(entry);
            self.reuse.found += 1;
            return Ok(value);
        }
        let room = self.size_max.checked_sub(size);
        if let Some(room) = room {
            self.shrink_to(room);
        }
        let value = make(&key)?;
        self.reuse.made += 1;
        if room.is_some() {
            self.entries.push_front(Entry { key, value: value.clone(), size });
        }
        Ok(value)
    }

    /// Keeps the ones asked for last, as many as have a place in `room`.
    fn shrink_to(&mut self, mut room: usize) {
        let stays = |entry: &&Entry<K, V>| {
            let left = room.checked_sub(entry.size);
            room = left.unwrap_or(room);
            left.is_some()
        };
        let staying = self.entries.iter().take_while(stays).count();
        self.entries.truncate(staying);
    }

    /// How often it helped since the last time that this was asked.
    pub fn take_reuse(&mut self) -> Reuse {
        std::mem::take(&mut self.reuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for each of `keys`, whose sizes they are themselves, and tells which were made.
    fn made(size_max: usize, keys: &[usize]) -> Vec<usize> {
        let mut recent = Recent::new(size_max);
        let mut made = Vec::new();
        for &key in keys {
            let value = recent.get_or_make(key, key, |&key| {
                made.push(key);
                Ok::<_, ()>(10 * key)
            });
            assert_eq!(value, Ok(10 * key));
        }
        let reuse = recent.take_reuse();
        assert_eq!((reuse.made as usize, reuse.found as usize), (made.len(), keys.len() - made.len()));
        assert_eq!(recent.take_reuse(), Reuse::default());
        made
    }

    #[test]
    fn what_was_asked_for_longest_ago_leaves_first() {
        assert_eq!(made(6, &[1, 2, 3, 1, 2, 3]), [1, 2, 3]);
        assert_eq!(made(6, &[1, 2, 3, 1, 4, 1, 2]), [1, 2, 3, 4, 2]);
    }

    #[test]
    fn what_is_too_large_is_made_again() {
        assert_eq!(made(3, &[4, 4, 2, 2]), [4, 4, 2]);
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let mut recent = Recent::new(1);
        assert_eq!(recent.get_or_make('a', 1, |_| Err::<u8, _>("no")), Err("no"));
        assert_eq!(recent.get_or_make('a', 1, |_| Ok::<_, &str>(7)), Ok(7));
        assert_eq!(recent.take_reuse(), Reuse { found: 0, made: 1 });
    }
}
