//! Names that many tokens share (clients, scopes, APIs, error codes), each stored once.

mod kept;

use std::collections::HashMap;

use super::text::same;

/// Stands for a name in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameId(u32);

/// What kind of name it is. Each kind has numbers of its own: there are few APIs and scopes, and
/// their numbers stay small however many clients come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// An API or a scope.
    Space,
    /// A client or an error code.
    Sender,
}

impl NameId {
    fn new(sort: Sort, number: usize) -> Self {
        Self(u32::try_from(number).map_or(u32::MAX, |number| number << 1 | sort as u32))
    }

    fn sort(self) -> usize {
        (self.0 & 1) as usize
    }

    fn number(self) -> usize {
        (self.0 >> 1) as usize
    }

    /// The number within its kind, if it is at most `max`.
    pub fn small(self, max: u32) -> Option<u32> {
        Some(self.0 >> 1).filter(|number| *number <= max)
    }

    /// The name of which [`NameId::small`] gave this.
    pub fn from_small(sort: Sort, number: u32) -> Self {
        Self(number << 1 | sort as u32)
    }

    pub fn to_bits(self) -> u32 {
        self.0
    }

    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// The shared names.
///
/// Nothing counts who uses a name. When the names have doubled since the last look, the owner
/// shows which of them its tokens use, a few tokens at a time, and the rest are dropped, a few at a
/// time; a name that is used meanwhile stays. So a sender that invents names cannot make this grow
/// beyond what the bounded tables hold, and no single event pays for it.
#[derive(Debug)]
pub struct Names {
    sorts: [OneSort; 2],
    sweep: Sweep,
    sweep_at: usize,
}

/// The names of one kind.
#[derive(Debug, Default)]
struct OneSort {
    ids: HashMap<Box<str>, NameId>,
    names: Vec<Option<Box<str>>>,
    /// Whether each was used since the sweep began.
    used: Vec<bool>,
    free: Vec<NameId>,
    /// The names asked for last, latest first: nearly always the next ones too.
    last: [Option<NameId>; 2],
    /// Those added since somebody wrote them down, if anybody wants to know.
    news: Vec<NameId>,
    wanted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Sweep {
    Idle,
    Marking(Cursor),
    Dropping { sort: usize, number: usize },
}

/// A token among all tables: the next to be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    pub table: usize,
    pub slot: u32,
}

/// Names kept before the first sweep: far more than the clients of any pod.
const SWEEP_AT_MIN: usize = 4096;
/// Names looked at in one step of dropping.
const DROPPED_MAX: usize = 64;

impl Names {
    /// An empty set.
    pub fn new() -> Self {
        Self {
            sorts: [OneSort::default(), OneSort::default()],
            sweep: Sweep::Idle,
            sweep_at: SWEEP_AT_MIN,
        }
    }

    /// The id of `name`, which is added if it is new.
    pub fn intern(&mut self, sort: Sort, name: &str) -> NameId {
        self.sorts[sort as usize].intern(sort, name)
    }

    /// The name that `id` stands for.
    pub fn get(&self, id: NameId) -> &str {
        let names = &self.sorts[id.sort()].names;
        names[id.number()].as_deref().unwrap_or_default()
    }

    /// Some names of a kind: those in use among up to `max` from number `from` on; `None` after the
    /// last.
    pub fn some(&self, sort: Sort, from: usize, max: usize) -> Option<impl Iterator<Item = &str>> {
        let rest = self.sorts[sort as usize].names.get(from..)?;
        let some = &rest[..rest.len().min(max)];
        (!some.is_empty()).then(|| some.iter().flatten().map(|name| &**name))
    }

    /// A step of a sweep, if one is due or under way. `mark_some` calls its second argument with the
    /// names of the tokens from the cursor on, of as many as one event may pay for, and returns
    /// where to go on, `None` after the last.
    pub fn sweep_some(
        &mut self,
        mark_some: impl FnOnce(Cursor, &mut dyn FnMut(NameId)) -> Option<Cursor>,
    ) {
        self.sweep = match self.sweep {
            Sweep::Idle if self.len() < self.sweep_at => return,
            Sweep::Idle => {
                for names in &mut self.sorts {
                    names.used.fill(false);
                }
                Sweep::Marking(Cursor::default())
            }
            Sweep::Marking(from) => {
                let sorts = &mut self.sorts;
                let next = mark_some(from, &mut |id| sorts[id.sort()].used[id.number()] = true);
                next.map_or(Sweep::Dropping { sort: 0, number: 0 }, Sweep::Marking)
            }
            Sweep::Dropping { sort: 2, .. } => {
                self.sweep_at = SWEEP_AT_MIN.max(2 * self.len());
                Sweep::Idle
            }
            Sweep::Dropping { sort, number } => match self.sorts[sort].drop_some(number) {
                Some(number) => Sweep::Dropping { sort, number },
                None => Sweep::Dropping {
                    sort: sort + 1,
                    number: 0,
                },
            },
        };
    }

    fn len(&self) -> usize {
        self.sorts.iter().map(|names| names.ids.len()).sum()
    }
}

impl OneSort {
    fn intern(&mut self, sort: Sort, name: &str) -> NameId {
        let is_it = |id: &&NameId| {
            let known = self.names[id.number()].as_deref();
            known.is_some_and(|known| same(known, name))
        };
        let last = self.last.iter().flatten().find(is_it);
        let known = last.or_else(|| self.ids.get(name)).copied();
        let id = known.unwrap_or_else(|| {
            let id = self.free.pop().unwrap_or_else(|| {
                self.names.push(None);
                self.used.push(true);
                NameId::new(sort, self.names.len() - 1)
            });
            self.names[id.number()] = Some(name.into());
            self.ids.insert(name.into(), id);
            if self.wanted {
                self.news.push(id);
            }
            id
        });
        self.used[id.number()] = true;
        if self.last[0] != Some(id) {
            self.last = [Some(id), self.last[0]];
        }
        id
    }

    /// Drops the unused ones of some names; returns where to go on.
    fn drop_some(&mut self, from: usize) -> Option<usize> {
        let end = self.names.len().min(from + DROPPED_MAX);
        for number in from..end {
            if !self.used[number]
                && let Some(name) = self.names[number].take()
                && let Some(id) = self.ids.remove(&name)
            {
                self.free.push(id);
            }
        }
        (end < self.names.len()).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_keeps_what_is_used_and_reuses_the_rest() {
        let mut names = Names::new();
        let ids: Vec<_> = (0..SWEEP_AT_MIN)
            .map(|i| names.intern(Sort::Sender, &format!("client-{i}")))
            .collect();
        assert_eq!(names.intern(Sort::Sender, "client-7"), ids[7]);
        let mut steps = 0;
        let mut asked = 0;
        while !matches!(names.sweep, Sweep::Idle) || names.len() == SWEEP_AT_MIN {
            names.sweep_some(|from, mark| {
                asked += 1;
                mark(ids[7]);
                (from.slot < 3).then_some(Cursor {
                    table: 0,
                    slot: from.slot + 1,
                })
            });
            steps += 1;
            if steps == 10 {
                // Used while the sweep is under way.
                assert_eq!(names.intern(Sort::Sender, "client-4000"), ids[4000]);
            }
        }
        assert_eq!((asked, names.len()), (4, 2));
        assert_eq!(names.get(ids[7]), "client-7");
        assert_eq!(names.get(ids[4000]), "client-4000");
        let used = names.sorts[Sort::Sender as usize].names.len();
        for i in 0..SWEEP_AT_MIN - 2 {
            names.intern(Sort::Sender, &format!("later-{i}"));
        }
        assert_eq!(names.sorts[Sort::Sender as usize].names.len(), used);
        assert_eq!(names.get(ids[7]), "client-7");
    }

    #[test]
    fn kinds_have_numbers_of_their_own() {
        let mut names = Names::new();
        let client = names.intern(Sort::Sender, "same");
        let scope = names.intern(Sort::Space, "same");
        assert_eq!((client.small(0), scope.small(0)), (Some(0), Some(0)));
        assert_ne!(client, scope);
        assert_eq!(NameId::from_small(Sort::Space, 0), scope);
    }
}
