//! The names as they are written down, and made again from that.

use std::hash::BuildHasher;

use super::sweep::begin_max;
use super::{Entry, NameId, Names, Sort, Used};

/// Numbers of names that are taken over: a forged one must not cost memory, and the clients of a pod are
/// far fewer.
const NUMBER_MAX: u32 = 1 << 20;

impl Names {
    /// Notes from now on which names are new.
    pub fn want_news(&mut self) {
        for names in &mut self.sorts {
            names.wanted = true;
        }
    }

    pub fn has_news(&self) -> bool {
        self.sorts.iter().any(|names| !names.news.is_empty())
    }

    /// Calls `tell` with the names that were added since the last call.
    pub fn take_news(&mut self, tell: &mut dyn FnMut(NameId, &str)) {
        for names in &mut self.sorts {
            for id in names.news.drain(..) {
                let name = names.entries[id.number()].name.as_deref();
                tell(id, name.unwrap_or_default());
            }
        }
    }

    /// Calls `tell` with the names of a kind among up to `max` from number `from` on; returns where to
    /// go on, `None` after the last.
    pub fn tell_some(
        &self,
        sort: Sort,
        from: usize,
        max: usize,
        tell: &mut dyn FnMut(NameId, &str),
    ) -> Option<usize> {
        let names = &self.sorts[sort as usize];
        let range = names.range(from, max);
        let end = range.end;
        for number in range {
            if let Some(name) = &names.entries[number].name {
                tell(NameId::new(sort, number), name);
            }
        }
        (end < names.entries.len()).then_some(end as usize)
    }

    /// Takes over a name that was written down, in place of one with the same id. Those with a number
    /// beyond all bounds are left out, and whoever uses them is without a name.
    pub fn restore(&mut self, id: NameId, name: &str) {
        let entries = &mut self.sorts[id.sort()].entries;
        if id.number() < NUMBER_MAX {
            while entries.len() <= id.number() {
                entries.push(Entry {
                    name: None,
                    used: Used::NOT,
                });
            }
            entries[id.number()].name = Some(name.into());
        }
    }

    /// Whether there is a name with this id.
    pub fn holds(&self, id: NameId) -> bool {
        let entry = self.sorts[id.sort()].entries.get(id.number());
        entry.is_some_and(|entry| entry.name.is_some())
    }

    /// Says that a restored name is in use.
    pub fn keep(&mut self, id: NameId) {
        let entry = self.sorts[id.sort()].entries.get_mut(id.number());
        entry.into_iter().for_each(|entry| entry.used = Used::ANEW);
    }

    /// Forgets the restored names that are not in use, and is then as if all had been interned.
    pub fn restored(&mut self) {
        for names in &mut self.sorts {
            for number in 0..names.entries.len() {
                let entry = &mut names.entries[number];
                match entry.name.as_deref() {
                    Some(name) if entry.used == Used::ANEW => {
                        let hash = self.hasher.hash_one(name);
                        entry.used = Used::NOT;
                        names.list(number, hash, &self.hasher);
                    }
                    _ => names.vacate(number),
                }
            }
        }
        let doubled = self.sweep_at.max(2 * self.bytes());
        self.sweep_at = doubled.min(begin_max(self.bytes_max));
    }
}
