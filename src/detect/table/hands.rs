//! Which tokens go first when what they take beyond their places exceeds its limit.

use super::{NONE, Slot, Table};
use crate::detect::key::Key;
#[cfg(test)]
use crate::detect::pack::Held;
use crate::detect::pack::{Packed, Packer};
use crate::detect::undecided::Place;

/// What a token can take beyond its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burden {
    /// A place among the undecided.
    Undecided,
    /// Cells.
    Long,
    /// Memory of its own.
    Whole,
}

impl Burden {
    pub const ALL: [Self; 3] = [Self::Undecided, Self::Long, Self::Whole];

    fn is_on(self, token: &Packed) -> bool {
        match self {
            Self::Undecided => token.is_placed(),
            Self::Long => matches!(token, Packed::Long(kept) if kept.bytes() > 0),
            Self::Whole => matches!(token, Packed::Whole(_)),
        }
    }
}

/// By burden, where to look for the token that was seen longest ago of those that have it: none of the
/// older ones does; [`NONE`]: that is not known. So those that have none, of which there are many, are
/// passed over once, not at each look.
pub struct Hands {
    at: [u32; Burden::ALL.len()],
    /// Whether any of them is known: never among honest senders.
    known: bool,
}

impl Default for Hands {
    fn default() -> Self {
        Self {
            at: [NONE; Burden::ALL.len()],
            known: false,
        }
    }
}

impl Hands {
    /// A token leaves its place in the list.
    pub fn left(&mut self, at: u32, newer: u32) {
        if self.known {
            for hand in self.at.iter_mut().filter(|hand| **hand == at) {
                *hand = newer;
            }
        }
    }

    /// What is known of the order no longer holds.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Table {
    /// How much of a burden the tokens are.
    pub fn burden(&self, burden: Burden) -> usize {
        match burden {
            Burden::Undecided => self.held.placed,
            Burden::Long => self.held.long,
            Burden::Whole => self.held.whole,
        }
    }

    /// The token that was seen longest ago of those that have this burden.
    pub fn oldest_with(&mut self, burden: Burden) -> Option<Slot> {
        let hand = self.hands.at[burden as usize];
        let first = if hand == NONE { self.oldest } else { hand };
        let at = self.next_with(burden, first);
        self.hands.at[burden as usize] = at;
        self.hands.known = true;
        Some(Slot(at)).filter(|_| at != NONE)
    }

    /// The first node from `at` on, towards the newest, that has this burden; [`NONE`] if none has.
    fn next_with(&self, burden: Burden, mut at: u32) -> u32 {
        while at != NONE && !burden.is_on(&self.nodes[at].token) {
            at = self.nodes[at].newer;
        }
        at
    }

    /// A token changed where it stands, and may have a burden now that it did not have: then it is the
    /// oldest that has it if it is older than the one that was.
    pub(super) fn turn_back(&mut self, at: u32) {
        if !self.hands.known {
            return;
        }
        for burden in Burden::ALL {
            let hand = self.hands.at[burden as usize];
            let is_on = || burden.is_on(&self.nodes[at].token);
            if hand != NONE && hand != at && is_on() && self.is_older(at, hand) {
                self.hands.at[burden as usize] = at;
            }
        }
    }

    /// Whether a node comes before another one in the list. Of two that were seen at the same time, as
    /// those of one batch are, only the list itself tells.
    fn is_older(&self, at: u32, other: u32) -> bool {
        let last_seen = self.nodes[at].last_seen;
        if last_seen != self.nodes[other].last_seen || at == self.newest {
            return last_seen < self.nodes[other].last_seen;
        }
        let mut older = self.nodes[other].older;
        while older != at && older != NONE && self.nodes[older].last_seen == last_seen {
            older = self.nodes[older].older;
        }
        older == at
    }

    /// Notes that the token that stood at `place` among the undecided no longer does; returns whether it
    /// is one of these.
    pub fn displace(&mut self, key: Key, place: &Place, packer: &mut Packer) -> bool {
        let Some(slot) = self.held_at(key) else {
            return false;
        };
        let mut token = self.take(slot, packer);
        let is_it = token.place == Some(*place);
        token.placed &= !is_it;
        self.put(slot, token, packer);
        is_it
    }

    /// As [`Table::oldest_with`], by looking at all.
    #[cfg(test)]
    pub fn first_with(&self, burden: Burden) -> Option<Slot> {
        let at = self.next_with(burden, self.oldest);
        Some(Slot(at)).filter(|_| at != NONE)
    }

    /// Where the search for it will begin, if that is known.
    #[cfg(test)]
    pub fn hand(&self, burden: Burden) -> Option<Slot> {
        let hand = self.hands.at[burden as usize];
        Some(Slot(hand)).filter(|_| hand != NONE)
    }

    /// What is known of the order of its tokens is right: none that is older than a hand has that burden.
    #[cfg(test)]
    pub fn check_hands(&self, what: &str) {
        for burden in Burden::ALL {
            let hand = self.hands.at[burden as usize];
            let mut at = if hand == NONE { NONE } else { self.oldest };
            while at != hand {
                let is_on = burden.is_on(&self.nodes[at].token);
                assert!(!is_on, "{what}: {burden:?}");
                at = self.nodes[at].newer;
            }
        }
    }

    /// What its tokens take, counted anew.
    #[cfg(test)]
    pub fn recount(&self) -> Held {
        let mut held = Held::default();
        for node in self.nodes.iter() {
            held += node.token.held();
        }
        held
    }

    #[cfg(test)]
    pub fn held(&self) -> Held {
        self.held
    }
}
