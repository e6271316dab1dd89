//! A packed token as bytes that outlive the process.
//!
//! Of an image nothing is believed: it makes a token only if that token would be written as the very
//! same bytes, and is within the bounds of one.

use super::bytes::{Reader, Writer, sign, unsign};
use super::{Packed, Packer, Plain, blank, long};
use crate::detect::finding::Mark;
use crate::detect::key::Key;
use crate::detect::names::NameId;
use crate::detect::time::Timestamp;
use crate::detect::token::{Note, SUCCESSES_MAX, Token, Who};
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;
use crate::detect::{ATTEMPTS_MAX, CALLS_MAX, OPEN_ATTEMPTS_MAX};

/// Forms of an image.
const PLAIN: u8 = 0;
const LONG: u8 = 1;
const WHOLE: u8 = 2;
/// Fingerprints of starts that a token remembers: those that count and one that does not.
const SEEN_MAX: usize = crate::detect::token::HARD_CODED_AT + 1;

impl Packer {
    /// Writes the image of a token that was seen last at `last_seen`.
    pub fn write_image(&mut self, packed: &Packed, last_seen: Timestamp, to: &mut Writer<'_>) {
        match packed {
            Packed::Plain(plain) => {
                to.byte(PLAIN);
                plain.write_image(to);
            }
            Packed::Long(kept) => {
                to.byte(LONG);
                self.cells.read(kept, &mut self.buffer);
                to.number(self.buffer.len() as u64);
                to.bytes(&self.buffer);
            }
            Packed::Whole(token) => {
                to.byte(WHOLE);
                self.buffer.clear();
                long::write(token, &mut self.buffer);
                to.number(self.buffer.len() as u64);
                to.bytes(&self.buffer);
                write_waiting(token, last_seen, to);
            }
            // Never between two inputs.
            Packed::Out(_) => to.byte(u8::MAX),
        }
    }

    /// The token of an image; `None`, and a spoilt reader, if it is none.
    pub fn read_image(&mut self, from: &mut Reader<'_>, last_seen: Timestamp) -> Option<Packed> {
        let packed = match from.byte() {
            PLAIN => Plain::read_image(from, last_seen).map(Packed::Plain),
            form @ (LONG | WHOLE) => self.read_long(form, from, last_seen),
            _ => None,
        };
        if packed.is_none() {
            from.spoil();
        }
        packed
    }

    fn read_long(&mut self, form: u8, from: &mut Reader<'_>, seen: Timestamp) -> Option<Packed> {
        let length = from.count();
        let bytes = from.bytes(length);
        let mut token = blank();
        let read = long::read(bytes, seen, &mut token) && is_bounded(&token);
        token.last_seen = seen;
        self.buffer.clear();
        long::write(&token, &mut self.buffer);
        if !read || self.buffer != bytes {
            return None;
        }
        if form == WHOLE {
            read_waiting(&mut token, from);
        }
        from.is_sound().then(|| self.pack(token))
    }

    /// Reads a token and leaves it.
    pub fn skip_image(&mut self, from: &mut Reader<'_>, last_seen: Timestamp) {
        if let Some(token) = self.read_image(from, last_seen) {
            self.discard(&token);
        }
    }

    /// Gives up a packed token that another image takes the place of.
    pub fn discard(&mut self, packed: &Packed) {
        match packed {
            Packed::Long(kept) => self.cells.free(kept),
            Packed::Whole(token) => self.whole_bytes -= token.bytes(),
            Packed::Plain(_) | Packed::Out(_) => {}
        }
    }
}

fn is_bounded(token: &Token) -> bool {
    token.attempts.len() <= ATTEMPTS_MAX
        && token.calls.len() <= CALLS_MAX + OPEN_ATTEMPTS_MAX
        && token.successes.len() <= SUCCESSES_MAX
        && token.seen.len() <= SEEN_MAX
}

/// What [`long::write`] leaves out: what is still to be handed out for a span, and the note about a
/// fresh token.
fn write_waiting(token: &Token, last_seen: Timestamp, to: &mut Writer<'_>) {
    let history = &token.life.history;
    to.byte(u8::from(history.pending) | u8::from(token.life.note.is_some()) << 1);
    to.number(history.marks.len() as u64);
    for mark in &history.marks {
        write_time(mark.at, last_seen, to);
        to.byte(mark.verdict as u8);
        write_trace(mark.holder, to);
    }
    if let Some(note) = token.life.note.as_deref() {
        to.bytes(&note.key.to_bytes());
        to.number(note.born);
        to.text(Some(&note.text));
        let who = &note.who;
        to.optional(who.client.map(|client| u64::from(client.to_bits())));
        to.text(who.call.as_ref());
        to.number(who.attempt);
        write_time(who.since, last_seen, to);
        write_trace(who.trace, to);
        to.number(u64::from(who.serial));
    }
}

fn read_waiting(token: &mut Token, from: &mut Reader<'_>) {
    let seen = token.last_seen;
    let flags = from.byte();
    token.life.history.pending = flags & 1 != 0;
    for _ in 0..from.count() {
        let at = read_time(seen, from);
        let verdict = usize::from(from.byte());
        token.life.history.marks.push(Mark {
            at,
            verdict: from.pick(&Verdict::ALL, verdict),
            holder: read_trace(from),
        });
    }
    if flags & 2 != 0 {
        token.life.note = Some(Box::new(Note {
            key: Key::from_bytes(from.array()),
            born: from.number(),
            text: from.text().unwrap_or_else(|| token.text.clone()),
            who: Who {
                client: from.optional().map(|bits| NameId::from_bits(bits as u32)),
                call: from.text(),
                attempt: from.number(),
                since: read_time(seen, from),
                trace: read_trace(from),
                serial: from.number() as u32,
            },
        }));
    }
}

/// A time as its distance from the last sighting.
fn write_time(time: Timestamp, last_seen: Timestamp, to: &mut Writer<'_>) {
    let distance = last_seen.as_micros().wrapping_sub(time.as_micros());
    to.number(unsign(distance));
}

fn read_time(last_seen: Timestamp, from: &mut Reader<'_>) -> Timestamp {
    let distance = sign(from.number());
    Timestamp::from_micros(last_seen.as_micros().wrapping_sub(distance))
}

/// A trace, or a zero.
pub fn write_trace(trace: Option<TraceContext>, to: &mut Writer<'_>) {
    to.byte(u8::from(trace.is_some()));
    if let Some(trace) = trace {
        to.bytes(&trace.trace_id);
        to.bytes(&trace.span_id);
        to.byte(trace.flags);
    }
}

pub fn read_trace(from: &mut Reader<'_>) -> Option<TraceContext> {
    (from.byte() != 0).then(|| TraceContext {
        trace_id: from.array(),
        span_id: from.array(),
        flags: from.byte(),
    })
}
