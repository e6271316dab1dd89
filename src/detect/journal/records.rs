//! The records of a journal but those of tokens: each begins with a byte that says what it is.

use super::{SessionPosition, finding};
use crate::detect::finding::Finding;
use crate::detect::names::NameId;
use crate::detect::pack::Writer;

/// What a record is about.
pub mod tag {
    /// Secret, observation start and profiles: the first record of a journal.
    pub const HEAD: u8 = 1;
    /// Time, order of input and numbers given out; before the records of a batch.
    pub const CLOCK: u8 = 2;
    /// A name and its id.
    pub const NAME: u8 = 3;
    /// A token that went.
    pub const REMOVED: u8 = 4;
    /// A token that was seen.
    pub const SEEN: u8 = 5;
    /// A token that changed.
    pub const CHANGED: u8 = 6;
    /// A token that is written down with all others.
    pub const BASE: u8 = 7;
    /// A fresh token that was reported.
    pub const REPORTED: u8 = 8;
    /// A finding.
    pub const FINDING: u8 = 9;
    /// A finding that came true.
    pub const CONFIRMED: u8 = 10;
    /// How far a client's session was read.
    pub const POSITION: u8 = 11;
}

pub fn write_name(id: NameId, name: &str, to: &mut Writer<'_>) {
    to.byte(tag::NAME);
    to.number(u64::from(id.to_bits()));
    to.number(name.len() as u64);
    to.bytes(name.as_bytes());
}

/// Appends the record of a finding.
pub fn write_finding(finding: &Finding, out: &mut Vec<u8>) {
    let mut to = Writer(out);
    to.byte(tag::FINDING);
    finding::write(finding, &mut to);
}

/// Appends the record of a finding that came true.
pub fn write_confirmed(finding: u64, out: &mut Vec<u8>) {
    let mut to = Writer(out);
    to.byte(tag::CONFIRMED);
    to.number(finding);
}

/// Appends the record of how far a session was read.
pub fn write_position(position: &SessionPosition, out: &mut Vec<u8>) {
    let mut to = Writer(out);
    to.byte(tag::POSITION);
    to.number(position.session.len() as u64);
    to.bytes(&position.session);
    to.number(position.read);
    to.number(position.connection);
}
