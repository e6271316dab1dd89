//! Tokens whose outcome is open, by request: where a fresh token for an old request is noticed.

use std::collections::BTreeMap;

use super::chunks::{Chunks, NONE};
use super::index::Index;
use super::key::Key;
use super::time::Timestamp;

/// The undecided tokens looked at for one request (SPEC §4, fine print 11).
pub const CANDIDATES_MAX: usize = 4;

/// Bytes of an undecided token's place, alone.
pub const SINGLE_BYTES: usize = size_of::<Single>();
/// And among others: leaves hold eleven and may be half empty, and there are nodes above them.
pub const SEVERAL_BYTES: usize = (size_of::<Place>() + size_of::<Key>()) * 11 / 5 + 40;

/// Position of a lifecycle: its request, when it began, and the order of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The fingerprint's key.
    pub request: Key,
    pub first_start: Timestamp,
    pub order: u64,
}

/// Every undecided lifecycle with a known fingerprint, by request, then by age.
///
/// A request that is undecided under one token only, as nearly all are, is found by its hash and
/// costs no allocation; those under several tokens are sorted.
#[derive(Debug)]
pub struct Undecided {
    singles: Chunks<Single>,
    /// First vacant single; a vacant one names the next as its order.
    vacant: u32,
    index: Index,
    several: BTreeMap<Place, Key>,
    several_max: usize,
    singles_len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Single {
    place: Place,
    token: Key,
}

impl Undecided {
    /// For about `capacity` tokens, `several_max` of them with a request that others have, too.
    pub fn new(capacity: usize, several_max: usize) -> Self {
        Self {
            singles: Chunks::new(),
            vacant: NONE,
            index: Index::new(capacity),
            several: BTreeMap::new(),
            several_max,
            singles_len: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.singles_len + self.several.len()
    }

    /// The same, counted.
    #[cfg(test)]
    pub fn recount(&self) -> usize {
        let singles = (0..self.singles.len()).filter(|at| {
            let hash = self.singles[*at].place.request.hash();
            self.index.find(hash, |other| other == *at).is_some()
        });
        singles.count() + self.several.len()
    }

    #[cfg(test)]
    pub fn several_len(&self) -> usize {
        self.several.len()
    }

    /// Adds a token. If there is no room for one more, the oldest of more than [`CANDIDATES_MAX`] with its
    /// request goes for it: those are not looked at as long as the later ones stay. Returns the one that
    /// has no place now, that one or else the token itself.
    pub fn insert(&mut self, place: Place, token: Key) -> Option<(Place, Key)> {
        if !self.contains(place.request) {
            self.insert_single(place, token);
            return None;
        }
        // The first of them may be a single that becomes another one.
        let more = 1 + usize::from(self.single(place.request).is_some());
        if self.several.len() + more > self.several_max {
            return Some(self.exchange(place, token));
        }
        if let Some(other) = self.take_single(place.request, |_| true) {
            self.several.insert(other.place, other.token);
        }
        self.several.insert(place, token);
        None
    }

    /// Lets a token take the place of another one with its request, or not; returns the one without.
    fn exchange(&mut self, place: Place, token: Key) -> (Place, Key) {
        let others = || self.several_of(place.request);
        let surplus = others().nth(CANDIDATES_MAX - 1).is_some();
        let oldest = others()
            .next()
            .filter(|(oldest, _)| surplus && **oldest < place);
        match oldest.map(|(place, token)| (*place, *token)) {
            Some(oldest) => {
                self.several.remove(&oldest.0);
                self.several.insert(place, token);
                oldest
            }
            None => (place, token),
        }
    }

    pub fn remove(&mut self, place: &Place) {
        let single = self.take_single(place.request, |single| single.place == *place);
        if single.is_none() {
            self.several.remove(place);
        }
    }

    /// Whether any token with this request is undecided.
    pub fn contains(&self, request: Key) -> bool {
        self.single(request).is_some() || self.several_of(request).next().is_some()
    }

    /// The tokens with this request that began last, latest first.
    pub fn latest(&self, request: Key) -> impl Iterator<Item = (Place, Key)> {
        let single = self.single(request).map(|at| &self.singles[at]);
        let single = single.map(|single| (single.place, single.token));
        let several = self.several_of(request).rev().take(CANDIDATES_MAX);
        single
            .into_iter()
            .chain(several.map(|(place, token)| (*place, *token)))
    }

    fn several_of(&self, request: Key) -> impl DoubleEndedIterator<Item = (&Place, &Key)> {
        let several = Some(&self.several).filter(|several| !several.is_empty());
        let first = Place {
            request,
            first_start: Timestamp::MIN,
            order: 0,
        };
        let last = Place {
            request,
            first_start: Timestamp::MAX,
            order: u64::MAX,
        };
        several
            .into_iter()
            .flat_map(move |several| several.range(first..=last))
    }

    fn single(&self, request: Key) -> Option<u32> {
        let is_it = |at| self.singles[at].place.request == request;
        self.index.find(request.hash(), is_it)
    }

    /// Adds a token whose request [is not known](Self::contains).
    pub fn insert_single(&mut self, place: Place, token: Key) {
        let hash = place.request.hash();
        let single = Single { place, token };
        self.singles_len += 1;
        let at = if self.vacant == NONE {
            self.singles.push(single)
        } else {
            let at = self.vacant;
            let before = std::mem::replace(&mut self.singles[at], single);
            self.vacant = before.place.order as u32;
            at
        };
        let Self { singles, index, .. } = self;
        let hash_of = |at| singles[at].place.request.hash();
        index.insert(hash, at, hash_of);
    }

    /// Takes out the single token with this request, if there is one and it is `wanted`.
    fn take_single(&mut self, request: Key, wanted: impl Fn(&Single) -> bool) -> Option<Single> {
        let Self { singles, index, .. } = self;
        let is_it = |at| singles[at].place.request == request && wanted(&singles[at]);
        let at = index.remove(request.hash(), is_it)?;
        self.singles_len -= 1;
        let removed = singles[at];
        singles[at].place.order = u64::from(self.vacant);
        self.vacant = at;
        Some(removed)
    }
}
