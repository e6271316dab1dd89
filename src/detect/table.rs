//! The bounded table of one profile's tokens: list order is expiry order.

mod changes;
mod hands;
mod kept;

use std::num::NonZeroUsize;
use std::time::Duration;

use super::chunks::{Chunks, NONE};
use super::finding::Status;
use super::index::Index;
use super::key::Key;
use super::names::NameId;
use super::pack::{Brief, Held, Packed, Packer, Plain};
use super::time::Timestamp;
use super::token::Token;
use changes::Changes;
pub use hands::Burden;
use hands::Hands;
pub use kept::{How, Open};

/// The tokens of one profile.
///
/// A sighting renews the time to live and moves the token to the front, always both, so the back
/// of the list expires first. Every look-up checks the time itself: sweeping late is never visible
/// in an answer, only in memory.
///
/// Not an `lru::LruCache`: with the same packed tokens that takes 163 B each at a million, this 122
/// (resident, x86-64, glibc). There an entry is an allocation of its own, and its part of the hash
/// table 17 B per bucket instead of 5; and the whole hash table is made at once, or stops ingest when
/// it grows.
pub struct Table {
    nodes: Chunks<Node>,
    /// First vacant node; a vacant one names the next as its `newer`.
    vacant: u32,
    newest: u32,
    oldest: u32,
    index: Index,
    len: usize,
    capacity: usize,
    ttl: Duration,
    counts: [usize; Status::ALL.len()],
    changes: Changes,
    /// What its tokens take beyond their places here.
    held: Held,
    hands: Hands,
    /// The next token that [`Table::write_some`] writes.
    walk: u32,
}

/// A token in its place in the list.
struct Node {
    key: Key,
    last_seen: Timestamp,
    newer: u32,
    older: u32,
    token: Packed,
}

/// Bytes of a token's place in a table.
pub const NODE_BYTES: usize = size_of::<Node>();

/// Bytes of a node; a million of them and their part of the index stay below 128 MB.
const _: () = assert!(size_of::<Node>() == 112);

/// Stands for a token that a table holds, until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// The position after it.
    pub fn after(self) -> u32 {
        self.0 + 1
    }
}

/// A token that left its table.
pub struct Removed {
    pub last_seen: Timestamp,
    /// The token, unless nothing follows from forgetting it.
    pub token: Option<Box<Token>>,
}

/// A token as it is seen without unpacking it.
pub struct Glimpse<'a> {
    table: &'a Table,
    node: &'a Node,
    pub slot: Slot,
}

/// Expired tokens removed per step at most, so that no single event pays for a mass expiry.
const SWEEP_MAX: usize = 16;

impl Table {
    /// An empty table for `capacity` tokens, each kept for `ttl` after its last sighting.
    pub fn new(capacity: NonZeroUsize, ttl: Duration) -> Self {
        Self {
            nodes: Chunks::new(),
            vacant: NONE,
            newest: NONE,
            oldest: NONE,
            index: Index::new(capacity.get()),
            len: 0,
            capacity: capacity.get(),
            ttl,
            counts: [0; Status::ALL.len()],
            changes: Changes::default(),
            held: Held::default(),
            hands: Hands::default(),
            walk: NONE,
        }
    }

    /// The token, if it is known at `now`; not a sighting.
    pub fn find(&self, key: Key, now: Timestamp) -> Option<Slot> {
        let at = self.position(key)?;
        let known = now < self.nodes[at].last_seen + self.ttl;
        known.then_some(Slot(at))
    }

    /// Takes a token out to use it; it has to be [put back](Self::put) before its slot is looked at.
    pub fn take(&mut self, slot: Slot, packer: &mut Packer) -> Box<Token> {
        let node = &mut self.nodes[slot.0];
        self.held -= node.token.held();
        packer.take(&mut node.token, node.last_seen)
    }

    /// Puts a token back as it is now.
    pub fn put(&mut self, slot: Slot, token: Box<Token>, packer: &mut Packer) {
        let node = &mut self.nodes[slot.0];
        self.counts[node.token.status() as usize] -= 1;
        self.counts[token.status as usize] += 1;
        node.token = packer.pack(token);
        self.held += node.token.held();
        self.changes.changed(slot.0);
        self.turn_back(slot.0);
    }

    /// Renews a token that is taken out.
    pub fn sight(&mut self, slot: Slot, token: &mut Token, now: Timestamp) {
        token.last_seen = now;
        self.nodes[slot.0].last_seen = now;
        self.promote(slot.0);
        self.changes.seen(slot.0);
    }

    /// The token where it lies, if it is plain, and when it was seen last; whoever changes it
    /// [renews](Self::renew) it.
    pub fn plain(&mut self, slot: Slot) -> Option<(&mut Plain, Timestamp)> {
        let node = &mut self.nodes[slot.0];
        match &mut node.token {
            Packed::Plain(plain) => Some((plain, node.last_seen)),
            _ => None,
        }
    }

    /// Renews a token that was changed where it lies, had this status, and has `left` its place among the
    /// undecided.
    pub fn renew(&mut self, slot: Slot, before: Status, left: bool, now: Timestamp) {
        let node = &mut self.nodes[slot.0];
        node.last_seen = now;
        self.held.placed -= usize::from(left);
        self.counts[before as usize] -= 1;
        self.counts[node.token.status() as usize] += 1;
        self.promote(slot.0);
        self.changes.seen(slot.0);
    }

    /// Adds a token that is not known; hands back what had to go: an expired token of the same
    /// key, or, in a full table, the token seen longest ago.
    pub fn insert(&mut self, key: Key, token: Box<Token>, packer: &mut Packer) -> Option<Removed> {
        let expired = self.position(key);
        let expired = expired.map(|expired| self.remove(expired, packer));
        let last_seen = token.last_seen;
        let token = packer.pack(token);
        expired.or(self.insert_packed(key, token, last_seen, packer))
    }

    /// Adds a plain token of a key that the table [does not hold](Self::holds), as [`Self::insert`]
    /// does.
    pub fn insert_plain(
        &mut self,
        key: Key,
        plain: Plain,
        now: Timestamp,
        packer: &mut Packer,
    ) -> Option<Removed> {
        self.insert_packed(key, Packed::Plain(plain), now, packer)
    }

    /// Whether there is a token of this key, be it expired.
    pub fn holds(&self, key: Key) -> bool {
        self.position(key).is_some()
    }

    fn insert_packed(
        &mut self,
        key: Key,
        token: Packed,
        last_seen: Timestamp,
        packer: &mut Packer,
    ) -> Option<Removed> {
        let full = self.len == self.capacity;
        let removed = full.then(|| self.remove(self.oldest, packer));
        let at = self.place(key, token, last_seen);
        self.link(at);
        self.changes.seen(at);
        removed
    }

    /// A token that is in the index, and not yet in the list.
    fn place(&mut self, key: Key, token: Packed, last_seen: Timestamp) -> u32 {
        self.counts[token.status() as usize] += 1;
        self.held += token.held();
        let node = Node {
            key,
            last_seen,
            newer: NONE,
            older: NONE,
            token,
        };
        let at = if self.vacant == NONE {
            self.nodes.push(node)
        } else {
            let at = self.vacant;
            self.vacant = std::mem::replace(&mut self.nodes[at], node).newer;
            at
        };
        let Self { index, nodes, .. } = self;
        index.insert(key.hash(), at, |at| nodes[at].key.hash());
        self.len += 1;
        at
    }

    /// Removes one expired token, if there is one; at most [`SWEEP_MAX`] calls per step make sense.
    pub fn pop_expired(&mut self, now: Timestamp, packer: &mut Packer) -> Option<Removed> {
        let due = self.poll_expiry().is_some_and(|expiry| now >= expiry);
        due.then(|| self.remove(self.oldest, packer))
    }

    /// Removes a token that is there.
    pub fn evict(&mut self, slot: Slot, packer: &mut Packer) -> Removed {
        self.remove(slot.0, packer)
    }

    /// The token of this key, be it expired.
    pub fn held_at(&self, key: Key) -> Option<Slot> {
        self.position(key).map(Slot)
    }

    /// When the next token expires, at the earliest.
    pub fn poll_expiry(&self) -> Option<Timestamp> {
        let oldest = Some(self.oldest).filter(|at| *at != NONE)?;
        Some(self.nodes[oldest].last_seen + self.ttl)
    }

    /// Steps of a sweep.
    pub const fn sweep_max() -> usize {
        SWEEP_MAX
    }

    /// Tokens by status, in the order of [`Status::ALL`]; expired ones count until they are removed.
    pub fn counts(&self) -> [usize; Status::ALL.len()] {
        self.counts
    }

    /// Some of the tokens, in no particular order: up to `max` from position `from` on. A token that
    /// stays in the table stays at its position.
    pub fn some(&self, from: u32, max: u32) -> impl Iterator<Item = Glimpse<'_>> {
        let end = self.nodes.len().min(from.saturating_add(max));
        (from..end).filter_map(|at| self.glimpse(Slot(at)))
    }

    /// The token at `slot`, if there still is one.
    pub fn glimpse(&self, slot: Slot) -> Option<Glimpse<'_>> {
        let node = &self.nodes[slot.0];
        let held = !matches!(node.token, Packed::Out(_));
        let table = self;
        held.then_some(Glimpse { table, node, slot })
    }

    /// One past the last position that a token can have now.
    pub fn end(&self) -> u32 {
        self.nodes.len()
    }

    fn position(&self, key: Key) -> Option<u32> {
        let is_it = |at| self.nodes[at].key == key;
        self.index.find(key.hash(), is_it)
    }

    fn remove(&mut self, at: u32, packer: &mut Packer) -> Removed {
        self.unlink(at);
        let node = &mut self.nodes[at];
        self.changes.removed(node.key);
        self.index.remove(node.key.hash(), |other| other == at);
        self.counts[node.token.status() as usize] -= 1;
        self.held -= node.token.held();
        let last_seen = node.last_seen;
        let token = if node.token.is_settled() {
            node.token = Packed::Out(Status::Succeeded);
            None
        } else {
            Some(packer.take(&mut node.token, last_seen))
        };
        node.newer = self.vacant;
        self.vacant = at;
        self.len -= 1;
        Removed { last_seen, token }
    }

    /// Moves a node to the front.
    fn promote(&mut self, at: u32) {
        if self.newest != at {
            self.unlink(at);
            self.link(at);
        }
    }

    /// Makes a node the newest.
    fn link(&mut self, at: u32) {
        let node = &mut self.nodes[at];
        (node.newer, node.older) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = at,
            newest => self.nodes[newest].newer = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Node { newer, older, .. } = self.nodes[at];
        if self.walk == at {
            self.walk = newer;
        }
        self.hands.left(at, newer);
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older].newer = newer,
        }
    }
}

impl Glimpse<'_> {
    pub fn key(&self) -> Key {
        self.node.key
    }

    pub fn status(&self) -> Status {
        self.node.token.status()
    }

    pub fn last_seen(&self) -> Timestamp {
        self.node.last_seen
    }

    /// When it is forgotten if it is not seen again.
    pub fn expires(&self) -> Timestamp {
        self.node.last_seen + self.table.ttl
    }

    /// Whether it has something to hand out for a span.
    pub fn is_pending(&self) -> bool {
        self.node.token.is_pending()
    }

    /// Whether [`Glimpse::brief`] has to unpack it.
    pub fn is_long(&self) -> bool {
        !matches!(self.node.token, Packed::Plain(_))
    }

    /// What a list is filtered and sorted by.
    pub fn brief(&self, packer: &Packer) -> Brief {
        packer.brief(&self.node.token, self.node.last_seen)
    }

    /// Calls `look` with the token, unpacked.
    pub fn look<R>(&self, packer: &Packer, look: impl FnOnce(&Token) -> R) -> R {
        packer.look(&self.node.token, self.node.last_seen, look)
    }

    /// Calls `mark` with every name it uses.
    pub fn mark_names(&self, packer: &mut Packer, mark: &mut dyn FnMut(NameId)) {
        packer.mark_names(&self.node.token, mark);
    }
}
