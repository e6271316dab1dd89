//! Tokens whose outcome is open, by request: where a fresh token for an old request is noticed.

use std::collections::BTreeMap;

use super::chunks::{Chunks, NONE};
use super::index::Index;
use super::key::Key;
use super::time::Timestamp;

/// The undecided tokens looked at for one request (SPEC §4, fine print 11).
pub const CANDIDATES_MAX: usize = 4;

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
}

#[derive(Clone, Copy, Debug)]
struct Single {
    place: Place,
    token: Key,
}

impl Undecided {
    pub fn new() -> Self {
        Self {
            singles: Chunks::new(),
            vacant: NONE,
            index: Index::default(),
            several: BTreeMap::new(),
        }
    }

    pub fn insert(&mut self, place: Place, token: Key) {
        if let Some(other) = self.single(place.request) {
            let other = self.remove_single(other);
            self.several.insert(other.place, other.token);
        } else if self.several_of(place.request).next().is_none() {
            return self.insert_single(Single { place, token });
        }
        self.several.insert(place, token);
    }

    pub fn remove(&mut self, place: &Place) {
        match self.single(place.request) {
            Some(at) if self.singles[at].place == *place => {
                self.remove_single(at);
            }
            _ => {
                self.several.remove(place);
            }
        }
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
        self.several.range(first..=last)
    }

    fn single(&self, request: Key) -> Option<u32> {
        let is_it = |at| self.singles[at].place.request == request;
        self.index.find(request.hash(), is_it)
    }

    fn insert_single(&mut self, single: Single) {
        let hash = single.place.request.hash();
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
        index.insert(hash, at, singles.len(), hash_of);
    }

    fn remove_single(&mut self, at: u32) -> Single {
        let removed = self.singles[at];
        self.index.remove(removed.place.request.hash(), at);
        self.singles[at].place.order = u64::from(self.vacant);
        self.vacant = at;
        removed
    }
}
