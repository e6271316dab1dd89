//! What changed in a table since somebody wrote it down.

use crate::detect::chunks::NONE;
use crate::detect::key::Key;

/// The tokens that were touched and those that went, if anybody wants to know. If not, each touch
/// costs one comparison.
#[derive(Default)]
pub struct Changes {
    wanted: bool,
    /// Slots in the order of their sightings, with repetitions.
    seen: Vec<u32>,
    /// Slots of tokens that changed, with repetitions; those that were seen may be among them.
    changed: Vec<u32>,
    removed: Vec<Key>,
    /// One bit for each slot: whether it is ready to be written. All clear in between.
    marks: Vec<u64>,
    /// Slots to write, each once: those that only changed, then those that were seen, with [`SEEN`],
    /// in the order of their last sightings.
    ready: Vec<u32>,
    written: usize,
}

/// Stands in a slot's number for its sighting: no table has so many slots.
const SEEN: u32 = 1 << 31;

/// Entries kept in memory for the next time.
const KEPT_MAX: usize = 1 << 14;

impl Changes {
    pub fn want(&mut self) {
        self.wanted = true;
    }

    pub fn seen(&mut self, slot: u32) {
        if self.wanted {
            self.seen.push(slot);
        }
    }

    pub fn changed(&mut self, slot: u32) {
        if self.wanted {
            self.changed.push(slot);
        }
    }

    pub fn removed(&mut self, key: Key) {
        if self.wanted {
            self.removed.push(key);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// The keys of up to `max` of the tokens that went, the first to go first; all of them are to be
    /// written before what [`Changes::next`] gives, which may have come back.
    pub fn take_removed(&mut self, max: usize) -> impl Iterator<Item = Key> {
        self.removed.drain(..max.min(self.removed.len()))
    }

    /// Whether some of them were left.
    pub fn has_removed(&self) -> bool {
        !self.removed.is_empty()
    }

    /// The next token that changed, and whether it was seen; `None` after the last.
    pub fn next(&mut self) -> Option<(u32, bool)> {
        if self.ready.is_empty() {
            self.prepare();
        }
        match self.ready.get(self.written) {
            Some(slot) => {
                self.written += 1;
                Some((slot & !SEEN, slot & SEEN != 0))
            }
            None => {
                self.forget();
                None
            }
        }
    }

    /// Forgets all changes.
    pub fn forget(&mut self) {
        for list in [&mut self.seen, &mut self.changed, &mut self.ready] {
            list.clear();
            list.shrink_to(KEPT_MAX);
        }
        self.removed.clear();
        self.removed.shrink_to(KEPT_MAX);
        self.written = 0;
    }

    /// Makes each slot occur once.
    fn prepare(&mut self) {
        let slots = || self.seen.iter().chain(&self.changed);
        let Some(last) = slots().max() else { return };
        self.marks
            .resize(self.marks.len().max(*last as usize / 64 + 1), 0);
        for slot in self.seen.iter_mut().rev() {
            if !mark(&mut self.marks, *slot) {
                *slot = NONE;
            }
        }
        for slot in &self.changed {
            if mark(&mut self.marks, *slot) {
                self.ready.push(*slot);
            }
        }
        let seen = self.seen.iter().filter(|slot| **slot != NONE);
        self.ready.extend(seen.map(|slot| slot | SEEN));
        for slot in &self.ready {
            self.marks[(slot & !SEEN) as usize / 64] = 0;
        }
    }
}

/// Marks a slot; returns whether it was not yet.
fn mark(marks: &mut [u64], slot: u32) -> bool {
    let (word, bit) = (&mut marks[slot as usize / 64], 1 << (slot % 64));
    let new = *word & bit == 0;
    *word |= bit;
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(changes: &mut Changes) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| changes.next()).collect()
    }

    #[test]
    fn each_slot_comes_once_and_sightings_in_order_of_the_last() {
        let mut changes = Changes::default();
        changes.seen(1);
        assert_eq!(all(&mut changes), []);
        changes.want();
        for _ in 0..2 {
            for slot in [7, 3, 64, 7, 200] {
                changes.seen(slot);
            }
            for slot in [3, 5, 5, 128] {
                changes.changed(slot);
            }
            changes.removed(Key::default());
            assert!(!changes.is_empty());
            assert_eq!(changes.take_removed(usize::MAX).count(), 1);
            let (kept, seen) = ([(5, false), (128, false)], [3, 64, 7, 200]);
            let seen = seen.map(|slot| (slot, true));
            assert_eq!(all(&mut changes), [&kept[..], &seen].concat());
            assert!(changes.is_empty() && all(&mut changes).is_empty());
        }
    }
}
