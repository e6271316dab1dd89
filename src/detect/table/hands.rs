//! Which tokens go first when what they take beyond their places exceeds its limit.

use super::{NONE, Slot, Table};
use crate::detect::finding::Status;
#[cfg(test)]
use crate::detect::pack::Held;
use crate::detect::pack::Packed;

/// What a token can take beyond its place.
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
            Self::Undecided => match token {
                Packed::Plain(plain) => plain.is_undecided(),
                other => matches!(other.status(), Status::InFlight | Status::Unknown),
            },
            Self::Long => token.held().long > 0,
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
            Burden::Undecided => {
                let of = |status: Status| self.counts[status as usize];
                of(Status::InFlight) + of(Status::Unknown)
            }
            Burden::Long => self.held.long,
            Burden::Whole => self.held.whole,
        }
    }

    /// The token that was seen longest ago of those that have this burden.
    pub fn oldest_with(&mut self, burden: Burden) -> Option<Slot> {
        let hand = self.hands.at[burden as usize];
        let mut at = if hand == NONE { self.oldest } else { hand };
        while at != NONE && !burden.is_on(&self.nodes[at].token) {
            at = self.nodes[at].newer;
        }
        self.hands.at[burden as usize] = at;
        self.hands.known = true;
        Some(Slot(at)).filter(|_| at != NONE)
    }

    /// A token changed where it stands, and may have a burden now that it did not have.
    pub(super) fn turn_back(&mut self, at: u32) {
        let Self { nodes, hands, .. } = self;
        if !hands.known {
            return;
        }
        for hand in hands.at.iter_mut().filter(|hand| **hand != NONE) {
            // Which of two comes first that were seen at the same time is not known.
            if nodes[at].last_seen <= nodes[*hand].last_seen && *hand != at {
                *hand = NONE;
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
