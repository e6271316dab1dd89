//! The most memory that a detector can take, whatever it is sent. Pure arithmetic over the limits.

use super::budget::Limits;
use super::finding::{Finding, Mark};
use super::history::MARKS_MAX;
use super::key::Key;
use super::leases::NODE_BYTES as LEASE_BYTES;
use super::profile::Profile;
use super::table::NODE_BYTES;
use super::text::ALLOCATION;
use super::time::Timestamp;
use super::token::{Attempt, Call, Executed, Note, Seen, Token};
use super::undecided::{SEVERAL_BYTES, SINGLE_BYTES};
use super::{ATTEMPTS_MAX, CALLS_MAX, OPEN_ATTEMPTS_MAX, Trace};

/// Longest fields of an event (SPEC §2), in bytes.
const TOKEN: usize = 512;
const SCOPE: usize = 256;
const API: usize = 128;
const CLIENT: usize = 128;
const CALL: usize = 64;
/// Longest message of a finding.
const MESSAGE: usize = 1024;

/// Calls that a token can have: the recent ones, older ones with an open attempt, and the one more
/// that is there until the bounds are enforced.
const CALLS: usize = CALLS_MAX + OPEN_ATTEMPTS_MAX + 1;
/// Attempts that are named after they may have been forgotten: who gave the fingerprint, who succeeded
/// first, who is noted, and who succeeded with each of four fingerprints.
const NAMED: usize = 7;
/// A list doubles when it grows.
const fn grown(length: usize) -> usize {
    length.next_power_of_two()
}

/// Bytes of the largest token there can be, when it is not packed.
const TOKEN_BYTES: usize = size_of::<Token>()
    + grown(ATTEMPTS_MAX + 1) * size_of::<Attempt>()
    + grown(CALLS) * size_of::<Call>()
    + grown(4) * size_of::<Executed>()
    + grown(4) * size_of::<Seen>()
    + size_of::<Note>()
    + grown(MARKS_MAX) * size_of::<Mark>()
    + 2 * (TOKEN + ALLOCATION)
    + (CALLS + NAMED) * (CALL + ALLOCATION)
    + 10 * ALLOCATION;

/// A place in a hash table of positions, five bytes each: one that is full of what was removed grows when
/// it is hardly half full, and then is a quarter full.
const INDEX: usize = 5 * 32 / 7 + 1;
/// What a table has beyond its tokens: the rest of the last chunk of nodes, and the least room of some
/// hash tables.
const TABLE: usize = 1024 * NODE_BYTES + (64 << 10);
/// A token that waits to be handed out for its span, in a queue that may just have doubled.
const SETTLING: usize = 2 * size_of::<(Timestamp, Key)>();
/// Removed tokens that wait to be written down, in a list that may just have doubled, and a bit.
const REMOVED: usize = 2 * size_of::<Key>() + 1;
/// Tokens in use at a time, with those they are compared with, and their memory that is kept.
const IN_USE: usize = 8;

/// What a detector can take, by part.
pub fn memory_parts(
    profiles: &[Profile],
    trace: Trace,
    journaled: bool,
) -> [(&'static str, u64); 6] {
    let limits = Limits::of(profiles);
    let sum =
        |part: &dyn Fn(&Profile) -> u64| profiles.iter().map(part).fold(0, u64::saturating_add);
    let times = |count: usize, bytes: usize| (count as u64).saturating_mul(bytes as u64);
    let capacity = sum(&|profile| profile.capacity as u64) as usize;
    let tables = times(capacity, NODE_BYTES + INDEX).saturating_add(times(profiles.len(), TABLE));
    let open = times(limits.leases, LEASE_BYTES)
        .saturating_add(times(limits.undecided, SINGLE_BYTES + INDEX))
        .saturating_add(times(limits.several, SEVERAL_BYTES))
        .saturating_add(1 << 18);
    let tokens = (limits.long as u64)
        .saturating_add(limits.whole as u64)
        .saturating_add((IN_USE * TOKEN_BYTES) as u64);
    // To find which go, those in use are listed, with less than a quarter of what the shortest take; and
    // their indices have some room before they hold any.
    let names = (limits.names as u64 / 4)
        .saturating_mul(5)
        .saturating_add(1 << 19);
    let settling = match trace {
        Trace::Off => 0,
        Trace::Misuse | Trace::All => times(limits.settling, profiles.len() * SETTLING),
    };
    let removed = if journaled {
        times(capacity, REMOVED)
    } else {
        0
    };
    [
        ("places of tokens", tables),
        ("open attempts", open),
        ("long tokens", tokens),
        ("names", names),
        ("settling", settling),
        ("changes", removed),
    ]
}

/// Bytes of a detector with these profiles, each of which has a table of its own.
pub fn memory_bytes(profiles: &[Profile], trace: Trace, journaled: bool) -> u64 {
    let parts = memory_parts(profiles, trace, journaled);
    parts
        .iter()
        .fold(0, |sum, (_, part)| sum.saturating_add(*part))
}

/// Bytes of one finding.
pub const FINDING_BYTES: usize = size_of::<Finding>()
    + 2 * TOKEN
    + SCOPE
    + API
    + 2 * (CLIENT + CALL)
    + MESSAGE
    + 10 * ALLOCATION;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::profile;

    #[test]
    fn it_grows_with_capacity_spans_and_state() {
        let with = |capacity, trace, state| {
            let profiles = profile::profiles(&toml::Table::new(), Some(capacity)).unwrap();
            memory_bytes(&profiles, trace, state)
        };
        let (small, large) = (
            with(65_536, Trace::Off, false),
            with(131_072, Trace::Off, false),
        );
        // By token of one of six tables: its place, and its part of all else.
        let per_token = (large - small) / (6 * 65_536);
        assert!((300..450).contains(&per_token), "{per_token}");
        assert!(small < 168 << 20, "{small}");
        assert!(with(65_536, Trace::All, false) > small);
        assert!(with(65_536, Trace::Off, true) > small);
        assert!(with(usize::MAX, Trace::All, true) > large, "it saturates");
    }
}
