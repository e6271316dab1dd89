//! Tokens whose outcome is open, by request: where a fresh token for an old request is noticed.

use std::collections::BTreeMap;

use super::key::Key;
use super::time::Timestamp;

/// The undecided tokens looked at for one request (SPEC §4, fine print 11).
pub const CANDIDATES_MAX: usize = 4;

/// Position of a lifecycle: its request, when it began, and the order of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// API, scope and fingerprint, hashed as a token is.
    pub request: Key,
    pub first_start: Timestamp,
    pub order: u64,
}

/// Every undecided lifecycle with a known fingerprint, sorted by request, then by age.
#[derive(Debug, Default)]
pub struct Undecided(BTreeMap<Place, Key>);

impl Undecided {
    pub fn insert(&mut self, place: Place, token: Key) {
        self.0.insert(place, token);
    }

    pub fn remove(&mut self, place: &Place) {
        self.0.remove(place);
    }

    /// The tokens with this request that began last, latest first.
    pub fn latest(&self, request: Key) -> impl Iterator<Item = (Place, Key)> {
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
        self.0
            .range(first..=last)
            .rev()
            .take(CANDIDATES_MAX)
            .map(|(place, key)| (*place, *key))
    }
}
