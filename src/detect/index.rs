//! A hash index that grows without ever stopping.

use hashbrown::HashTable;

/// Positions of records by hash; the records live elsewhere, and their owner compares them.
///
/// Rehashing a million entries at once would stop ingest for 30 ms and more, and clearing the memory
/// for four million 5 ms. So the entries are spread over small tables, each of which grows by itself.
#[derive(Debug)]
pub struct Index {
    tables: Box<[HashTable<u32>]>,
}

/// Entries of one table when the index is full, about; growing to that many takes some 0.2 ms.
const TABLE_LEN: usize = 4096;
/// Room of a table in use: few entries come and go without growing it.
const ROOM_MIN: usize = 448;

impl Index {
    /// For up to `capacity` records; more only make it slower to grow.
    pub fn new(capacity: usize) -> Self {
        let tables = capacity.div_ceil(TABLE_LEN).next_power_of_two();
        Self {
            tables: (0..tables).map(|_| HashTable::new()).collect(),
        }
    }

    /// The record with this hash that `is_it`.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = &self.tables[self.number(hash)];
        table.find(hash, |at| is_it(*at)).copied()
    }

    /// Adds the record at `at`, which is not there; `hash_of` tells the hash of each that is.
    pub fn insert(&mut self, hash: u64, at: u32, hash_of: impl Fn(u32) -> u64) {
        let table = &mut self.tables[self.number(hash)];
        if table.capacity() == 0 {
            *table = HashTable::with_capacity(ROOM_MIN);
        }
        table.insert_unique(hash, at, |at| hash_of(*at));
    }

    /// Removes the record with this hash that `is_it`, and returns it.
    pub fn remove(&mut self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = &mut self.tables[self.number(hash)];
        let entry = table.find_entry(hash, |at| is_it(*at)).ok()?;
        Some(entry.remove().0)
    }

    /// The table of a hash, by bits that a small table itself does not look at: neither the lowest
    /// nor the highest.
    fn number(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.tables.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_record_while_it_grows() {
        let mut index = Index::new(60_000);
        // The hash of each record; 0 while it is vacant.
        let mut records: Vec<u64> = Vec::new();
        let mut vacant: Vec<u32> = Vec::new();
        for step in 1..60_000_u64 {
            let hash = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let at = vacant.pop().unwrap_or(records.len() as u32);
            if at as usize == records.len() {
                records.push(hash);
            }
            records[at as usize] = hash;
            index.insert(hash, at, |at| records[at as usize]);
            let other = (hash >> 40) as usize % records.len();
            if step % 3 == 0 && records[other] != 0 {
                let gone = std::mem::take(&mut records[other]);
                let removed = index.remove(gone, |at| at as usize == other);
                assert_eq!(removed, Some(other as u32), "step {step}");
                vacant.push(other as u32);
                let found = index.find(gone, |at| at as usize == other);
                assert_eq!(found, None, "step {step}");
            }
            let any = step as usize * 7919 % records.len();
            if records[any] != 0 {
                let found = index.find(records[any], |at| at as usize == any);
                assert_eq!(found, Some(any as u32), "step {step}");
            }
        }
        for (at, hash) in records.iter().enumerate().filter(|(_, hash)| **hash != 0) {
            let found = index.find(*hash, |other| other as usize == at);
            assert_eq!(found, Some(at as u32));
        }
        let largest = index.tables.iter().map(HashTable::len).max();
        assert_eq!(index.tables.len(), 16);
        assert!(largest < Some(4096), "{largest:?}");
    }
}
