//! The bounded table of one profile's tokens: list order is expiry order.

use std::hash::BuildHasherDefault;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use super::finding::Status;
use super::key::{Identity, Key};
use super::time::Timestamp;
use super::token::Token;

/// The tokens of one profile.
///
/// A sighting renews the time to live and moves the token to the front, always both, so the back
/// of the list expires first. Every look-up checks the time itself: sweeping late is never visible
/// in an answer, only in memory.
pub struct Table {
    entries: LruCache<Key, Token, BuildHasherDefault<Identity>>,
    ttl: Duration,
    /// Nothing expires before this.
    next_expiry: Timestamp,
    counts: [usize; Status::ALL.len()],
}

/// Expired tokens removed per step at most, so that no single event pays for a mass expiry.
const SWEEP_MAX: usize = 16;

impl Table {
    /// An empty table for `capacity` tokens, each kept for `ttl` after its last sighting.
    pub fn new(capacity: NonZeroUsize, ttl: Duration) -> Self {
        let entries = LruCache::with_hasher(capacity, BuildHasherDefault::default());
        Self {
            entries,
            ttl,
            next_expiry: Timestamp::MIN,
            counts: [0; Status::ALL.len()],
        }
    }

    /// The token, if it is known at `now`; not a sighting.
    pub fn get(&self, key: Key, now: Timestamp) -> Option<&Token> {
        let ttl = self.ttl;
        self.entries
            .peek(&key)
            .filter(|token| now < token.last_seen + ttl)
    }

    /// The token, if it is known at `now`; not a sighting.
    pub fn get_mut(&mut self, key: Key, now: Timestamp) -> Option<&mut Token> {
        let ttl = self.ttl;
        self.entries
            .peek_mut(&key)
            .filter(|token| now < token.last_seen + ttl)
    }

    /// Renews a token.
    pub fn sight(&mut self, key: Key, now: Timestamp) {
        if let Some(token) = self.entries.get_mut(&key) {
            token.last_seen = now;
        }
    }

    /// Moves a token's weight from one status to another.
    pub fn recount(&mut self, from: Status, to: Status) {
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }

    /// Adds a token that is not known; hands back what had to go: an expired token of the same
    /// key, or, in a full table, the token seen longest ago.
    pub fn insert(&mut self, key: Key, token: Token) -> Option<(Key, Token)> {
        self.counts[token.status as usize] += 1;
        let removed = self.entries.push(key, token);
        if let Some((_, removed)) = &removed {
            self.counts[removed.status as usize] -= 1;
        }
        removed
    }

    /// Removes one expired token, if there is one; at most [`SWEEP_MAX`] calls per step make sense.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<(Key, Token)> {
        if now < self.next_expiry {
            return None;
        }
        match self.entries.peek_lru() {
            Some((_, token)) if now >= token.last_seen + self.ttl => {
                let removed = self.entries.pop_lru()?;
                self.counts[removed.1.status as usize] -= 1;
                Some(removed)
            }
            oldest => {
                self.next_expiry = oldest.map_or(now, |(_, token)| token.last_seen) + self.ttl;
                None
            }
        }
    }

    /// When the next token expires, at the earliest.
    pub fn poll_expiry(&self) -> Option<Timestamp> {
        self.entries
            .peek_lru()
            .map(|(_, token)| token.last_seen + self.ttl)
    }

    /// Steps of a sweep.
    pub const fn sweep_max() -> usize {
        SWEEP_MAX
    }

    /// When a token is forgotten if it is not seen again.
    pub fn expires(&self, token: &Token) -> Timestamp {
        token.last_seen + self.ttl
    }

    /// Tokens by status, in the order of [`Status::ALL`]; expired ones count until they are removed.
    pub fn counts(&self) -> [usize; Status::ALL.len()] {
        self.counts
    }

    /// All tokens, most recently seen first.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.entries.iter().map(|(_, token)| token)
    }

    /// All tokens with their keys, most recently seen first.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Token)> {
        self.entries.iter()
    }
}
