//! A hash index that grows without ever stopping.

use hashbrown::HashTable;

/// Positions of records by hash; the records live elsewhere, and their owner compares them.
///
/// Rehashing a million entries at once would stop ingest for 30 ms and more, so a full index is
/// followed by a new one into which every insertion moves a few of the old entries.
#[derive(Debug, Default)]
pub struct Index {
    current: HashTable<u32>,
    previous: HashTable<u32>,
    /// Records below this position are no longer in `previous`.
    next: u32,
}

/// Records moved per insertion.
const MOVED: u32 = 16;
/// Room of the first table.
const ROOM_MIN: usize = 1024;

impl Index {
    /// The record with this hash that `is_it`.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let found = self.current.find(hash, |at| is_it(*at));
        let found = match found {
            None if !self.previous.is_empty() => self.previous.find(hash, |at| is_it(*at)),
            found => found,
        };
        found.copied()
    }

    /// Adds the record at `at`. `hash_of` tells the hash of each of the `records`; for one that is
    /// vacant, anything.
    pub fn insert(&mut self, hash: u64, at: u32, records: u32, hash_of: impl Fn(u32) -> u64) {
        if self.current.len() == self.current.capacity() {
            self.advance(u32::MAX, records, &hash_of);
            // Room for as many insertions as it takes to look at all records.
            let len = self.current.len();
            let room = ROOM_MIN.max(len + (len / 2).max(records as usize / 4));
            self.previous = std::mem::replace(&mut self.current, HashTable::with_capacity(room));
            self.next = 0;
        }
        self.advance(MOVED, records, &hash_of);
        self.current.insert_unique(hash, at, |at| hash_of(*at));
    }

    pub fn remove(&mut self, hash: u64, at: u32) {
        for table in [&mut self.current, &mut self.previous] {
            if let Ok(entry) = table.find_entry(hash, |other| *other == at) {
                entry.remove();
                return;
            }
        }
    }

    fn advance(&mut self, steps: u32, records: u32, hash_of: &impl Fn(u32) -> u64) {
        if self.previous.is_empty() {
            return;
        }
        let end = self.next.saturating_add(steps).min(records);
        for at in self.next..end {
            let hash = hash_of(at);
            if let Ok(entry) = self.previous.find_entry(hash, |other| *other == at) {
                entry.remove();
                self.current.insert_unique(hash, at, |at| hash_of(*at));
            }
        }
        self.next = end;
        if self.previous.is_empty() {
            self.previous = HashTable::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_record_while_it_grows() {
        let mut index = Index::default();
        // The hash of each record; 0 while it is vacant.
        let mut records: Vec<u64> = Vec::new();
        let mut vacant: Vec<u32> = Vec::new();
        let mut growing = 0;
        for step in 1..60_000_u64 {
            let hash = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let at = vacant.pop().unwrap_or(records.len() as u32);
            if at as usize == records.len() {
                records.push(hash);
            }
            records[at as usize] = hash;
            index.insert(hash, at, records.len() as u32, |at| records[at as usize]);
            growing += u32::from(!index.previous.is_empty());
            let other = (hash >> 40) as usize % records.len();
            if step % 3 == 0 && records[other] != 0 {
                index.remove(records[other], other as u32);
                vacant.push(other as u32);
                let gone = std::mem::take(&mut records[other]);
                let found = index.find(gone, |at| at as usize == other);
                assert_eq!(found, None, "step {step}");
            }
            let any = step as usize * 7919 % records.len();
            if records[any] != 0 {
                let found = index.find(records[any], |at| at as usize == any);
                assert_eq!(found, Some(any as u32), "step {step}");
            }
        }
        assert!(growing > 1000, "{growing}");
        for (at, hash) in records.iter().enumerate().filter(|(_, hash)| **hash != 0) {
            assert_eq!(
                index.find(*hash, |other| other as usize == at),
                Some(at as u32)
            );
        }
    }
}
