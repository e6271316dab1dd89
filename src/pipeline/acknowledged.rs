//! The numbered lines of acknowledged sessions (SPEC §2): each is judged once, however often it is
//! sent.

use std::sync::MutexGuard;

use super::sessions::{Session, Thread};
use super::{Desk, Pipeline};
use crate::detect::event::{DecodeError, Event, Reason};
use crate::detect::finding::Gap;
use crate::detect::time::Timestamp;
use crate::detect::{ConnectionId, Source};

impl Pipeline {
    /// Takes a connection, whose first line will have the number `first`, into its session.
    pub fn join(&self, session: Session, first: u64, own: ConnectionId, now: Timestamp) -> Thread {
        let mut desk = self.open(now);
        // The lines come as those of the session's first connection, but another process must not
        // give this number to somebody else either.
        desk.saw_connection(own);
        desk.sessions.join(session, first, own, now)
    }

    /// As [`Self::process`], for numbered lines; one that ingest gave up has its place among them.
    /// Those that the session has had are counted and left out. Returns the number up to which it
    /// has been read, and that may be acknowledged: what these lines did is done.
    pub fn process_numbered<'a>(
        &self,
        lines: impl Iterator<Item = (u64, Result<&'a [u8], DecodeError>)>,
        source: Source<'_>,
        thread: &Thread,
        now: Timestamp,
        mut rejected: impl FnMut(DecodeError),
    ) -> u64 {
        let mut turn = self.turn(thread, now);
        for (number, line) in lines {
            if number <= turn.read {
                self.metrics.reject(Reason::Duplicate);
                continue;
            }
            turn.read = number;
            turn.advanced = true;
            match line.and_then(Event::decode) {
                Ok(event) => {
                    self.metrics.check_clock(event.at, now);
                    turn.desk.handle_event(&event, source, now, &self.metrics);
                    turn.judged = true;
                }
                Err(error) => {
                    let unkept = self.end_turn(turn, thread, now);
                    self.metrics.reject(error.reason);
                    rejected(error);
                    turn = self.turn(thread, now);
                    turn.advanced = unkept;
                }
            }
        }
        let read = turn.read;
        if self.end_turn(turn, thread, now) {
            // Lines that could not be used changed nothing but this; they are not to be counted again.
            let mut desk = self.open(now);
            desk.advance(thread, read);
            desk.keep();
        }
        read
    }

    /// Tells the detector that a session's connection closed, unless the session has another one.
    pub fn part(&self, thread: &Thread, now: Timestamp) {
        let mut desk = self.open(now);
        let parted = desk.sessions.part(thread, now);
        if parted.lost {
            self.metrics.gap(Gap::SessionsOverflow);
        }
        if parted.ends {
            self.orphan(desk, thread.joined.connection, now);
        }
    }

    fn turn(&self, thread: &Thread, now: Timestamp) -> Turn<'_> {
        let desk = self.open(now);
        Turn {
            read: desk.sessions.read(thread),
            advanced: false,
            judged: false,
            desk,
        }
    }

    /// Notes the position before the lock is left. If there was an event, it is also kept with what that
    /// changed; if not, returns whether there is a position to keep.
    fn end_turn(&self, turn: Turn<'_>, thread: &Thread, now: Timestamp) -> bool {
        let Turn {
            mut desk,
            read,
            advanced,
            judged,
        } = turn;
        if !judged {
            if advanced {
                desk.sessions.advance(thread, read);
            }
            return advanced;
        }
        desk.advance(thread, read);
        self.leave(Some(desk), now);
        false
    }
}

impl Desk {
    fn advance(&mut self, thread: &Thread, read: u64) {
        self.advanced = Some(self.sessions.advance(thread, read));
    }
}

/// One holding of the lock.
struct Turn<'a> {
    desk: MutexGuard<'a, Desk>,
    read: u64,
    advanced: bool,
    judged: bool,
}
