//! The most memory that a detector can take, whatever it is sent. Pure arithmetic over the limits.

use super::finding::{Finding, Lifecycle, Mark};
use super::history::MARKS_MAX;
use super::leases::NODE_BYTES as LEASE_BYTES;
use super::profile::Profile;
use super::table::NODE_BYTES;
use super::token::{Attempt, Call, Executed, Note, Seen, Token};
use super::undecided::PLACE_BYTES;
use super::{ATTEMPTS_MAX, CALLS_MAX, OPEN_ATTEMPTS_MAX, Trace};

/// Longest fields of an event (SPEC §2), in bytes.
const TOKEN: usize = 512;
const SCOPE: usize = 256;
const API: usize = 128;
const CLIENT: usize = 128;
const ERROR: usize = 128;
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
/// What an allocation costs besides what it holds.
const ALLOCATION: usize = 16;
/// What a shared name costs besides its bytes, which are kept twice: its places in a map and three
/// lists, each of which may just have doubled.
const NAME: usize = 160;

/// Bytes of a name of this length. Names are swept when they have doubled, so each counts twice.
const fn name(bytes: usize) -> usize {
    2 * (2 * (bytes + ALLOCATION) + NAME)
}

/// Bytes of one token with all that follows from it.
const fn token(trace: Trace) -> usize {
    let lists = size_of::<Token>()
        + grown(ATTEMPTS_MAX + 1) * size_of::<Attempt>()
        + grown(CALLS) * size_of::<Call>()
        + grown(4) * size_of::<Executed>()
        + grown(4) * size_of::<Seen>()
        + size_of::<Note>();
    let marks = match trace {
        Trace::Off => 0,
        Trace::Misuse | Trace::All => grown(MARKS_MAX) * size_of::<Mark>(),
    };
    let texts = 2 * (TOKEN + ALLOCATION) + (CALLS + NAMED) * (CALL + ALLOCATION);
    let names = (CALLS + NAMED) * name(CLIENT) + name(ERROR) + name(API) + name(SCOPE);
    let leases = (OPEN_ATTEMPTS_MAX + 1) * LEASE_BYTES;
    NODE_BYTES + INDEX + lists + marks + texts + names + leases + 2 * PLACE_BYTES + SETTLING
}

/// A place in a hash table, which may just have doubled, and its part of the spare room.
const INDEX: usize = 32;
/// A lifecycle that waits to be handed out, in a queue that may just have doubled.
const SETTLING: usize = 48;
/// Tables made when they are first used: a chunk of nodes, a chunk of leases, spread hash tables.
const TABLE: usize = 1 << 20;

/// Bytes of a detector with these profiles, each of which has a table of its own.
pub fn memory_bytes(profiles: &[Profile], trace: Trace) -> u64 {
    let tables = profiles.iter().map(|profile| {
        let tokens = (profile.capacity as u64).saturating_mul(token(trace) as u64);
        tokens.saturating_add(TABLE as u64)
    });
    tables.fold(0, u64::saturating_add)
}

/// Bytes of one finding.
pub const FINDING_BYTES: usize = size_of::<Finding>()
    + 2 * TOKEN
    + SCOPE
    + API
    + 2 * (CLIENT + CALL)
    + MESSAGE
    + 10 * ALLOCATION;

/// Bytes of one lifecycle that is handed out.
pub const LIFECYCLE_BYTES: usize = size_of::<Lifecycle>()
    + TOKEN
    + SCOPE
    + API
    + ERROR
    + ATTEMPTS_MAX * (size_of::<super::finding::AttemptRecord>() + CLIENT + CALL + 2 * ALLOCATION)
    + MARKS_MAX * size_of::<Mark>();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::profile;

    #[test]
    fn it_grows_with_capacity_and_with_spans() {
        let with = |capacity, trace| {
            let profiles = profile::profiles(&toml::Table::new(), Some(capacity)).unwrap();
            memory_bytes(&profiles, trace)
        };
        let (small, large) = (with(1000, Trace::Off), with(2000, Trace::Off));
        let per_token = (large - small) / 6000;
        assert_eq!(per_token, token(Trace::Off) as u64);
        assert!((10_000..80_000).contains(&per_token), "{per_token}");
        assert!(with(1000, Trace::All) > small);
        assert!(with(usize::MAX, Trace::All) > large, "it saturates");
    }
}
