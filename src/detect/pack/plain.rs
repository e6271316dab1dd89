//! A token with one call and one attempt in 80 bytes.

mod direct;
mod image;

use crate::detect::finding::Status;
use crate::detect::key::Key;
use crate::detect::leases::LeaseId;
use crate::detect::names::{NameId, Sort};
use crate::detect::pack::Brief;
use crate::detect::profile::Class;
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::token::{
    Answer, Attempt, Call, ClosedBy, Executed, Life, Print, Progress, Raw, Seen, Success, Token,
    Units,
};
use crate::detect::undecided::Place;
use crate::detect::verdict::Verdict;

/// A token that was used by one call with one attempt, open or closed, without a trace, in its first
/// lifecycle.
///
/// One thing is not kept: the order of input of the attempt's end. It comes back as the one after
/// the start's, or, of an end without a start, as that of the first event, which it was. Nobody can
/// tell: it is compared with the orders of other inputs about this token only, of which the start was
/// before it and all others come after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plain {
    text: [u8; 16],
    call: [u8; 16],
    fp: Key,
    raw: u64,
    /// Order of input of the first event, and in the lowest 16 bits the client's number, from 1.
    order_and_client: u64,
    /// From the lifecycle's start to the last sighting, in microseconds: at most 71 minutes.
    age: u32,
    /// The number of the lease of an open attempt; when a closed one ended, in microseconds after
    /// its start.
    progress: u32,
    flags: Flags,
    /// Class of the call's own end.
    ended: Option<Class>,
    /// The attempt's number, and in the upper half the client's limit, 0 for none.
    numbers: u8,
    api: u8,
    scope: u8,
}

/// Small fields side by side in 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags(u32);

/// A field of [`Flags`]: its first bit and how many it has.
type Field = (u32, u32);

const TEXT_FORM: Field = (0, 5);
const CALL_FORM: Field = (5, 5);
const ANSWER: Field = (10, 2);
const MISMATCH_SEEN: Field = (12, 1);
const REPORTED: Field = (13, 1);
const SUCCESS: Field = (14, 1);
const FP: Field = (15, 1);
const RAW: Field = (16, 1);
const COUNTED: Field = (17, 1);
const BEGUN: Field = (18, 1);
const START_SEEN: Field = (19, 1);
const END_SEEN: Field = (20, 1);
const UNITS: Field = (21, 2);
const OPEN: Field = (23, 1);
const CLOSED_BY: Field = (24, 3);
const CLASS: Field = (27, 3);
const RESOLVED: Field = (30, 1);
const EXECUTED: Field = (31, 1);

/// Form of the call id of a call without one.
const NO_CALL_ID: u32 = 31;
const ORDER_MAX: u64 = (1 << 48) - 1;
/// Serial numbers of the one call and the one attempt.
const CALL_SERIAL: u32 = 1;
pub const ATTEMPT_SERIAL: u32 = 2;

impl Flags {
    fn set(&mut self, (first, _): Field, value: u32) {
        self.0 |= value << first;
    }

    fn clear(&mut self, (first, bits): Field) {
        self.0 &= !(((1 << bits) - 1) << first);
    }

    fn get(self, (first, bits): Field) -> u32 {
        self.0 >> first & ((1 << bits) - 1)
    }

    fn is(self, field: Field) -> bool {
        self.get(field) != 0
    }
}

impl Plain {
    /// Packs a token that fits.
    pub fn pack(token: &Token) -> Option<Self> {
        let ([call], [attempt]) = (&token.calls[..], &token.attempts[..]) else {
            return None;
        };
        if !is_plain(token, call, attempt) {
            return None;
        }
        let mut flags = pack_life(token, attempt)?;
        flags.set(COUNTED, u32::from(call.counted));
        let (text_form, text) = token.text.compact()?;
        flags.set(TEXT_FORM, u32::from(text_form));
        let (call_form, call_id) = match &call.id {
            None => (NO_CALL_ID, [0; 16]),
            Some(id) => id.compact().map(|(form, id)| (u32::from(form), id))?,
        };
        flags.set(CALL_FORM, call_form);
        Some(Self {
            text,
            call: call_id,
            fp: attempt.print.fp.unwrap_or_default(),
            raw: attempt.print.raw.map_or(0, |raw| raw.0),
            order_and_client: order_and_client(token.born, call.client)?,
            age: micros(token.life.first_start, token.last_seen)?,
            progress: match attempt.progress {
                Progress::Open(lease) => lease.0,
                Progress::Closed { at, .. } => micros(attempt.start, at)?,
            },
            flags,
            ended: call.ended,
            numbers: numbers(attempt.number, call.max_attempts)?,
            api: token.api.small(255)? as u8,
            scope: token.scope.small(255)? as u8,
        })
    }

    /// Makes `token` the one that was packed, seen last at `last_seen`.
    pub fn unpack(&self, last_seen: Timestamp, token: &mut Token) {
        let is = |field| self.flags.is(field);
        let start = self.first_start(last_seen);
        let order = self.order_and_client >> 16;
        let life = Life::new(1, start, order);
        token.renew(self.text(), self.api(), self.scope(), life);
        token.calls.push(self.unpack_call());
        token.attempts.push(self.unpack_attempt(start, order));
        token.serials = ATTEMPT_SERIAL;
        let attempt = &token.attempts[0];
        let (print, closed) = (attempt.print, attempt.progress);
        let who = token.who(0);
        token.life.answer = match self.flags.get(ANSWER) {
            0 => None,
            1 => Some(Answer::Cancelled),
            _ => Some(Answer::Rejected),
        };
        token.life.mismatch_seen = is(MISMATCH_SEEN);
        token.life.reported = is(REPORTED);
        if let Progress::Closed { at, order, .. } = closed {
            token.life.success = is(SUCCESS).then(|| Success {
                at,
                who: who.clone(),
            });
            if is(EXECUTED) {
                token.successes.push(Executed {
                    print,
                    who: who.clone(),
                    at,
                    replayed: (token.attempts[0].units == Units::Read).then_some(order),
                });
            }
        }
        if let Some(fp) = print.fp {
            token.life.print = Some((print, who));
            if is(START_SEEN) {
                token.seen.push(Seen {
                    fp,
                    raw: print.raw,
                    counts: true,
                });
            }
        }
        token.status = self.status();
        token.take_place();
    }

    /// What [`Token::derive_status`] says of it.
    pub fn status(&self) -> Status {
        let class = Class::ALL[self.flags.get(CLASS) as usize];
        if self.flags.is(SUCCESS) {
            Status::Succeeded
        } else if self.flags.is(OPEN) {
            Status::InFlight
        } else if class.is_ambiguous() && !self.flags.is(RESOLVED) {
            Status::Unknown
        } else if self.flags.get(ANSWER) == 1 {
            Status::Cancelled
        } else {
            Status::Rejected
        }
    }

    /// Whether it has neither a lease nor a place among the undecided.
    pub fn is_settled(&self) -> bool {
        !self.flags.is(OPEN) && self.status() != Status::Unknown
    }

    /// Whether it has a place among the undecided.
    pub fn is_undecided(&self) -> bool {
        let undecided = matches!(self.status(), Status::InFlight | Status::Unknown);
        undecided && self.flags.is(FP)
    }

    /// Its place among the undecided, if it was seen last at `last_seen`.
    pub fn place(&self, last_seen: Timestamp) -> Option<Place> {
        self.is_undecided().then(|| Place {
            request: self.fp,
            first_start: self.first_start(last_seen),
            order: self.order_and_client >> 16,
        })
    }

    /// Calls `mark` with every name it uses.
    pub fn mark_names(&self, mark: &mut dyn FnMut(NameId)) {
        let spaces = [self.api(), self.scope()];
        spaces.into_iter().chain(self.client()).for_each(mark);
    }

    /// What it is found by, if it was seen last at `last_seen`.
    pub fn brief(&self, last_seen: Timestamp) -> Brief {
        Brief {
            api: self.api(),
            text: self.text(),
            first_start: self.first_start(last_seen),
            attempt_count: 1,
        }
    }

    fn first_start(&self, last_seen: Timestamp) -> Timestamp {
        Timestamp::from_micros(last_seen.as_micros() - i64::from(self.age))
    }

    fn text(&self) -> Text {
        Text::from_compact(self.flags.get(TEXT_FORM) as u8, self.text)
    }

    fn api(&self) -> NameId {
        NameId::from_small(Sort::Space, u32::from(self.api))
    }

    fn scope(&self) -> NameId {
        NameId::from_small(Sort::Space, u32::from(self.scope))
    }

    fn client(&self) -> Option<NameId> {
        let number = (self.order_and_client & 0xffff) as u32;
        Some(NameId::from_small(Sort::Sender, number.checked_sub(1)?))
    }

    fn unpack_call(&self) -> Call {
        let number = u64::from(self.numbers & 15);
        let id = Some(self.flags.get(CALL_FORM)).filter(|form| *form != NO_CALL_ID);
        Call {
            serial: CALL_SERIAL,
            client: self.client(),
            id: id.map(|form| Text::from_compact(form as u8, self.call)),
            max_attempts: Some(u64::from(self.numbers >> 4)).filter(|limit| *limit > 0),
            counted: self.flags.is(COUNTED),
            ended: self.ended,
            remote_given: false,
            first_seen: number == 1,
            last_number: number,
        }
    }

    fn unpack_attempt(&self, start: Timestamp, order: u64) -> Attempt {
        let is = |field| self.flags.is(field);
        Attempt {
            serial: ATTEMPT_SERIAL,
            call: CALL_SERIAL,
            client: self.client(),
            number: u64::from(self.numbers & 15),
            named: self.flags.get(CALL_FORM) != NO_CALL_ID,
            life: 1,
            life_start: start,
            was_other: false,
            start,
            order: is(BEGUN).then_some(order),
            print: Print {
                fp: is(FP).then_some(self.fp),
                raw: is(RAW).then_some(Raw(self.raw)),
            },
            trace: None,
            verdict: is(BEGUN).then_some(Verdict::FirstUse),
            prediction: None,
            start_seen: is(START_SEEN),
            end_seen: is(END_SEEN),
            units: Units::ALL[self.flags.get(UNITS) as usize],
            progress: if is(OPEN) {
                Progress::Open(LeaseId(self.progress))
            } else {
                Progress::Closed {
                    by: ClosedBy::ALL[self.flags.get(CLOSED_BY) as usize],
                    class: Class::ALL[self.flags.get(CLASS) as usize],
                    at: Timestamp::from_micros(start.as_micros() + i64::from(self.progress)),
                    order: order + u64::from(is(BEGUN)),
                    resolved: is(RESOLVED),
                }
            },
        }
    }
}

/// Whether what [`Plain`] has no room for is as it supposes.
fn is_plain(token: &Token, call: &Call, attempt: &Attempt) -> bool {
    let (life, history) = (&token.life, &token.life.history);
    let nothing_waits = !history.pending
        && !history.queued
        && history.marks.is_empty()
        && history.last_error.is_none()
        && history.handed_out.is_none()
        && life.note.is_none()
        && life.trace.is_none();
    let first_life = life.number == 1 && token.born == life.order && !life.forgotten_unresolved;
    let one_call = token.serials == ATTEMPT_SERIAL
        && call.serial == CALL_SERIAL
        && !call.remote_given
        && call.first_seen == (attempt.number == 1)
        && call.last_number == attempt.number;
    let one_attempt = attempt.serial == ATTEMPT_SERIAL
        && attempt.call == CALL_SERIAL
        && attempt.client == call.client
        && attempt.named == call.id.is_some()
        && attempt.life == 1
        && attempt.life_start == life.first_start
        && attempt.start == life.first_start
        && !attempt.was_other
        && attempt.trace.is_none()
        && attempt.prediction.is_none();
    let begun = match attempt.verdict {
        None => attempt.order.is_none(),
        Some(verdict) => {
            verdict == Verdict::FirstUse && attempt.order == Some(life.order) && attempt.start_seen
        }
    };
    nothing_waits
        && first_life
        && one_call
        && one_attempt
        && begun
        && !token.hard_coded_given
        && token.status == token.derive_status()
        && token.place == token.undecided_place()
        && token.placed == token.place.is_some()
}

/// What of the lifecycle is not the same in all plain tokens; `None` if it is not as supposed.
fn pack_life(token: &Token, attempt: &Attempt) -> Option<Flags> {
    let (life, print) = (&token.life, attempt.print);
    let mut flags = Flags::default();
    let mut ended = None;
    if let Progress::Closed {
        by,
        class,
        at,
        order,
        resolved,
    } = attempt.progress
    {
        flags.set(CLOSED_BY, by as u32);
        flags.set(CLASS, class as u32);
        flags.set(RESOLVED, u32::from(resolved));
        ended = Some((at, order));
    } else {
        flags.set(OPEN, 1);
    }
    let own = |who| token.is_who(0, who);
    if let Some(success) = &life.success {
        let at = ended.map(|(at, _)| at);
        (own(&success.who) && Some(success.at) == at).then_some(())?;
        flags.set(SUCCESS, 1);
    }
    match &token.successes[..] {
        [] => {}
        [one] => {
            let (at, order) = ended?;
            let replayed = (attempt.units == Units::Read).then_some(order);
            let usual = one.print == print && own(&one.who) && one.at == at;
            (usual && one.replayed == replayed).then_some(())?;
            flags.set(EXECUTED, 1);
        }
        _ => return None,
    }
    let learnt = match &life.print {
        None => print.fp.is_none(),
        Some((learnt, who)) => print.fp.is_some() && *learnt == print && own(who),
    };
    let shown = match &token.seen[..] {
        [] => print.fp.is_none() || !attempt.start_seen,
        [one] => {
            let print_of_it = (Some(one.fp), one.raw) == (print.fp, print.raw);
            print_of_it && one.counts && attempt.start_seen
        }
        _ => false,
    };
    (learnt && shown).then_some(())?;
    flags.set(
        ANSWER,
        match life.answer {
            None => 0,
            Some(Answer::Cancelled) => 1,
            Some(Answer::Rejected) => 2,
        },
    );
    flags.set(MISMATCH_SEEN, u32::from(life.mismatch_seen));
    flags.set(REPORTED, u32::from(life.reported));
    flags.set(FP, u32::from(print.fp.is_some()));
    flags.set(RAW, u32::from(print.raw.is_some()));
    flags.set(BEGUN, u32::from(attempt.order.is_some()));
    flags.set(START_SEEN, u32::from(attempt.start_seen));
    flags.set(END_SEEN, u32::from(attempt.end_seen));
    flags.set(UNITS, attempt.units as u32);
    Some(flags)
}

fn order_and_client(order: u64, client: Option<NameId>) -> Option<u64> {
    let client = match client {
        None => 0,
        Some(id) => id.small(0xfffe)? + 1,
    };
    (order <= ORDER_MAX).then_some(order << 16 | u64::from(client))
}

fn numbers(attempt: u64, limit: Option<u64>) -> Option<u8> {
    let usual = attempt <= 15 && limit.is_none_or(|limit| (1..=15).contains(&limit));
    usual.then(|| (limit.unwrap_or_default() << 4 | attempt) as u8)
}

/// From `start` to `end`, if that is not before it and fits.
fn micros(start: Timestamp, end: Timestamp) -> Option<u32> {
    let micros = end.as_micros().checked_sub(start.as_micros())?;
    u32::try_from(micros).ok()
}
