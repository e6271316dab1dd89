//! Names that many tokens share (clients, scopes, APIs, error codes), each stored once.

mod kept;
mod sweep;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::chunks::{Chunks, NONE};
use super::index::Index;
use super::text::{ALLOCATION, same};
use sweep::{Sweep, Used};

pub use sweep::{Cursor, Work};

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
    fn new(sort: Sort, number: u32) -> Self {
        Self(number << 1 | sort as u32)
    }

    fn sort(self) -> usize {
        (self.0 & 1) as usize
    }

    fn number(self) -> u32 {
        self.0 >> 1
    }

    /// The number within its kind, if it is at most `max`.
    pub fn small(self, max: u32) -> Option<u32> {
        Some(self.number()).filter(|number| *number <= max)
    }

    /// The name of which [`NameId::small`] gave this.
    pub fn from_small(sort: Sort, number: u32) -> Self {
        Self::new(sort, number)
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
/// Nothing counts who uses a name. When the names have doubled since the last look, a sweep begins: the
/// owner shows which of them its tokens use, a few tokens at a time, and the rest are dropped, a few at
/// a time; a name that an event uses meanwhile stays. If the tokens use more than their half of the
/// limit, those names go that fewest tokens use, and these tokens with them.
///
/// So a sender that invents names cannot make this grow beyond its limit, and what it pushes out is what
/// has names of as few tokens as its own: a name that many tokens share stays whatever is invented. That
/// half holds a client for each token of a full table (see [`Limits`](super::budget::Limits)). A sweep
/// goes the faster the more names were used since it began, so that no single event pays for it, and it
/// ends before they take more than a quarter of the limit.
#[derive(Debug)]
pub struct Names {
    sorts: [OneSort; 2],
    hasher: RandomState,
    sweep: Sweep,
    sweep_at: usize,
    bytes_max: usize,
    /// Tokens shown since the sweep began.
    shown: u32,
    /// Bytes of names used since the sweep began that it has made haste for.
    hastened: usize,
}

/// The names of one kind.
#[derive(Debug)]
struct OneSort {
    index: Index,
    entries: Chunks<Entry>,
    /// First vacant entry; a vacant one names the next as the last token that used it.
    vacant: u32,
    /// What the names take.
    bytes: usize,
    /// Of these, what those take that are used as far as the sweep has seen, but by no event since it began.
    in_use: usize,
    /// And what those take that an event used since it began, or that came since.
    anew: usize,
    /// From this number on, the sweep has still to decide.
    ahead: u32,
    /// The names asked for last, latest first: nearly always the next ones too.
    last: [Option<u32>; 2],
    /// Those added since somebody wrote them down, if anybody wants to know.
    news: Vec<NameId>,
    wanted: bool,
}

#[derive(Debug)]
struct Entry {
    name: Option<Box<str>>,
    /// How it is used as far as the sweep has seen.
    used: Used,
}

/// Names of a kind for which the index is made: with more it grows more slowly.
const NAMES: usize = 1 << 18;
/// Bytes that a sweep begins at: far more than the clients of most pods have.
const SWEEP_AT_MIN: usize = 1 << 20;
/// What a name costs besides its bytes and their allocation: its entry, its place in an index that may be
/// a quarter full, and one in the list of news.
const NAME: usize = size_of::<Entry>() + 24 + 2 * size_of::<NameId>();
const _: () = assert!(NAME == 64);

/// Bytes of a name of this length.
pub const fn name_bytes(length: usize) -> usize {
    length + ALLOCATION + NAME
}

impl Names {
    /// An empty set, which is not to grow beyond `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            sorts: [OneSort::new(), OneSort::new()],
            hasher: RandomState::new(),
            sweep: Sweep::Idle,
            sweep_at: SWEEP_AT_MIN.min(sweep::begin_max(bytes_max)),
            bytes_max,
            shown: 0,
            hastened: 0,
        }
    }

    /// The id of `name`, which is added if it is new.
    pub fn intern(&mut self, sort: Sort, name: &str) -> NameId {
        self.sorts[sort as usize].intern(sort, name, &self.hasher)
    }

    /// The name that `id` stands for.
    pub fn get(&self, id: NameId) -> &str {
        let entries = &self.sorts[id.sort()].entries;
        entries[id.number()].name.as_deref().unwrap_or_default()
    }

    /// Some names of a kind: those in use among up to `max` from number `from` on; `None` after the
    /// last.
    pub fn some(&self, sort: Sort, from: usize, max: usize) -> Option<impl Iterator<Item = &str>> {
        let names = &self.sorts[sort as usize];
        let range = names.range(from, max);
        let name = move |number| names.entries[number].name.as_deref();
        (!range.is_empty()).then(|| range.filter_map(name))
    }

    /// What the names take, counted anew.
    #[cfg(test)]
    pub fn recount(&self) -> usize {
        let entries = self.sorts.iter().flat_map(|names| names.entries.iter());
        let names = entries.filter_map(|entry| entry.name.as_deref());
        names.map(|name| name_bytes(name.len())).sum()
    }

    /// What the names take.
    pub fn bytes(&self) -> usize {
        self.sorts.iter().map(|names| names.bytes).sum()
    }
}

impl OneSort {
    fn new() -> Self {
        Self {
            index: Index::new(NAMES),
            entries: Chunks::new(),
            vacant: NONE,
            bytes: 0,
            in_use: 0,
            anew: 0,
            ahead: NONE,
            last: [None; 2],
            news: Vec::new(),
            wanted: false,
        }
    }

    fn is_it(&self, number: u32, name: &str) -> bool {
        let known = self.entries[number].name.as_deref();
        known.is_some_and(|known| same(known, name))
    }

    fn intern(&mut self, sort: Sort, name: &str, hasher: &RandomState) -> NameId {
        let mut last = self.last.iter().flatten().copied();
        let number = last.find(|number| self.is_it(*number, name));
        let number = number.unwrap_or_else(|| {
            let hash = hasher.hash_one(name);
            let known = self.index.find(hash, |number| self.is_it(number, name));
            known.unwrap_or_else(|| self.add(sort, name, hash, hasher))
        });
        if number >= self.ahead {
            self.use_anew(number);
        }
        if self.last[0] != Some(number) {
            self.last = [Some(number), self.last[0]];
        }
        NameId::new(sort, number)
    }

    fn add(&mut self, sort: Sort, name: &str, hash: u64, hasher: &RandomState) -> u32 {
        let entry = Entry {
            name: Some(name.into()),
            used: Used::NOT,
        };
        let number = if self.vacant == NONE {
            self.entries.push(entry)
        } else {
            let number = self.vacant;
            let before = std::mem::replace(&mut self.entries[number], entry);
            self.vacant = before.used.last;
            number
        };
        self.list(number, hash, hasher);
        if number < self.ahead {
            self.anew += self.entries[number].bytes();
        }
        if self.wanted {
            self.news.push(NameId::new(sort, number));
        }
        number
    }

    /// Lets a name be found.
    fn list(&mut self, number: u32, hash: u64, hasher: &RandomState) {
        let Self { index, entries, .. } = self;
        let hash_of = |number| {
            let name = entries[number].name.as_deref();
            hasher.hash_one(name.unwrap_or_default())
        };
        index.insert(hash, number, hash_of);
        self.bytes += self.entries[number].bytes();
    }

    /// Makes an entry one that the next new name takes.
    fn vacate(&mut self, number: u32) {
        let vacant = Used {
            last: self.vacant,
            ..Used::NOT
        };
        self.entries[number] = Entry {
            name: None,
            used: vacant,
        };
        self.vacant = number;
    }

    /// The numbers of up to `max` names from `from` on.
    fn range(&self, from: usize, max: usize) -> Range<u32> {
        let length = self.entries.len();
        let at = |at: usize| u32::try_from(at).map_or(length, |at| at.min(length));
        at(from)..at(from.saturating_add(max))
    }
}

impl Entry {
    /// What its name takes.
    fn bytes(&self) -> usize {
        self.name
            .as_deref()
            .map_or(0, |name| name_bytes(name.len()))
    }
}
