//! Which names go, and how that is found out a little at a time.

use std::hash::{BuildHasher, RandomState};

use super::{NONE, NameId, Names, OneSort, SWEEP_AT_MIN};
use crate::detect::time::Timestamp;

/// Where a sweep is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sweep {
    Idle,
    Marking(Cursor),
    /// The tokens go that use a name that is used so or less.
    Forgetting(Cursor, Used),
    /// The names go that are used so or less.
    Dropping {
        sort: usize,
        least: Used,
    },
}

/// How a name is used, in the order in which names go: those go first that cost fewest tokens, and of
/// these the ones seen longest ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Used {
    /// How many tokens use it.
    pub(super) tokens: u32,
    /// When the latest of them was seen.
    pub(super) seen: Timestamp,
    /// The last one that was marked: which one of those shown.
    pub(super) last: u32,
}

impl Used {
    /// By no token that was looked at.
    pub(super) const NOT: Self = Self {
        tokens: 0,
        seen: Timestamp::MIN,
        last: 0,
    };
    /// By an event since the sweep began: it stays, and is for the next sweep to judge.
    pub(super) const ANEW: Self = Self {
        tokens: u32::MAX,
        ..Self::NOT
    };
}

/// What the owner is asked to do for a sweep, from the cursor on, before it [goes on](Names::go_on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    None,
    /// To [mark](Names::mark) the names of some tokens.
    Mark(Cursor),
    /// To forget, of some tokens, those that use a name that [has to go](Names::has_to_go).
    Forget(Cursor),
}

/// A token among all tables: the next to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub table: usize,
    pub slot: u32,
}

/// Tokens or names looked at in a step for which no name was used; enough for those that an event adds.
const STEP: u64 = 16;
/// And when there are more names than there may be, as after a restart with a lower capacity.
const STEP_URGENT: u64 = 128;

// Of the limit, names that tokens use get a half, and what events use while a sweep is under way a
// quarter; when it ends there are no others. So there may be three quarters when the next one begins, and
// a quarter more before it ends.

/// Up to this many bytes of names may be in use.
fn in_use_max(bytes_max: usize) -> usize {
    bytes_max / 2
}

/// To this many they are brought down if there are more, so that this is seldom.
fn in_use_after(bytes_max: usize) -> usize {
    bytes_max / 8 * 3
}

/// With this many bytes of names a sweep begins at the latest.
pub(super) fn begin_max(bytes_max: usize) -> usize {
    bytes_max / 4 * 3
}

/// A sweep has to end before this many bytes of names are used anew: a little less than a quarter, for the
/// names of the last event.
fn anew_max(bytes_max: usize) -> usize {
    (bytes_max / 32 * 7).max(1)
}

impl Names {
    /// Whether a sweep is due or under way.
    #[inline]
    pub fn is_sweep_due(&self) -> bool {
        !matches!(self.sweep, Sweep::Idle) || self.bytes() >= self.sweep_at
    }

    /// How many tokens and names the sweep has to look at now, if there are so many tokens: so many that
    /// it ends before too many names are used anew.
    pub fn pace(&mut self, tokens: usize) -> u32 {
        let anew: usize = self.sorts.iter().map(|names| names.anew).sum();
        let names: usize = self
            .sorts
            .iter()
            .map(|one| one.entries.len() as usize)
            .sum();
        let haste = match self.sweep {
            Sweep::Idle => 0,
            _ => anew.saturating_sub(self.hastened) as u64,
        };
        self.hastened = anew;
        // Each token twice: its names are marked, and it may be forgotten.
        let all = (tokens as u64)
            .saturating_mul(2)
            .saturating_add(names as u64);
        let hastened = haste.saturating_mul(all) / anew_max(self.bytes_max) as u64;
        let step = if self.bytes() > self.bytes_max {
            STEP_URGENT
        } else {
            STEP
        };
        u32::try_from(step + hastened).unwrap_or(u32::MAX)
    }

    /// A step of a sweep, if one is due or under way: looks at up to `left` names, less by those looked
    /// at, and says what the owner has to do for it. [`Work::None`] ends the step.
    pub fn sweep_some(&mut self, left: &mut u32) -> Work {
        loop {
            match self.sweep {
                Sweep::Idle if self.bytes() < self.sweep_at => return Work::None,
                Sweep::Idle => {
                    for names in &mut self.sorts {
                        (names.ahead, names.in_use, names.anew) = (0, 0, 0);
                    }
                    (self.shown, self.hastened) = (0, 0);
                    self.sweep = Sweep::Marking(Cursor::default());
                }
                Sweep::Marking(from) => return Work::Mark(from),
                Sweep::Forgetting(from, _) => return Work::Forget(from),
                Sweep::Dropping { sort: 2, .. } => {
                    self.end_sweep();
                    return Work::None;
                }
                Sweep::Dropping { sort, least } => {
                    let names = &mut self.sorts[sort];
                    if names.drop_some(least, left, &self.hasher) {
                        return Work::None;
                    }
                    let sort = sort + 1;
                    self.sweep = Sweep::Dropping { sort, least };
                }
            }
        }
    }

    fn end_sweep(&mut self) {
        let doubled = self.bytes().saturating_mul(2).max(SWEEP_AT_MIN);
        self.sweep_at = doubled.min(begin_max(self.bytes_max));
        self.sweep = Sweep::Idle;
    }

    /// The names that are [marked](Self::mark) next are another token's.
    pub fn show_next(&mut self) {
        self.shown = self.shown.wrapping_add(1);
    }

    /// Says that the token shown uses a name and was seen last at `seen`; again of the same token is no
    /// news.
    pub fn mark(&mut self, id: NameId, seen: Timestamp) {
        self.sorts[id.sort()].mark(id.number(), self.shown, seen);
    }

    /// Whether the tokens that use this name have to go, while some have to.
    pub fn has_to_go(&self, id: NameId) -> bool {
        let Sweep::Forgetting(_, least) = self.sweep else {
            return false;
        };
        let entry = self.sorts[id.sort()].entries.get(id.number());
        entry.is_some_and(|entry| entry.used <= least)
    }

    /// Says that what was asked for was done up to `next`, `None`: to the end.
    pub fn go_on(&mut self, next: Option<Cursor>) {
        let dropping = |least| Sweep::Dropping { sort: 0, least };
        self.sweep = match (self.sweep, next) {
            (Sweep::Marking(_), Some(next)) => Sweep::Marking(next),
            (Sweep::Marking(_), None) => match self.surplus() {
                Used::NOT => dropping(Used::NOT),
                least => Sweep::Forgetting(Cursor::default(), least),
            },
            (Sweep::Forgetting(_, least), Some(next)) => Sweep::Forgetting(next, least),
            (Sweep::Forgetting(_, least), None) => dropping(least),
            (other, _) => other,
        };
    }

    /// Up to how names are used that have to go with their tokens.
    fn surplus(&self) -> Used {
        let in_use: usize = self.sorts.iter().map(|names| names.in_use).sum();
        if in_use <= in_use_max(self.bytes_max) {
            return Used::NOT;
        }
        let in_use = || {
            let entries = self.sorts.iter().flat_map(|names| names.entries.iter());
            entries.filter(|entry| entry.is_in_use())
        };
        // Not grown as it fills, which takes more than it holds in the end.
        let mut names = Vec::with_capacity(in_use().count());
        names.extend(in_use().map(|entry| (entry.used, entry.bytes() as u32)));
        last_to_go(&mut names, in_use_after(self.bytes_max))
    }
}

/// Of names and their bytes, the last that has to go for the others to take no more than `room`. Looks at
/// each name some three times, which sorting them would do twenty times.
fn last_to_go(mut names: &mut [(Used, u32)], mut room: usize) -> Used {
    let mut last = Used::NOT;
    while !names.is_empty() {
        let (before, middle, after) = names.select_nth_unstable(names.len() / 2);
        let after_bytes: usize = after.iter().map(|(_, bytes)| *bytes as usize).sum();
        let bytes = after_bytes + middle.1 as usize;
        if bytes <= room {
            room -= bytes;
            names = before;
        } else {
            last = middle.0;
            names = after;
        }
    }
    last
}

impl OneSort {
    /// Notes that an event uses a name while a sweep has still to decide about it.
    pub(super) fn use_anew(&mut self, number: u32) {
        let entry = &mut self.entries[number];
        if entry.used == Used::ANEW {
            return;
        }
        let bytes = entry.bytes();
        if entry.is_in_use() {
            self.in_use -= bytes;
        }
        entry.used = Used::ANEW;
        self.anew += bytes;
    }

    fn mark(&mut self, number: u32, token: u32, seen: Timestamp) {
        let entry = self.entries.get_mut(number);
        let Some(entry) = entry.filter(|entry| entry.name.is_some()) else {
            return;
        };
        let used = entry.used;
        let again = used.tokens > 0 && used.last == token;
        if used == Used::ANEW || again {
            return;
        }
        entry.used = Used {
            // One less than those used anew have.
            tokens: (used.tokens + 1).min(u32::MAX - 1),
            seen: used.seen.max(seen),
            last: token,
        };
        if used.tokens == 0 {
            self.in_use += entry.bytes();
        }
    }

    /// Drops, of up to `left` names, those used at `least` or before; returns whether more are ahead.
    fn drop_some(&mut self, least: Used, left: &mut u32, hasher: &RandomState) -> bool {
        let end = self.entries.len().min(self.ahead.saturating_add(*left));
        *left -= end - self.ahead;
        for number in self.ahead..end {
            let entry = &mut self.entries[number];
            let Some(name) = entry.name.as_deref() else {
                continue;
            };
            if entry.used > least {
                entry.used = Used::NOT;
                continue;
            }
            let hash = hasher.hash_one(name);
            self.bytes -= entry.bytes();
            self.index.remove(hash, |other| other == number);
            self.vacate(number);
        }
        let more = end < self.entries.len();
        self.ahead = if more { end } else { NONE };
        more
    }
}

impl super::Entry {
    /// Whether tokens use it, and no event since the sweep began.
    fn is_in_use(&self) -> bool {
        self.name.is_some() && self.used != Used::NOT && self.used != Used::ANEW
    }
}
