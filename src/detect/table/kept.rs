//! A table as it is written down, and made again from that.

use super::{NONE, Node, Packed, Slot, Table};
use crate::detect::key::Key;
use crate::detect::leases::LeaseId;
use crate::detect::names::NameId;
use crate::detect::pack::{Packer, Reader, Writer};
use crate::detect::time::Timestamp;
use crate::detect::token::{Progress, Token};
use crate::detect::undecided::Place;

/// How a token that is written down stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was seen: it is the newest.
    Seen,
    /// It changed and stays where it is; if that is not known yet, it will be told.
    Changed,
    /// It is written down with all others, from the oldest on: it comes after those written so before
    /// it, and before all others.
    Base,
}

/// An open attempt, as its lease needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Open {
    pub start: Timestamp,
    pub order: u64,
    pub table: usize,
    pub slot: Slot,
    pub attempt: u32,
}

impl Table {
    /// Notes from now on what changes.
    pub fn want_changes(&mut self) {
        self.changes.want();
    }

    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub fn forget_changes(&mut self) {
        self.changes.forget();
    }

    /// The keys of up to `max` of the tokens that went since the changes were written.
    pub fn take_removed(&mut self, max: usize) -> impl Iterator<Item = Key> {
        self.changes.take_removed(max)
    }

    /// Whether some of them were left.
    pub fn has_removed(&self) -> bool {
        self.changes.has_removed()
    }

    /// The next token that changed since the changes were written, if it is still there.
    pub fn next_change(&mut self) -> Option<(Slot, How)> {
        loop {
            let (at, seen) = self.changes.next()?;
            if !matches!(self.nodes[at].token, Packed::Out(_)) {
                let how = if seen { How::Seen } else { How::Changed };
                return Some((Slot(at), how));
            }
        }
    }

    /// Begins to walk all tokens from the oldest on.
    pub fn begin_walk(&mut self) {
        self.walk = self.oldest;
    }

    /// The next token of the walk, if it was seen last at `latest` or before.
    pub fn next_of_walk(&mut self, latest: Timestamp) -> Option<Slot> {
        let at = Some(self.walk).filter(|at| *at != NONE)?;
        let node = &self.nodes[at];
        if node.last_seen > latest {
            self.walk = NONE;
            return None;
        }
        self.walk = node.newer;
        Some(Slot(at))
    }

    /// Key and last sighting of a token that is there.
    pub fn identity(&self, slot: Slot) -> (Key, Timestamp) {
        let node = &self.nodes[slot.0];
        (node.key, node.last_seen)
    }

    pub fn write_image(&self, slot: Slot, packer: &mut Packer, to: &mut Writer<'_>) {
        let Node {
            token, last_seen, ..
        } = &self.nodes[slot.0];
        packer.write_image(token, *last_seen, to);
    }

    /// Takes over a token that was written down; `base_tail` is the last one that was written as
    /// [`How::Base`] and not seen since. Returns whether it is a token.
    pub fn read_image(
        &mut self,
        (key, last_seen): (Key, Timestamp),
        how: How,
        base_tail: &mut Option<Slot>,
        packer: &mut Packer,
        from: &mut Reader<'_>,
    ) -> bool {
        let Some(token) = packer.read_image(from, last_seen) else {
            return false;
        };
        let known = self.position(key);
        let at = match known {
            Some(at) => {
                let node = &mut self.nodes[at];
                self.counts[node.token.status() as usize] -= 1;
                self.counts[token.status() as usize] += 1;
                self.held += token.held();
                let before = std::mem::replace(&mut node.token, token);
                self.held -= before.held();
                node.last_seen = last_seen;
                packer.discard(&before);
                at
            }
            None => self.place(key, token, last_seen),
        };
        // Behind one that is new and the newest all is as it was.
        if known.is_some() || how != How::Seen {
            self.hands.forget();
        }
        if how == How::Changed && known.is_some() {
            return true;
        }
        if known.is_some() {
            self.leave_base(at, base_tail);
            self.unlink(at);
        }
        match how {
            How::Seen => self.link(at),
            How::Base | How::Changed => self.link_after(at, base_tail.map(|tail| tail.0)),
        }
        if how == How::Base {
            *base_tail = Some(Slot(at));
        }
        true
    }

    /// Whether it waits for a deadline to be handed out for a span.
    pub fn waits_for_span(&self, slot: Slot) -> bool {
        match &self.nodes[slot.0].token {
            Packed::Whole(token) => token.life.history.pending && token.life.history.queued,
            _ => false,
        }
    }

    /// Forgets a token if it is there, and all that it had.
    pub fn forget(&mut self, key: Key, base_tail: &mut Option<Slot>, packer: &mut Packer) {
        if let Some(at) = self.position(key) {
            self.forget_at(Slot(at), base_tail, packer);
        }
    }

    /// Forgets the token seen longest ago if there are too many; returns its key.
    pub fn forget_surplus(
        &mut self,
        base_tail: &mut Option<Slot>,
        packer: &mut Packer,
    ) -> Option<Key> {
        let surplus = self.len > self.capacity;
        let oldest = surplus.then(|| self.nodes[self.oldest].key)?;
        self.forget_at(Slot(self.oldest), base_tail, packer);
        Some(oldest)
    }

    pub fn forget_at(&mut self, slot: Slot, base_tail: &mut Option<Slot>, packer: &mut Packer) {
        self.leave_base(slot.0, base_tail);
        if let Some(token) = self.remove(slot.0, packer).token {
            packer.recycle(token);
        }
    }

    /// All tokens that have been there since the first one, without those that went.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.nodes.len()).map(Slot)
    }

    /// What follows from a token: calls `mark` with its names and `open` with its open attempts, and
    /// returns its place among the undecided. `None` if there is no token at `slot`.
    pub fn consequences(
        &self,
        slot: Slot,
        packer: &Packer,
        mark: &mut dyn FnMut(NameId),
        open: &mut dyn FnMut(Timestamp, u64, u32),
    ) -> Option<Option<Place>> {
        let Node {
            token, last_seen, ..
        } = &self.nodes[slot.0];
        let of_token = |token: &Token| {
            token.mark_names(mark);
            let clients = token.attempts.iter().filter_map(|attempt| attempt.client);
            clients.for_each(&mut *mark);
            for attempt in token.attempts.iter().filter(|attempt| attempt.is_open()) {
                let order = attempt.order.unwrap_or(token.life.order);
                open(attempt.start, order, attempt.serial);
            }
            token.place
        };
        match token {
            Packed::Out(_) => None,
            Packed::Plain(plain) => {
                plain.mark_names(mark);
                if let Some((start, order)) = plain.open_since(*last_seen) {
                    open(start, order, crate::detect::pack::ATTEMPT_SERIAL);
                }
                Some(plain.place(*last_seen))
            }
            other => Some(packer.look(other, *last_seen, of_token)),
        }
    }

    /// Gives an open attempt its lease.
    pub fn lend(&mut self, open: &Open, lease: LeaseId, packer: &mut Packer) {
        let node = &mut self.nodes[open.slot.0];
        if let Packed::Plain(plain) = &mut node.token {
            return plain.lend(lease);
        }
        self.held -= node.token.held();
        let mut token = packer.take(&mut node.token, node.last_seen);
        if let Some(at) = token.position(open.attempt) {
            token.attempts[at].progress = Progress::Open(lease);
        }
        node.token = packer.pack(token);
        self.held += node.token.held();
    }

    fn leave_base(&mut self, at: u32, base_tail: &mut Option<Slot>) {
        if *base_tail == Some(Slot(at)) {
            let older = self.nodes[at].older;
            *base_tail = Some(Slot(older)).filter(|_| older != NONE);
        }
    }

    /// Links a node after another one, or as the oldest.
    fn link_after(&mut self, at: u32, older: Option<u32>) {
        let older = older.unwrap_or(NONE);
        let newer = match older {
            NONE => self.oldest,
            older => self.nodes[older].newer,
        };
        (self.nodes[at].newer, self.nodes[at].older) = (newer, older);
        match older {
            NONE => self.oldest = at,
            older => self.nodes[older].newer = at,
        }
        match newer {
            NONE => self.newest = at,
            newer => self.nodes[newer].older = at,
        }
    }
}
