//! Names that many tokens share (clients, scopes, APIs, error codes), each stored once.

mod kept;

use std::collections::HashMap;

use super::text::{ALLOCATION, same};
use super::time::Timestamp;

/// Stands for a name in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameId(u32);

/// What kind of name it is. Each kind has numbers of its own: there are few APIs and scopes, and
/// their numbers stay small however many clients come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// An API or a scope.
    Space,
    /// A client or an error code.
    Sender,
}

impl NameId {
    fn new(sort: Sort, number: usize) -> Self {
        Self(u32::try_from(number).map_or(u32::MAX, |number| number << 1 | sort as u32))
    }

    fn sort(self) -> usize {
        (self.0 & 1) as usize
    }

    fn number(self) -> usize {
        (self.0 >> 1) as usize
    }

    /// The number within its kind, if it is at most `max`.
    pub fn small(self, max: u32) -> Option<u32> {
        Some(self.0 >> 1).filter(|number| *number <= max)
    }

    /// The name of which [`NameId::small`] gave this.
    pub fn from_small(sort: Sort, number: u32) -> Self {
        Self(number << 1 | sort as u32)
    }

    pub fn to_bits(self) -> u32 {
        self.0
    }

    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// The shared names.
///
/// Nothing counts who uses a name. When the names have doubled since the last look, the owner
/// shows which of them its tokens use, a few tokens at a time, and the rest are dropped, a few at a
/// time; a name that is used meanwhile stays. If the tokens use too many, those go that fewest tokens
/// use, and these tokens with them. So a sender that invents names cannot make this grow beyond its
/// limit, costs nobody else a name or a token, and no single event pays for it.
#[derive(Debug)]
pub struct Names {
    sorts: [OneSort; 2],
    sweep: Sweep,
    sweep_at: usize,
    bytes_max: usize,
}

/// The names of one kind.
#[derive(Debug, Default)]
struct OneSort {
    ids: HashMap<Box<str>, NameId>,
    names: Vec<Option<Box<str>>>,
    /// How each is used as far as the sweep has seen.
    used: Vec<Used>,
    /// What the names take.
    bytes: usize,
    free: Vec<NameId>,
    /// The names asked for last, latest first: nearly always the next ones too.
    last: [Option<NameId>; 2],
    /// Those added since somebody wrote them down, if anybody wants to know.
    news: Vec<NameId>,
    wanted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Sweep {
    Idle,
    Marking(Cursor),
    /// The tokens go that use a name that is used so or less.
    Forgetting(Cursor, Used),
    Dropping {
        sort: usize,
        number: usize,
        least: Used,
    },
}

/// How a name is used, in the order in which names go: those go first that cost fewest tokens, and of
/// these the ones seen longest ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    Not,
    By {
        tokens: u32,
        /// When the latest of them was seen.
        seen: Timestamp,
        /// The last one that was marked.
        last: Spot,
    },
    /// By an event since the sweep began.
    Anew,
}

/// A token, while it is looked at: its table and its position there.
pub type Spot = (u16, u32);

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

/// Bytes of names before the first sweep: far more than the clients of any pod have.
const SWEEP_AT_MIN: usize = 1 << 20;
/// Names looked at in one step of dropping.
const DROPPED_MAX: usize = 128;
/// What a name costs besides its bytes, which are kept twice: its places in a map and three lists, each
/// of which may just have doubled.
const NAME: usize = 216;

/// Bytes of a name of this length.
pub const fn name_bytes(length: usize) -> usize {
    2 * (length + ALLOCATION) + NAME
}

impl Names {
    /// An empty set, which is not to grow beyond `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            sorts: [OneSort::default(), OneSort::default()],
            sweep: Sweep::Idle,
            sweep_at: SWEEP_AT_MIN.min(bytes_max / 2),
            bytes_max,
        }
    }

    /// The id of `name`, which is added if it is new.
    pub fn intern(&mut self, sort: Sort, name: &str) -> NameId {
        self.sorts[sort as usize].intern(sort, name)
    }

    /// The name that `id` stands for.
    pub fn get(&self, id: NameId) -> &str {
        let names = &self.sorts[id.sort()].names;
        names[id.number()].as_deref().unwrap_or_default()
    }

    /// Some names of a kind: those in use among up to `max` from number `from` on; `None` after the
    /// last.
    pub fn some(&self, sort: Sort, from: usize, max: usize) -> Option<impl Iterator<Item = &str>> {
        let rest = self.sorts[sort as usize].names.get(from..)?;
        let some = &rest[..rest.len().min(max)];
        (!some.is_empty()).then(|| some.iter().flatten().map(|name| &**name))
    }

    /// Whether a sweep is due or under way.
    #[inline]
    pub fn is_sweep_due(&self) -> bool {
        !matches!(self.sweep, Sweep::Idle) || self.bytes() >= self.sweep_at
    }

    /// A step of a sweep, if one is due or under way, and what the owner has to do for it.
    pub fn sweep_some(&mut self) -> Work {
        self.sweep = match self.sweep {
            Sweep::Idle if !self.is_sweep_due() => return Work::None,
            Sweep::Idle => {
                for names in &mut self.sorts {
                    names.used.fill(Used::Not);
                }
                Sweep::Marking(Cursor::default())
            }
            Sweep::Marking(from) => return Work::Mark(from),
            Sweep::Forgetting(from, _) => return Work::Forget(from),
            Sweep::Dropping { sort: 2, .. } => {
                let doubled = (2 * self.bytes()).max(SWEEP_AT_MIN);
                self.sweep_at = doubled.min(self.bytes_max / 2);
                Sweep::Idle
            }
            Sweep::Dropping {
                sort,
                number,
                least,
            } => {
                let next = self.sorts[sort].drop_some(number, least);
                Sweep::Dropping {
                    sort: sort + usize::from(next.is_none()),
                    number: next.unwrap_or(0),
                    least,
                }
            }
        };
        Work::None
    }

    /// Says that a token uses a name and was seen last at `seen`; again of the same token is no news.
    pub fn mark(&mut self, id: NameId, token: Spot, seen: Timestamp) {
        let Some(used) = self.sorts[id.sort()].used.get_mut(id.number()) else {
            return;
        };
        let (tokens, latest) = match *used {
            Used::Not => (0, seen),
            Used::By { last, .. } if last == token => return,
            Used::By { tokens, seen, .. } => (tokens, seen),
            Used::Anew => return,
        };
        *used = Used::By {
            tokens: tokens.saturating_add(1),
            seen: latest.max(seen),
            last: token,
        };
    }

    /// Whether the tokens that use this name have to go, while some have to.
    pub fn has_to_go(&self, id: NameId) -> bool {
        let Sweep::Forgetting(_, least) = self.sweep else {
            return false;
        };
        let used = self.sorts[id.sort()].used.get(id.number());
        used.is_some_and(|used| *used <= least)
    }

    /// Says that what was asked for was done up to `next`, `None`: to the end.
    pub fn go_on(&mut self, next: Option<Cursor>) {
        let dropping = |least| Sweep::Dropping {
            sort: 0,
            number: 0,
            least,
        };
        self.sweep = match (self.sweep, next) {
            (Sweep::Marking(_), Some(next)) => Sweep::Marking(next),
            (Sweep::Marking(_), None) => match self.surplus() {
                Used::Not => dropping(Used::Not),
                least => Sweep::Forgetting(Cursor::default(), least),
            },
            (Sweep::Forgetting(_, least), Some(next)) => Sweep::Forgetting(next, least),
            (Sweep::Forgetting(_, least), None) => dropping(least),
            (other, _) => other,
        };
    }

    /// Whether there is little room left, so that a sweep has to make haste.
    pub fn is_urgent(&self) -> bool {
        self.bytes() >= self.bytes_max / 2
    }

    /// Up to how names are used that have to go with their tokens: those in use may take a quarter of
    /// all; if it is more, they are brought down to an eighth, so that this is seldom.
    fn surplus(&self) -> Used {
        let mut used: Vec<(Used, usize)> = Vec::new();
        for names in &self.sorts {
            let names = names.names.iter().zip(&names.used);
            used.extend(names.filter_map(|(name, used)| {
                let name = name.as_ref().filter(|_| *used != Used::Not)?;
                Some((*used, name_bytes(name.len())))
            }));
        }
        let all: usize = used.iter().map(|(_, bytes)| bytes).sum();
        if all <= self.bytes_max / 4 {
            return Used::Not;
        }
        used.sort_unstable_by(|a, b| b.cmp(a));
        let mut kept = 0;
        let first = used.iter().find(|(at, bytes)| {
            kept += bytes;
            *at != Used::Anew && kept > self.bytes_max / 8
        });
        first.map_or(Used::Not, |(at, _)| *at)
    }

    /// What the names take, counted anew.
    #[cfg(test)]
    pub fn recount(&self) -> usize {
        let names = self.sorts.iter().flat_map(|names| names.ids.keys());
        names.map(|name| name_bytes(name.len())).sum()
    }

    /// What the names take.
    pub fn bytes(&self) -> usize {
        self.sorts.iter().map(|names| names.bytes).sum()
    }
}

impl OneSort {
    fn intern(&mut self, sort: Sort, name: &str) -> NameId {
        let is_it = |id: &&NameId| {
            let known = self.names[id.number()].as_deref();
            known.is_some_and(|known| same(known, name))
        };
        let last = self.last.iter().flatten().find(is_it);
        let known = last.or_else(|| self.ids.get(name)).copied();
        let id = known.unwrap_or_else(|| {
            let id = self.free.pop().unwrap_or_else(|| {
                self.names.push(None);
                self.used.push(Used::Not);
                NameId::new(sort, self.names.len() - 1)
            });
            self.names[id.number()] = Some(name.into());
            self.ids.insert(name.into(), id);
            self.bytes += name_bytes(name.len());
            if self.wanted {
                self.news.push(id);
            }
            id
        });
        self.used[id.number()] = Used::Anew;
        if self.last[0] != Some(id) {
            self.last = [Some(id), self.last[0]];
        }
        id
    }

    /// Drops some names, those used at `least` or before; returns where to go on.
    fn drop_some(&mut self, from: usize, least: Used) -> Option<usize> {
        let end = self.names.len().min(from + DROPPED_MAX);
        for number in from..end {
            if self.used[number] <= least
                && let Some(name) = self.names[number].take()
                && let Some(id) = self.ids.remove(&name)
            {
                self.bytes -= name_bytes(name.len());
                self.free.push(id);
            }
        }
        (end < self.names.len()).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries a sweep through to its end; `owner` does what is asked for.
    fn sweep(names: &mut Names, mut owner: impl FnMut(&mut Names, Work)) {
        for _ in 0..1_000_000 {
            let work = names.sweep_some();
            owner(names, work);
            if matches!(names.sweep, Sweep::Idle) {
                return;
            }
        }
        panic!("it has no end");
    }

    fn in_use(names: &Names) -> Vec<&str> {
        let sender = &names.sorts[Sort::Sender as usize];
        sender.names.iter().flatten().map(|name| &**name).collect()
    }

    #[test]
    fn a_sweep_keeps_what_is_used_and_reuses_the_rest() {
        let mut names = Names::new(usize::MAX);
        let mut ids = Vec::new();
        while names.bytes() < SWEEP_AT_MIN {
            ids.push(names.intern(Sort::Sender, &format!("client-{}", ids.len())));
        }
        assert_eq!(names.intern(Sort::Sender, "client-7"), ids[7]);
        let mut asked = 0;
        sweep(&mut names, |names, work| {
            let Work::Mark(from) = work else {
                return assert_eq!(work, Work::None);
            };
            asked += 1;
            names.mark(ids[7], (0, 0), Timestamp::from_micros(1));
            if from.slot == 2 {
                // Used while the sweep is under way.
                assert_eq!(names.intern(Sort::Sender, "client-3000"), ids[3000]);
            }
            names.go_on((from.slot < 3).then_some(Cursor {
                table: 0,
                slot: from.slot + 1,
            }));
        });
        assert_eq!(asked, 4);
        assert_eq!(in_use(&names), ["client-7", "client-3000"]);
        assert_eq!(names.get(ids[3000]), "client-3000");
        let used = names.sorts[Sort::Sender as usize].names.len();
        assert_eq!(used, ids.len());
        for i in 0..used - 2 {
            names.intern(Sort::Sender, &format!("later-{i}"));
        }
        assert_eq!(names.sorts[Sort::Sender as usize].names.len(), used);
        assert_eq!(names.get(ids[7]), "client-7");
    }

    #[test]
    fn too_many_names_in_use_are_brought_down_the_least_used_first() {
        let limit = 4096 * name_bytes(8);
        let mut names = Names::new(limit);
        let mut ids = Vec::new();
        while names.bytes() < limit / 2 {
            ids.push(names.intern(Sort::Sender, &format!("{:08}", ids.len())));
        }
        assert_eq!(ids.len(), 2048);
        let mut gone = Vec::new();
        sweep(&mut names, |names, work| match work {
            Work::None => {}
            Work::Mark(_) => {
                // The later ones were seen earlier, and of each token only once counts.
                for (at, id) in ids.iter().enumerate() {
                    for _ in 0..at {
                        names.mark(
                            *id,
                            (1, at as u32),
                            Timestamp::from_micros(5000 - at as i64),
                        );
                    }
                    names.mark(*id, (0, 0), Timestamp::from_micros(0));
                }
                // Two are used by many.
                for (many, id) in [ids[1500], ids[1600]].into_iter().enumerate() {
                    for token in 0..100 {
                        names.mark(id, (2, token), Timestamp::from_micros(many as i64));
                    }
                }
                names.go_on(None);
            }
            Work::Forget(_) => {
                // Named just now: it stays.
                names.intern(Sort::Sender, "00002000");
                let goes = ids.iter().filter(|id| names.has_to_go(**id));
                gone = goes.copied().collect();
                names.go_on(None);
            }
        });
        // An eighth of 4096: the two and the latest; and the one more.
        let latest = (1..511).map(|at| ids[at]);
        let kept: Vec<_> = latest.chain([ids[1500], ids[1600], ids[2000]]).collect();
        assert_eq!(gone.len(), 2048 - 513);
        assert!(kept.iter().all(|id| !gone.contains(id)));
        assert_eq!(in_use(&names).len(), 513);
        assert_eq!(names.bytes(), 513 * name_bytes(8));
        // Nothing has to go when there is no sweep.
        assert!(!names.has_to_go(ids[0]));
    }

    #[test]
    fn kinds_have_numbers_of_their_own() {
        let mut names = Names::new(usize::MAX);
        let client = names.intern(Sort::Sender, "same");
        let scope = names.intern(Sort::Space, "same");
        assert_eq!((client.small(0), scope.small(0)), (Some(0), Some(0)));
        assert_ne!(client, scope);
        assert_eq!(NameId::from_small(Sort::Space, 0), scope);
    }
}
