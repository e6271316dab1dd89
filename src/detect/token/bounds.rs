//! What a token forgets when it becomes too long.

use super::{Call, Note, Progress, Token};
use crate::detect::finding::Gap;
use crate::detect::leases::LeaseId;
use crate::detect::text::{ALLOCATION, Text};
use crate::detect::{ATTEMPTS_MAX, CALLS_MAX, OPEN_ATTEMPTS_MAX};

/// Attempts, calls and verdicts that a small token has room for.
const SMALL_MAX: usize = 4 * CALLS_MAX;

impl Token {
    /// Bytes that it takes with its lists, which keep the room that they once needed.
    pub fn bytes(&self) -> usize {
        let call_ids = self.calls.iter().filter_map(|call| call.id.as_ref());
        let given = self.life.print.iter().map(|(_, who)| who);
        let succeeded = self.life.success.iter().map(|success| &success.who);
        let before = self.successes.iter().map(|success| &success.who);
        let note = self.life.note.as_deref();
        let who = given.chain(succeeded).chain(before);
        let who = who.chain(note.map(|note| &note.who));
        let texts = call_ids.chain(who.filter_map(|who| who.call.as_ref()));
        let texts = texts.chain([&self.text]).chain(note.map(|note| &note.text));
        let note = note.map_or(0, |_| size_of::<Note>() + ALLOCATION);
        let lists = room(&self.calls)
            + room(&self.attempts)
            + room(&self.successes)
            + room(&self.seen)
            + room(&self.life.history.marks);
        size_of::<Self>() + ALLOCATION + lists + note + texts.map(Text::heap_bytes).sum::<usize>()
    }

    /// Whether its lists have no more room than those of a token with a few calls need.
    pub fn is_small(&self) -> bool {
        let lengths = self.attempts.capacity() + self.calls.capacity();
        lengths + self.life.history.marks.capacity() <= SMALL_MAX
    }

    /// Whether [`Token::enforce_bounds`] may have something to do.
    pub fn is_crowded(&self) -> bool {
        self.calls.len() > CALLS_MAX || self.attempts.len() > ATTEMPTS_MAX
    }

    /// Forgets what exceeds the bounds: closed calls beyond the [`CALLS_MAX`] most recent, calls
    /// beyond [`OPEN_ATTEMPTS_MAX`] open attempts, closed attempts beyond [`ATTEMPTS_MAX`]. Calls
    /// `gap` for each and hands back the leases that were open.
    pub fn enforce_bounds(&mut self, mut gap: impl FnMut(Gap), mut close: impl FnMut(LeaseId)) {
        while self
            .attempts
            .iter()
            .filter(|attempt| attempt.is_open())
            .count()
            > OPEN_ATTEMPTS_MAX
        {
            let open = |call: &Call| {
                self.attempts
                    .iter()
                    .any(|a| a.call == call.serial && a.is_open())
            };
            let Some(oldest) = self.calls.iter().position(open) else {
                break;
            };
            self.forget_call(oldest, &mut close);
            gap(Gap::OpenAttemptsOverflow);
        }
        let mut index = 0;
        while self.calls.len() - index > CALLS_MAX {
            let serial = self.calls[index].serial;
            if self
                .attempts
                .iter()
                .any(|attempt| attempt.call == serial && attempt.is_open())
            {
                index += 1;
            } else {
                self.forget_call(index, &mut close);
                gap(Gap::CallsOverflow);
            }
        }
        while self.attempts.len() > ATTEMPTS_MAX {
            let Some(oldest) = self.attempts.iter().position(|attempt| !attempt.is_open()) else {
                break;
            };
            self.forget_attempt(oldest, &mut close);
            gap(Gap::CallsOverflow);
        }
    }

    fn forget_call(&mut self, index: usize, close: &mut impl FnMut(LeaseId)) {
        let call = self.calls.remove(index);
        while let Some(attempt) = self
            .attempts
            .iter()
            .position(|attempt| attempt.call == call.serial)
        {
            self.forget_attempt(attempt, close);
        }
    }

    /// Forgets an attempt; that its outcome is unknown is not forgotten.
    fn forget_attempt(&mut self, index: usize, close: &mut impl FnMut(LeaseId)) {
        let attempt = self.attempts.remove(index);
        if attempt.is_unresolved() && attempt.life == self.life.number {
            self.life.forgotten_unresolved = true;
        }
        if let Progress::Open(lease) = attempt.progress {
            close(lease);
        }
    }
}

/// Bytes of a list.
fn room<T>(list: &Vec<T>) -> usize {
    match list.capacity() {
        0 => 0,
        capacity => capacity * size_of::<T>() + ALLOCATION,
    }
}
