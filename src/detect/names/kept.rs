//! The names as they are written down, and made again from that.

use super::{NameId, Names, Sort, Used, name_bytes};

/// Numbers of names that are taken over: a forged one must not cost memory, and the clients of a pod are
/// far fewer.
const NUMBER_MAX: usize = 1 << 20;

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
                tell(id, names.names[id.number()].as_deref().unwrap_or_default());
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
        let names = &self.sorts[sort as usize].names;
        let end = names.len().min(from + max);
        for (number, name) in (from..end).zip(&names[from.min(end)..end]) {
            if let Some(name) = name {
                tell(NameId::new(sort, number), name);
            }
        }
        (end < names.len()).then_some(end)
    }

    /// Takes over a name that was written down, in place of one with the same id. Those with a number
    /// beyond all bounds are left out, and whoever uses them is without a name.
    pub fn restore(&mut self, id: NameId, name: &str) {
        let names = &mut self.sorts[id.sort()];
        if id.number() < NUMBER_MAX {
            let length = names.names.len().max(id.number() + 1);
            names.names.resize(length, None);
            names.names[id.number()] = Some(name.into());
        }
    }

    /// Whether there is a name with this id.
    pub fn holds(&self, id: NameId) -> bool {
        let name = self.sorts[id.sort()].names.get(id.number());
        name.is_some_and(Option::is_some)
    }

    /// Says that a restored name is in use.
    pub fn keep(&mut self, id: NameId) {
        let names = &mut self.sorts[id.sort()];
        names.used.resize(names.names.len(), Used::Not);
        names.used[id.number()] = Used::Anew;
    }

    /// Forgets the restored names that are not in use, and is then as if all had been interned.
    pub fn restored(&mut self) {
        for (sort, names) in [Sort::Space, Sort::Sender].into_iter().zip(&mut self.sorts) {
            names.used.resize(names.names.len(), Used::Not);
            for number in 0..names.names.len() {
                let id = NameId::new(sort, number);
                match &names.names[number] {
                    Some(name) if names.used[number] != Used::Not => {
                        names.bytes += name_bytes(name.len());
                        names.ids.insert(name.clone(), id);
                    }
                    _ => {
                        names.names[number] = None;
                        names.free.push(id);
                    }
                }
            }
        }
        let doubled = self.sweep_at.max(2 * self.bytes());
        self.sweep_at = doubled.min(self.bytes_max / 2);
    }
}
