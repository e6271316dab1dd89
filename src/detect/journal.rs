//! What the detector knows, as records that outlive the process.
//!
//! Not events are written, but what they left behind: after each batch of them the image of every
//! token that was touched, once. Of two images of a token the later one counts, so that the journal
//! is shortened by writing each token once more, a few at a time, while batches go on, and forgetting
//! what was written before. Whoever keeps the records also keeps those of a batch together, finds out
//! whether they are damaged, and owns the files.
//!
//! [`Detector::write_changes`] and [`Detector::write_some`] make records, [`Restore`] makes the same
//! detector of them.

mod finding;
mod records;
mod restore;
#[cfg(test)]
mod tests;

use super::Detector;
use super::finding::ProfileId;
use super::names::Sort;
use super::pack::{Packer, Writer};
use super::table::{How, Slot, Table};
use super::time::Timestamp;
use records::{tag, write_name};

pub use records::{write_confirmed, write_finding, write_position};
pub use restore::{Lost, Restore, Restored, SessionPosition, Unreadable};

/// Findings that a journal keeps.
pub const FINDINGS_MAX: usize = 1000;
/// Positions of sessions that a journal keeps: of those that were read last. Where more than these have a
/// connection at once, the lines that the others send again after a restart are judged again.
pub const POSITIONS_MAX: usize = 1024;
/// Bytes of records after which the rest waits for the next call.
const BYTES_MAX: usize = 8 << 20;
/// Bytes of the record of a token that went, about.
const REMOVED_BYTES: usize = 18;
/// Names looked at in one step.
const NAMES_MAX: usize = 512;

/// What a journal says at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// When observation began.
    pub observation_start: Timestamp,
    /// The highest number of a stream connection so far.
    pub connection: u64,
}

/// How far all tokens have been written.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Tokens seen later are written with what changes.
    latest: Timestamp,
    at: Part,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Names { sort: Sort, from: usize },
    Tokens { table: usize },
    Done,
}

impl Detector {
    /// Notes from now on what changes; [`Detector::write_changes`] or [`Detector::forget_changes`]
    /// must follow each batch of inputs, or the notes grow.
    pub fn keep_journal(&mut self) {
        self.journaled = true;
        self.context.names.want_news();
        self.tables
            .iter_mut()
            .flatten()
            .for_each(Table::want_changes);
    }

    /// The secret of the table's hash; a restored detector has to have the same.
    pub fn hash_key(&self) -> [u8; 16] {
        self.context.options.hash_key
    }

    /// The latest time that it knows.
    pub fn now(&self) -> Timestamp {
        self.context.now
    }

    /// Whether anything changed since it was written.
    pub fn has_changes(&self) -> bool {
        self.context.names.has_news()
            || self.reported_fresh.has_news()
            || self.tables.iter().flatten().any(Table::has_changes)
    }

    /// Appends records of some of what changed since it was written; returns whether there is more,
    /// which only happens when a great many tokens changed or went at once. `connection` is the highest
    /// number of a stream connection so far.
    pub fn write_changes(&mut self, connection: u64, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.write_clock(connection, out);
        let now = self.context.now;
        let mut to = Writer(out);
        self.context
            .names
            .take_news(&mut |id, name| write_name(id, name, &mut to));
        for born in self.reported_fresh.take_news() {
            to.byte(tag::REPORTED);
            to.number(born);
        }
        for (number, table) in self.tables.iter_mut().enumerate() {
            let Some(table) = table else { continue };
            let room = (start + BYTES_MAX).saturating_sub(to.0.len());
            for key in table.take_removed(1 + room / REMOVED_BYTES) {
                to.byte(tag::REMOVED);
                to.number(number as u64);
                to.bytes(&key.to_bytes());
            }
            if table.has_removed() {
                return true;
            }
            while let Some((slot, how)) = table.next_change() {
                write_token(number, table, slot, how, now, &mut self.packer, &mut to);
                if to.0.len() - start > BYTES_MAX {
                    return true;
                }
            }
        }
        false
    }

    /// Leaves what changed unwritten.
    pub fn forget_changes(&mut self) {
        self.context.names.take_news(&mut |_, _| {});
        self.reported_fresh.take_news().for_each(drop);
        self.tables
            .iter_mut()
            .flatten()
            .for_each(Table::forget_changes);
    }

    /// Appends the records that a new journal begins with; the other ones follow by
    /// [`Detector::write_some`].
    pub fn begin_journal(&mut self, head: Head, out: &mut Vec<u8>) -> Progress {
        let mut to = Writer(out);
        to.byte(tag::HEAD);
        to.bytes(&self.hash_key());
        to.bytes(&head.observation_start.as_micros().to_le_bytes());
        to.number(self.context.profiles.len() as u64);
        for profile in &self.context.profiles {
            to.number(profile.name.len() as u64);
            to.bytes(profile.name.as_bytes());
        }
        self.write_clock(head.connection, out);
        let mut to = Writer(out);
        for born in self.reported_fresh.all() {
            to.byte(tag::REPORTED);
            to.number(born);
        }
        self.tables.iter_mut().flatten().for_each(Table::begin_walk);
        Progress {
            latest: self.context.now,
            at: Part::Names {
                sort: Sort::Space,
                from: 0,
            },
        }
    }

    /// Appends records of some of the names and tokens that there are, about `max` bytes or less but
    /// at least one step's; returns whether there are more.
    pub fn write_some(
        &mut self,
        progress: &mut Progress,
        connection: u64,
        max: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        self.write_clock(connection, out);
        // Not counting the clock: whatever `max` is, each call comes further.
        let end = out.len() + max.max(1);
        while out.len() < end {
            progress.at = match progress.at {
                Part::Names { sort, from } => {
                    let mut to = Writer(out);
                    let tell = &mut |id, name: &str| write_name(id, name, &mut to);
                    match (
                        self.context.names.tell_some(sort, from, NAMES_MAX, tell),
                        sort,
                    ) {
                        (Some(from), sort) => Part::Names { sort, from },
                        (None, Sort::Space) => Part::Names {
                            sort: Sort::Sender,
                            from: 0,
                        },
                        (None, Sort::Sender) => Part::Tokens { table: 0 },
                    }
                }
                Part::Tokens { table } if table == self.tables.len() => Part::Done,
                Part::Tokens { table } => self.write_tokens(table, progress.latest, end, out),
                Part::Done => return false,
            };
        }
        true
    }

    fn write_tokens(
        &mut self,
        number: usize,
        latest: Timestamp,
        end: usize,
        out: &mut Vec<u8>,
    ) -> Part {
        let mut to = Writer(out);
        if let Some(table) = &mut self.tables[number] {
            while let Some(slot) = table.next_of_walk(latest) {
                let (now, packer) = (self.context.now, &mut self.packer);
                write_token(number, table, slot, How::Base, now, packer, &mut to);
                if to.0.len() >= end {
                    return Part::Tokens { table: number };
                }
            }
        }
        Part::Tokens { table: number + 1 }
    }

    fn write_clock(&self, connection: u64, out: &mut Vec<u8>) {
        let mut to = Writer(out);
        to.byte(tag::CLOCK);
        to.bytes(&self.context.now.as_micros().to_le_bytes());
        to.number(self.context.order);
        to.number(self.context.next_finding);
        to.number(connection);
    }

    /// All tokens that there are.
    pub fn token_count(&self) -> usize {
        let ids = (0..self.context.profiles.len()).map(ProfileId);
        ids.map(|id| self.counts(id).iter().sum::<usize>()).sum()
    }
}

fn write_token(
    number: usize,
    table: &Table,
    slot: Slot,
    how: How,
    now: Timestamp,
    packer: &mut Packer,
    to: &mut Writer<'_>,
) {
    let (key, last_seen) = table.identity(slot);
    to.byte(match how {
        How::Seen => tag::SEEN,
        How::Changed => tag::CHANGED,
        How::Base => tag::BASE,
    });
    to.number(number as u64);
    to.bytes(&key.to_bytes());
    to.signed(now.as_micros().wrapping_sub(last_seen.as_micros()));
    table.write_image(slot, packer, to);
}
