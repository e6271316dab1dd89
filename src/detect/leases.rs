//! The open attempts of all tokens, in the order in which their leases end.

use std::time::Duration;

use super::ConnectionId;
use super::chunks::{Chunks, NONE};
use super::finding::ProfileId;
use super::key::Key;
use super::time::Timestamp;

/// Stands for an open attempt in [`Leases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId(pub u32);

/// An open attempt; its lease ends one lease length of its profile after its start.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Its token.
    pub key: Key,
    /// When it started.
    pub start: Timestamp,
    /// Order of input; decides between equal deadlines.
    pub order: u64,
    /// The stream connection that reported it.
    pub connection: Option<ConnectionId>,
    /// Its serial number within the token.
    pub attempt: u32,
    /// Whose lease length it has.
    pub profile: ProfileId,
}

/// One list per profile, threaded through one slab: all leases of a profile are equally long and
/// starts come in order of time, so each list is sorted by deadline, and every operation is O(1).
#[derive(Debug)]
pub struct Leases {
    nodes: Chunks<Node>,
    free: u32,
    lists: Vec<List>,
    len: usize,
}

/// The leases of one profile.
#[derive(Debug)]
struct List {
    length: Duration,
    first: u32,
    last: u32,
    len: usize,
}

/// A lease in 56 bytes: there may be as many as tokens.
#[derive(Debug)]
struct Node {
    key: Key,
    start: Timestamp,
    order: u64,
    /// The connection's number; [`NO_CONNECTION`] for none.
    connection: u64,
    attempt: u32,
    previous: u32,
    next: u32,
    /// The profile's number; [`VACANT`] in a node that is free.
    profile: u16,
}

/// Bytes of a lease.
pub const NODE_BYTES: usize = size_of::<Node>();

const NO_CONNECTION: u64 = u64::MAX;
const VACANT: u16 = u16::MAX;

impl Leases {
    /// No leases; `lengths` are those of the profiles, at most 65535.
    pub fn new(lengths: impl Iterator<Item = Duration>) -> Self {
        let lists = lengths.map(|length| List {
            length,
            first: NONE,
            last: NONE,
            len: 0,
        });
        Self {
            nodes: Chunks::new(),
            free: NONE,
            lists: lists.collect(),
            len: 0,
        }
    }

    /// Adds the lease of an attempt that starts now.
    pub fn open(&mut self, lease: Lease) -> LeaseId {
        let list = &mut self.lists[lease.profile.0];
        let node = Node {
            key: lease.key,
            start: lease.start,
            order: lease.order,
            connection: lease.connection.map_or(NO_CONNECTION, |id| id.0),
            attempt: lease.attempt,
            previous: list.last,
            next: NONE,
            profile: lease.profile.0 as u16,
        };
        let id = if self.free == NONE {
            self.nodes.push(node)
        } else {
            let id = self.free;
            self.free = self.nodes[id].next;
            self.nodes[id] = node;
            id
        };
        self.len += 1;
        list.len += 1;
        let last = std::mem::replace(&mut list.last, id);
        if last == NONE {
            list.first = id;
        } else {
            self.nodes[last].next = id;
        }
        LeaseId(id)
    }

    /// Removes the lease of an attempt that is no longer open.
    pub fn close(&mut self, id: LeaseId) {
        let node = &mut self.nodes[id.0];
        let profile = std::mem::replace(&mut node.profile, VACANT);
        if profile == VACANT {
            return;
        }
        let (previous, next) = (node.previous, std::mem::replace(&mut node.next, self.free));
        self.free = id.0;
        let list = &mut self.lists[usize::from(profile)];
        self.len -= 1;
        list.len -= 1;
        if previous == NONE {
            list.first = next;
        } else {
            self.nodes[previous].next = next;
        }
        if next == NONE {
            list.last = previous;
        } else {
            self.nodes[next].previous = previous;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Of the profile with most leases, the one that ends first and is not of the token `but`.
    pub fn first_of_most(&self, but: Key) -> Option<LeaseId> {
        let list = self.lists.iter().max_by_key(|list| list.len)?;
        let mut at = list.first;
        while at != NONE && self.nodes[at].key == but {
            at = self.nodes[at].next;
        }
        Some(LeaseId(at)).filter(|_| at != NONE)
    }

    /// The lease that ends first, and when.
    pub fn first(&self) -> Option<(Timestamp, LeaseId)> {
        let deadline = |(list, id): (&List, u32)| {
            let node = &self.nodes[id];
            (node.start + list.length, node.order, LeaseId(id))
        };
        let first = self.heads().map(deadline);
        let first = first.min_by_key(|(deadline, order, _)| (*deadline, *order));
        first.map(|(deadline, _, id)| (deadline, id))
    }

    /// The lease that `id` stands for; it is open.
    pub fn get(&self, id: LeaseId) -> Lease {
        self.nodes[id.0].lease()
    }

    /// The lease of this attempt, if `id` stands for that.
    pub fn find(&self, id: LeaseId, key: Key, attempt: u32) -> Option<Lease> {
        let node = (id.0 < self.nodes.len()).then(|| &self.nodes[id.0])?;
        let is_it = node.profile != VACANT && (node.key, node.attempt) == (key, attempt);
        is_it.then(|| node.lease())
    }

    /// The same, if it is still that of the attempt that came with this order of input.
    pub fn get_if(&self, id: LeaseId, order: u64) -> Option<Lease> {
        let node = &self.nodes[id.0];
        (node.profile != VACANT && node.order == order).then(|| node.lease())
    }

    /// The open attempts of a connection by their order of input, in no particular order.
    pub fn of_connection(&self, connection: ConnectionId) -> Vec<(u64, LeaseId)> {
        let nodes = (0..).zip(self.nodes.iter());
        let open =
            nodes.filter(|(_, node)| node.profile != VACANT && node.connection == connection.0);
        open.map(|(at, node)| (node.order, LeaseId(at))).collect()
    }

    /// When the oldest open attempt started.
    pub fn oldest_start(&self) -> Option<Timestamp> {
        self.heads().map(|(_, id)| self.nodes[id].start).min()
    }

    /// All leases, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Lease> {
        let open = self.nodes.iter().filter(|node| node.profile != VACANT);
        open.map(Node::lease)
    }

    fn heads(&self) -> impl Iterator<Item = (&List, u32)> {
        let heads = self.lists.iter().map(|list| (list, list.first));
        heads.filter(|(_, first)| *first != NONE)
    }
}

impl Node {
    fn lease(&self) -> Lease {
        Lease {
            key: self.key,
            start: self.start,
            order: self.order,
            connection: Some(self.connection)
                .filter(|id| *id != NO_CONNECTION)
                .map(ConnectionId),
            attempt: self.attempt,
            profile: ProfileId(usize::from(self.profile)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_sorted_list() {
        let mut leases = Leases::new([50, 500, 5000].map(Duration::from_micros).into_iter());
        let mut model: Vec<(Timestamp, u64, LeaseId)> = Vec::new();
        let mut random = 0x5eed_u64;
        let mut emptied = 0;
        for order in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let pick = (random >> 33) as usize;
            if !pick.is_multiple_of(20) && pick % 20 < 11 {
                let profile = ProfileId(pick % 3);
                let start = Timestamp::from_micros(order as i64);
                let deadline = Timestamp::from_micros(order as i64 + [50, 500, 5000][profile.0]);
                let lease = Lease {
                    profile,
                    key: Key::default(),
                    attempt: 0,
                    start,
                    order,
                    connection: None,
                };
                model.push((deadline, order, leases.open(lease)));
            } else if !model.is_empty() {
                let (_, _, id) = model.swap_remove(pick % model.len());
                leases.close(id);
                emptied += usize::from(model.is_empty());
            }
            model.sort_by_key(|(deadline, order, _)| (*deadline, *order));
            let first = leases
                .first()
                .map(|(deadline, id)| (deadline, leases.get(id).order));
            assert_eq!(
                first,
                model
                    .first()
                    .map(|(deadline, order, _)| (*deadline, *order)),
                "step {order}"
            );
        }
        assert_eq!(leases.iter().count(), model.len());
        assert!(emptied > 0, "the list was never empty");
        assert!(leases.nodes.len() < 20_000 / 2, "nodes are not reused");
    }
}
