//! What is remembered of one token, and the status that follows from it (SPEC §3).

mod attempt;
mod bounds;
mod life;

use super::finding::Status;
use super::key::Key;
use super::names::NameId;
use super::text::Text;
use super::time::Timestamp;
use super::undecided::Place;

pub use attempt::{
    Attempt, Call, ClosedBy, Pointer, Prediction, Print, Progress, Raw, Units, Who, same,
};
pub use life::{Answer, Executed, History, Life, Note, Success};

/// Fingerprints of successes remembered per token.
pub const SUCCESSES_MAX: usize = 4;
/// Distinct fingerprints in starts that make a token hard-coded.
pub const HARD_CODED_AT: usize = 3;

/// A fingerprint seen in a start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub fp: Key,
    pub raw: Option<Raw>,
    /// Whether it counts towards a hard-coded token.
    pub counts: bool,
}

/// One remembered token, as it is while an event is judged; the table keeps it packed in between.
#[derive(Debug, PartialEq)]
pub struct Token {
    pub text: Text,
    pub api: NameId,
    pub scope: NameId,
    pub last_seen: Timestamp,
    /// As of the last event; see [`Token::derive_status`].
    pub status: Status,
    pub life: Life,
    /// Where it belongs among the undecided.
    pub place: Option<Place>,
    /// Whether it stands there: not if there was no room.
    pub placed: bool,
    /// In order of first appearance.
    pub calls: Vec<Call>,
    /// In order of first appearance.
    pub attempts: Vec<Attempt>,
    pub serials: u32,
    /// Fingerprints with which it succeeded in any lifecycle, and the attempts that first did.
    pub successes: Vec<Executed>,
    pub seen: Vec<Seen>,
    pub hard_coded_given: bool,
    /// Order of input of the event that added it: tells it from an earlier entry of the same token.
    pub born: u64,
}

impl Token {
    pub fn new(text: Text, api: NameId, scope: NameId, life: Life) -> Self {
        Self {
            text,
            api,
            scope,
            last_seen: life.first_start,
            status: Status::InFlight,
            born: life.order,
            life,
            place: None,
            placed: false,
            calls: Vec::new(),
            attempts: Vec::new(),
            serials: 0,
            successes: Vec::new(),
            seen: Vec::new(),
            hard_coded_given: false,
        }
    }

    /// Makes this another token, and keeps the memory of its lists.
    pub fn renew(&mut self, text: Text, api: NameId, scope: NameId, life: Life) {
        let Self {
            calls,
            attempts,
            successes,
            seen,
            ..
        } = self;
        calls.clear();
        attempts.clear();
        successes.clear();
        seen.clear();
        *self = Self {
            calls: std::mem::take(calls),
            attempts: std::mem::take(attempts),
            successes: std::mem::take(successes),
            seen: std::mem::take(seen),
            ..Self::new(text, api, scope, life)
        };
    }

    pub fn serial(&mut self) -> u32 {
        self.serials += 1;
        self.serials
    }

    pub fn call(&self, serial: u32) -> Option<&Call> {
        self.calls.iter().find(|call| call.serial == serial)
    }

    pub fn call_mut(&mut self, serial: u32) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.serial == serial)
    }

    /// The remembered call of this client and id.
    pub fn find_call(&self, client: Option<NameId>, id: &str) -> Option<u32> {
        let mut calls = self.calls.iter().filter(|call| call.client == client);
        calls
            .find(|call| call.id.as_ref().is_some_and(|own| own.is(id)))
            .map(|call| call.serial)
    }

    pub fn find_attempt(&self, call: u32, number: u64) -> Option<usize> {
        self.attempts
            .iter()
            .position(|attempt| attempt.named && attempt.call == call && attempt.number == number)
    }

    pub fn position(&self, serial: u32) -> Option<usize> {
        self.attempts
            .iter()
            .position(|attempt| attempt.serial == serial)
    }

    /// The attempt with the highest number of a call.
    pub fn last_attempt(&self, call: u32) -> Option<usize> {
        let of_call = self
            .attempts
            .iter()
            .enumerate()
            .filter(|(_, attempt)| attempt.call == call);
        of_call
            .max_by_key(|(_, attempt)| attempt.number)
            .map(|(index, _)| index)
    }

    /// The call id that the attempt's event gave.
    pub fn call_id(&self, attempt: &Attempt) -> Option<&Text> {
        let call = self.call(attempt.call).filter(|_| attempt.named);
        call.and_then(|call| call.id.as_ref())
    }

    /// Of the attempts that may hold the token against `client`: the oldest open one of another
    /// client, else the oldest.
    pub fn holder(
        &self,
        client: Option<NameId>,
        may_hold: impl Fn(&Attempt) -> bool,
    ) -> Option<Who> {
        let holders = || {
            self.attempts
                .iter()
                .enumerate()
                .filter(|(_, attempt)| may_hold(attempt))
        };
        let foreign = holders().find(|(_, attempt)| attempt.is_open() && attempt.client != client);
        let holder = foreign.or_else(|| holders().min_by_key(|(_, attempt)| attempt.start));
        holder.map(|(index, _)| self.who(index))
    }

    pub fn who(&self, index: usize) -> Who {
        let attempt = &self.attempts[index];
        Who {
            client: attempt.client,
            call: self.call_id(attempt).cloned(),
            attempt: attempt.number,
            since: attempt.start,
            trace: attempt.trace,
            serial: attempt.serial,
        }
    }

    /// Whether [`Token::who`] of this attempt is `who`.
    pub fn is_who(&self, index: usize, who: &Who) -> bool {
        let attempt = &self.attempts[index];
        attempt.serial == who.serial
            && attempt.client == who.client
            && self.call_id(attempt) == who.call.as_ref()
            && attempt.number == who.attempt
            && attempt.start == who.since
            && attempt.trace == who.trace
    }

    /// Whether an attempt is its lifecycle's request, as far as is known.
    pub fn is_same_request(&self, attempt: &Attempt) -> bool {
        match attempt.life == self.life.number {
            true => same(attempt.print.fp, self.life.fp()),
            false => !attempt.was_other,
        }
    }

    /// Begins a new lifecycle. What came before keeps what its own lifecycle said of it.
    pub fn begin_anew(&mut self, now: Timestamp, order: u64) {
        for index in 0..self.attempts.len() {
            self.attempts[index].was_other = !self.is_same_request(&self.attempts[index]);
        }
        self.life = Life::new(self.life.number + 1, now, order);
    }

    /// Attempts of the current lifecycle.
    pub fn current(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts
            .iter()
            .filter(|attempt| attempt.life == self.life.number)
    }

    /// The status, in the precedence of SPEC §3.
    pub fn derive_status(&self) -> Status {
        if self.life.success.is_some() {
            Status::Succeeded
        } else if self.current().any(Attempt::is_open) {
            Status::InFlight
        } else if self.life.forgotten_unresolved || self.current().any(Attempt::is_unresolved) {
            Status::Unknown
        } else {
            match self.life.answer {
                Some(Answer::Cancelled) => Status::Cancelled,
                Some(Answer::Rejected) => Status::Rejected,
                // Mismatches alone, or nothing that was this request at all.
                None => Status::Rejected,
            }
        }
    }

    /// Makes its place the one where it belongs.
    pub fn take_place(&mut self) {
        self.place = self.undecided_place();
        self.placed = self.place.is_some();
    }

    /// Where it belongs among the undecided by its status, if its request is known.
    pub fn undecided_place(&self) -> Option<Place> {
        let undecided = matches!(self.status, Status::InFlight | Status::Unknown);
        let request = self.life.fp().filter(|_| undecided)?;
        Some(Place {
            request,
            first_start: self.life.first_start,
            order: self.life.order,
        })
    }

    /// Rejected for nothing but mismatches: the token is bound to another sender's request.
    pub fn is_bound_elsewhere(&self) -> bool {
        self.status == Status::Rejected && self.life.answer.is_none() && self.life.mismatch_seen
    }

    /// Records a fingerprint seen in a start. At most [`HARD_CODED_AT`] that count are kept, and
    /// one that does not.
    pub fn see(&mut self, print: &Print, counts: bool) {
        let Some(fp) = print.fp else { return };
        let kept = |counts| {
            self.seen
                .iter()
                .filter(|seen| seen.counts == counts)
                .count()
        };
        let (counted, others) = (kept(true), kept(false));
        let room = if counts {
            counted < HARD_CODED_AT
        } else {
            others < 1
        };
        match self.seen.iter_mut().find(|seen| seen.fp == fp) {
            Some(seen) => {
                seen.counts |= counts && room;
                seen.raw = seen.raw.or(print.raw);
            }
            None if room => {
                let raw = print.raw;
                self.seen.push(Seen { fp, raw, counts });
            }
            None => {}
        }
    }

    /// The fingerprints that an attempt's refusal is held against: the lifecycle's, unless it is the
    /// attempt's own, and those seen in starts and successes.
    pub fn prints_besides<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> impl Iterator<Item = (Key, Option<Raw>)> {
        let given =
            self.life.print.iter().filter(|(_, who)| {
                who.serial != attempt.serial && attempt.life == self.life.number
            });
        let given = given.map(|(print, _)| print);
        let prints = given.chain(self.successes.iter().map(|success| &success.print));
        let prints = prints.filter_map(|print| Some((print.fp?, print.raw)));
        prints.chain(self.seen.iter().map(|seen| (seen.fp, seen.raw)))
    }

    /// Whether enough distinct requests used this token.
    pub fn is_hard_coded(&self) -> bool {
        self.seen.iter().filter(|seen| seen.counts).count() >= HARD_CODED_AT
    }

    /// The earlier execution of an attempt's request. A replay that was answered while the attempt
    /// was under way executed nothing: the answers came back in the other order.
    pub fn executed_before(&self, attempt: &Attempt) -> Option<&Executed> {
        self.successes.iter().find(|success| {
            let equal = same(success.print.fp, attempt.print.fp);
            let before = success.replayed.is_none_or(|answer| match attempt.order {
                Some(start) => answer < start,
                None => success.at <= attempt.start,
            });
            equal && before
        })
    }

    /// Remembers that an attempt, which is closed, succeeded.
    pub fn record_success(&mut self, index: usize) {
        let attempt = &self.attempts[index];
        let Progress::Closed { at, order, .. } = attempt.progress else {
            return;
        };
        let replayed = (attempt.units == Units::Read).then_some(order);
        let room = self.successes.len() < SUCCESSES_MAX;
        let same = |own: &&mut Executed| own.print.fp == attempt.print.fp;
        match self.successes.iter_mut().find(same) {
            Some(known) => {
                known.replayed = known.replayed.filter(|_| replayed.is_some());
                known.print.raw = known.print.raw.or(attempt.print.raw);
            }
            None if room => {
                let (print, who) = (attempt.print, self.who(index));
                self.successes.push(Executed {
                    print,
                    who,
                    at,
                    replayed,
                });
            }
            None => {}
        }
    }

    /// The oldest attempt of the lifecycle whose outcome is open, and the token: what a fresh token
    /// for the same request points at.
    pub fn unresolved(&self) -> Pointer {
        let waits = |attempt: &&Attempt| attempt.is_open() || attempt.is_unresolved();
        let oldest = self
            .current()
            .filter(waits)
            .min_by_key(|attempt| attempt.start);
        let oldest = oldest.and_then(|attempt| self.position(attempt.serial));
        Pointer {
            holder: oldest.map(|index| self.who(index)),
            token: Some(self.text.clone()),
        }
    }

    /// Calls `mark` with every name the token uses.
    pub fn mark_names(&self, mark: &mut dyn FnMut(NameId)) {
        let printed = self.life.print.iter().map(|(_, who)| who);
        let succeeded = self.life.success.iter().map(|success| &success.who);
        let noted = self.life.note.iter().map(|note| &note.who);
        let before = self.successes.iter().map(|success| &success.who);
        let who = printed
            .chain(succeeded)
            .chain(noted)
            .chain(before)
            .filter_map(|who| who.client);
        let calls = self.calls.iter().filter_map(|call| call.client);
        who.chain(calls)
            .chain([self.api, self.scope])
            .chain(self.life.history.last_error)
            .for_each(mark);
    }
}
