//! What tokens may take beyond their places in the tables: a limit for each kind of it, for all tables
//! together, so that what a hostile sender makes of a token is bounded in bytes and not only in number.
//!
//! A plain token has all in its place, but for a lease while its attempt is open and a place among the
//! undecided, if its request is known. Who retries is written into a few cells; a token with many
//! attempts, or with something to hand out for a span, stays whole. Limits are far above what honest
//! senders need. If whole tokens are beyond theirs, what waits to be handed out is handed out first, the
//! longest waiting first, after which its token needs no more than a few cells. Then those that have what
//! is scarce go, as from a full table: the one seen longest ago of the table that has most of it, whoever
//! sent it. So large tokens push out each other, and what honest senders left that is of the same kind,
//! in the same table and older; a token that has none of what is scarce stays.

use super::finding::{ProfileId, Verdicts};
use super::key::Key;
use super::names::{Cursor, Work};
use super::profile::Profile;
use super::table::{Burden, Removed, Slot, Table};
use super::undecided::Place;
use super::{Detector, OPEN_ATTEMPTS_MAX};

/// The limits that follow from the capacities of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open attempts.
    pub leases: usize,
    /// Tokens in flight or of unknown outcome.
    pub undecided: usize,
    /// Of these, those whose request is undecided under other tokens, too.
    pub several: usize,
    /// Bytes of cells: two full tables of tokens with eight calls, 352 bytes each, and a little.
    pub long: usize,
    /// Bytes of whole tokens.
    pub whole: usize,
    /// Bytes of names. Half of it is for those that tokens use: for each token of the largest table a
    /// client of its own, with a name of 112 bytes, and a few for the others.
    pub names: usize,
    /// Lifecycles of a profile that wait to be handed out.
    pub settling: usize,
}

impl Limits {
    /// For tables of these profiles.
    pub fn of(profiles: &[Profile]) -> Self {
        let capacities = || profiles.iter().map(|profile| profile.capacity);
        let largest = capacities().max().unwrap_or_default();
        let all = capacities().fold(0, usize::saturating_add);
        let leases = largest.saturating_mul(2).max(4096);
        Self {
            leases: leases.min(all.saturating_mul(OPEN_ATTEMPTS_MAX + 1)),
            undecided: leases.min(all),
            several: (largest / 4).max(1024),
            long: largest.saturating_mul(720).max(4 << 20),
            whole: largest.saturating_mul(128).max(4 << 20),
            names: largest
                .saturating_mul(384)
                .saturating_add(all.saturating_mul(8))
                .saturating_add(2 << 20),
            settling: (largest / 4).max(1024),
        }
    }

    /// None: where nobody else sends, tokens are bounded by the capacities alone.
    pub fn none() -> Self {
        Self {
            leases: usize::MAX,
            undecided: usize::MAX,
            several: usize::MAX,
            long: usize::MAX,
            whole: usize::MAX,
            names: usize::MAX,
            settling: usize::MAX,
        }
    }
}

impl Detector {
    /// Whether another open attempt of an undecided token is within the limits.
    pub(super) fn has_room(&self) -> bool {
        self.context.leases.len() < self.limits.leases
            && self.undecided.len() < self.limits.undecided
    }

    /// Brings what tokens take back below its limits; the token `but` is the one that was judged.
    pub(super) fn enforce_limits(&mut self, but: Key, out: &mut Verdicts) {
        loop {
            // A token that waits for its span is packed again when that is handed out.
            if self.packer.held().whole > self.limits.whole && self.settle_first(out) {
                continue;
            }
            let Some((id, removed)) = self.shed(but) else {
                return;
            };
            self.remove(id, removed, out);
        }
    }

    /// Removes a token that has what is scarce, if anything is.
    pub(super) fn shed(&mut self, but: Key) -> Option<(ProfileId, Removed)> {
        if self.context.leases.len() > self.limits.leases {
            return self.shed_open(but);
        }
        let (id, slot) = self.oldest_with(self.scarce(1)?)?;
        let table = self.tables[id.0].as_mut()?;
        Some((id, table.evict(slot, &mut self.packer)))
    }

    /// What there is, besides open attempts, of which there is more than `times` its limit.
    pub(super) fn scarce(&self, times: usize) -> Option<Burden> {
        let (held, limits) = (self.packer.held(), self.limits);
        let burdens = [
            (Burden::Undecided, self.undecided.len(), limits.undecided),
            (Burden::Long, held.long, limits.long),
            (Burden::Whole, held.whole, limits.whole),
        ];
        let beyond = |(_, taken, limit): &(_, usize, usize)| *taken > limit.saturating_mul(times);
        burdens.into_iter().find(beyond).map(|(burden, ..)| burden)
    }

    /// The token that has to go for what it has: of those of the table that has most of it.
    pub(super) fn oldest_with(&mut self, burden: Burden) -> Option<(ProfileId, Slot)> {
        let tables = self.tables.iter_mut().enumerate();
        let tables = tables.filter_map(|(id, table)| Some((ProfileId(id), table.as_mut()?)));
        let (id, table) = tables.max_by_key(|(_, table)| table.burden(burden))?;
        Some((id, table.oldest_with(burden)?))
    }

    /// Notes that a token lost its place among the undecided.
    pub(super) fn displace(&mut self, (place, key): (Place, Key)) {
        // In the table of the one that it went for, unless their API was given another profile meanwhile.
        let mut tables = self.tables.iter_mut().flatten();
        tables.any(|table| table.displace(key, &place, &mut self.packer));
    }

    /// Removes the token whose attempt is open for longest.
    fn shed_open(&mut self, but: Key) -> Option<(ProfileId, Removed)> {
        let id = self.context.leases.first_of_most(but)?;
        let lease = self.context.leases.get(id);
        // Whatever its token knows of it.
        self.context.leases.close(id);
        let table = self.tables[lease.profile.0].as_mut()?;
        let slot = table.held_at(lease.key)?;
        Some((lease.profile, table.evict(slot, &mut self.packer)))
    }

    /// A step towards forgetting the names that no token uses any more.
    pub(super) fn sweep_names(&mut self, out: &mut Verdicts) {
        let slots = |table: &Table| table.end() as usize;
        let tokens = self.tables.iter().flatten().map(slots).sum();
        let mut left = self.context.names.pace(tokens);
        while left > 0 {
            let (from, forget) = match self.context.names.sweep_some(&mut left) {
                Work::None => return,
                Work::Mark(from) => (from, false),
                Work::Forget(from) => (from, true),
            };
            let end = match self.tables.get(from.table) {
                None => {
                    self.context.names.go_on(None);
                    continue;
                }
                Some(table) => table.as_ref().map_or(0, Table::end),
            };
            let max = left.min(end.saturating_sub(from.slot));
            let next = if max == 0 {
                Cursor {
                    table: from.table + 1,
                    slot: 0,
                }
            } else if forget {
                self.forget_named(from, max, out)
            } else {
                self.mark_named(from, max)
            };
            self.context.names.go_on(Some(next));
            // The step to another table is one, too.
            left -= max.max(1);
        }
    }

    /// Marks the names of some tokens; returns where to go on.
    fn mark_named(&mut self, from: Cursor, max: u32) -> Cursor {
        let next = Cursor {
            slot: from.slot + max,
            ..from
        };
        let Some(table) = &self.tables[from.table] else {
            return next;
        };
        let names = &mut self.context.names;
        for token in table.some(from.slot, max) {
            let seen = token.last_seen();
            names.show_next();
            token.mark_names(&mut self.packer, &mut |name| names.mark(name, seen));
        }
        next
    }

    /// Forgets some of the tokens whose names have to go; returns where to go on.
    fn forget_named(&mut self, from: Cursor, max: u32, out: &mut Verdicts) -> Cursor {
        let id = ProfileId(from.table);
        let end = from.slot + max;
        for at in from.slot..end {
            let Some(table) = &mut self.tables[id.0] else {
                break;
            };
            let Some(token) = table.some(at, 1).next() else {
                continue;
            };
            let (mut goes, names) = (false, &self.context.names);
            token.mark_names(&mut self.packer, &mut |name| goes |= names.has_to_go(name));
            if goes {
                let slot = token.slot;
                let removed = table.evict(slot, &mut self.packer);
                self.remove(id, removed, out);
            }
        }
        Cursor { slot: end, ..from }
    }
}

#[cfg(test)]
mod tests;
