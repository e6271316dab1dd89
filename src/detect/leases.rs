//! The open attempts of all tokens, in the order in which their leases end.

use super::ConnectionId;
use super::finding::ProfileId;
use super::key::Key;
use super::time::Timestamp;

/// Stands for an open attempt in [`Leases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(u32);

/// An open attempt and when it stops being believed.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Whose lease length it has.
    pub profile: ProfileId,
    /// Its token.
    pub key: Key,
    /// Its serial number within the token.
    pub attempt: u32,
    /// When it started.
    pub start: Timestamp,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// Order of input; decides between equal deadlines.
    pub order: u64,
    /// The stream connection that reported it.
    pub connection: Option<ConnectionId>,
}

/// One list per profile, threaded through one slab: all leases of a profile are equally long and
/// starts come in order of time, so each list is sorted by deadline, and every operation is O(1).
#[derive(Debug)]
pub struct Leases {
    nodes: Vec<Node>,
    free: u32,
    /// First and last node of each profile's list.
    ends: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Node {
    lease: Option<Lease>,
    previous: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Leases {
    /// No leases, for `profiles` profiles.
    pub fn new(profiles: usize) -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            ends: vec![(NONE, NONE); profiles],
        }
    }

    /// Adds the lease of an attempt that starts now.
    pub fn open(&mut self, lease: Lease) -> LeaseId {
        let ends = &mut self.ends[lease.profile.0];
        let node = Node {
            lease: Some(lease),
            previous: ends.1,
            next: NONE,
        };
        let id = if self.free == NONE {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        } else {
            let id = self.free;
            self.free = self.nodes[id as usize].next;
            self.nodes[id as usize] = node;
            id
        };
        let last = std::mem::replace(&mut ends.1, id);
        if last == NONE {
            ends.0 = id;
        } else {
            self.nodes[last as usize].next = id;
        }
        LeaseId(id)
    }

    /// Removes the lease of an attempt that is no longer open.
    pub fn close(&mut self, id: LeaseId) {
        let node = &mut self.nodes[id.0 as usize];
        let Some(lease) = node.lease.take() else {
            return;
        };
        let (previous, next) = (node.previous, std::mem::replace(&mut node.next, self.free));
        self.free = id.0;
        let ends = &mut self.ends[lease.profile.0];
        if previous == NONE {
            ends.0 = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next == NONE {
            ends.1 = previous;
        } else {
            self.nodes[next as usize].previous = previous;
        }
    }

    /// The lease that ends first.
    pub fn first(&self) -> Option<(LeaseId, &Lease)> {
        self.heads()
            .min_by_key(|(_, lease)| (lease.deadline, lease.order))
    }

    /// When the oldest open attempt started.
    pub fn oldest_start(&self) -> Option<Timestamp> {
        self.heads().map(|(_, lease)| lease.start).min()
    }

    /// All leases, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.nodes.iter().filter_map(|node| node.lease.as_ref())
    }

    fn heads(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let heads = self
            .ends
            .iter()
            .map(|(first, _)| *first)
            .filter(|first| *first != NONE);
        heads.filter_map(|first| Some((LeaseId(first), self.nodes[first as usize].lease.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_sorted_list() {
        let mut leases = Leases::new(3);
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
                    key: Key(0),
                    attempt: 0,
                    start,
                    deadline,
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
                .map(|(_, lease)| (lease.deadline, lease.order));
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
