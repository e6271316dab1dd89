//! A token as bytes. What repeats (fingerprints, traces, who sent what) is written once.

use super::bytes::{Reader, Writer, sign, unsign};
use crate::detect::key::Key;
use crate::detect::leases::LeaseId;
use crate::detect::names::NameId;
use crate::detect::profile::Class;
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::token::{
    Answer, Attempt, Call, ClosedBy, Executed, Life, Prediction, Print, Progress, Raw, Seen,
    Success, Token, Units, Who,
};
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;

/// Writes a token that has nothing to hand out.
pub fn write(token: &Token, buffer: &mut Vec<u8>) {
    let mut to = Sink {
        out: Writer(buffer),
        token,
    };
    let life = &token.life;
    to.out.text(Some(&token.text));
    to.name(Some(token.api));
    to.name(Some(token.scope));
    to.out.number(life.order);
    to.time(life.first_start);
    to.out.number(u64::from(life.number));
    to.out.number(u64::from(token.serials));
    to.out.number(token.calls.len() as u64);
    for call in &token.calls {
        to.call(call);
    }
    to.out.number(token.attempts.len() as u64);
    for index in 0..token.attempts.len() {
        to.attempt(index);
    }
    to.life(life);
    let lists = token.successes.len() << 4 | token.seen.len();
    to.out.byte(lists as u8);
    for success in &token.successes {
        to.print(success.print, token.attempts.len());
        to.who(&success.who);
        to.time(success.at);
        to.optional_order(success.replayed);
    }
    for seen in &token.seen {
        let (fp, raw) = (Some(seen.fp), seen.raw);
        to.print(Print { fp, raw }, token.attempts.len());
        to.flags(&[seen.counts]);
    }
}

/// Makes `token` the one that was written, seen last at `last_seen`.
pub fn read(bytes: &[u8], last_seen: Timestamp, token: &mut Token) {
    let mut from = Source {
        input: Reader(bytes),
        last_seen,
        order: 0,
    };
    let text = from.input.text().unwrap_or_else(|| Text::new(""));
    let (api, scope) = (from.some_name(), from.some_name());
    from.order = from.input.number();
    let first_start = from.time();
    let number = from.input.number() as u32;
    token.renew(text, api, scope, Life::new(number, first_start, from.order));
    token.last_seen = last_seen;
    token.serials = from.input.number() as u32;
    for _ in 0..from.input.number() {
        token.calls.push(from.call());
    }
    for _ in 0..from.input.number() {
        let attempt = from.attempt(token);
        token.attempts.push(attempt);
    }
    from.life(token);
    let lists = from.input.byte();
    for _ in 0..lists >> 4 {
        let executed = Executed {
            print: from.print(&token.attempts),
            who: from.who(token),
            at: from.time(),
            replayed: from.optional_order(),
        };
        token.successes.push(executed);
    }
    for _ in 0..lists & 15 {
        let Print { fp, raw } = from.print(&token.attempts);
        let [counts, ..] = from.flags();
        let fp = fp.unwrap_or_default();
        token.seen.push(Seen { fp, raw, counts });
    }
    token.status = token.derive_status();
    token.place = token.undecided_place();
}

/// Times are written as the distance from the last sighting, orders from the lifecycle's.
struct Sink<'a> {
    out: Writer<'a>,
    token: &'a Token,
}

impl Sink<'_> {
    fn flags(&mut self, flags: &[bool]) {
        let bits = flags.iter().enumerate();
        self.out
            .byte(bits.fold(0, |byte, (bit, set)| byte | u8::from(*set) << bit));
    }

    fn time(&mut self, time: Timestamp) {
        let distance = self
            .token
            .last_seen
            .as_micros()
            .wrapping_sub(time.as_micros());
        self.out.signed(distance);
    }

    fn order(&mut self, order: u64) {
        self.out
            .signed(order.wrapping_sub(self.token.life.order) as i64);
    }

    fn optional_order(&mut self, order: Option<u64>) {
        let distance = order.map(|order| order.wrapping_sub(self.token.life.order) as i64);
        self.out.optional(distance.map(unsign));
    }

    fn name(&mut self, name: Option<NameId>) {
        self.out
            .optional(name.map(|name| u64::from(name.to_bits())));
    }

    fn call(&mut self, call: &Call) {
        self.out.number(u64::from(call.serial));
        self.name(call.client);
        self.out.text(call.id.as_ref());
        self.out.optional(call.max_attempts);
        self.flags(&[
            call.counted,
            call.remote_given,
            call.first_seen,
            call.ended.is_some(),
        ]);
        if let Some(class) = call.ended {
            self.out.byte(class as u8);
        }
        self.out.number(call.last_number);
    }

    fn attempt(&mut self, index: usize) {
        let attempt = &self.token.attempts[index];
        let same_start = attempt.start == attempt.life_start;
        let life = &self.token.life;
        let in_life = (attempt.life, attempt.life_start) == (life.number, life.first_start);
        let caller = self.token.call(attempt.call).map(|call| call.client);
        let is_callers = caller == Some(attempt.client);
        let (closed, resolved) = match attempt.progress {
            Progress::Open(_) => (false, false),
            Progress::Closed { resolved, .. } => (true, resolved),
        };
        self.flags(&[
            attempt.named,
            attempt.was_other,
            attempt.start_seen,
            attempt.end_seen,
            same_start,
            in_life,
            closed,
            resolved,
        ]);
        self.flags(&[
            is_callers,
            attempt.trace.is_some(),
            attempt.prediction.is_some(),
            attempt.verdict.is_some(),
            attempt.units == Units::Read,
            attempt.units == Units::Written,
        ]);
        self.out.number(u64::from(attempt.serial));
        self.out.number(u64::from(attempt.call));
        if !is_callers {
            self.name(attempt.client);
        }
        self.out.number(attempt.number);
        if !in_life {
            self.out.number(u64::from(attempt.life));
            self.time(attempt.life_start);
        }
        if !same_start {
            self.time(attempt.start);
        }
        self.optional_order(attempt.order);
        self.print(attempt.print, index);
        if let Some(trace) = attempt.trace {
            self.trace(trace, index);
        }
        if let Some(verdict) = attempt.verdict {
            self.out.byte(verdict as u8);
        }
        if let Some(prediction) = attempt.prediction {
            self.out.byte(prediction.verdict as u8);
            self.out.number(prediction.finding);
        }
        match attempt.progress {
            Progress::Open(lease) => self.out.number(u64::from(lease.0)),
            Progress::Closed {
                by,
                class,
                at,
                order,
                ..
            } => {
                self.out.byte((by as u8) << 4 | class as u8);
                self.time(at);
                self.order(order);
            }
        }
    }

    fn life(&mut self, life: &Life) {
        self.flags(&[
            life.success.is_some(),
            life.print.is_some(),
            life.answer == Some(Answer::Cancelled),
            life.answer == Some(Answer::Rejected),
            life.mismatch_seen,
            life.forgotten_unresolved,
            life.reported,
            life.history.queued,
        ]);
        self.flags(&[
            life.trace.is_some(),
            life.history.handed_out.is_some(),
            life.history.last_error.is_some(),
            self.token.born != life.order,
            self.token.hard_coded_given,
        ]);
        if let Some(success) = &life.success {
            self.time(success.at);
            self.who(&success.who);
        }
        if let Some((print, who)) = &life.print {
            self.print(*print, self.token.attempts.len());
            self.who(who);
        }
        if let Some(trace) = life.trace {
            self.trace(trace, self.token.attempts.len());
        }
        if let Some(order) = life.history.handed_out {
            self.order(order);
        }
        if let Some(error) = life.history.last_error {
            self.name(Some(error));
        }
        if self.token.born != life.order {
            self.order(self.token.born);
        }
    }

    /// A print: none, one of the first `known` attempts', or a new one.
    fn print(&mut self, print: Print, known: usize) {
        let flags = u8::from(print.fp.is_some()) | u8::from(print.raw.is_some()) << 1;
        let attempts = &self.token.attempts[..known];
        if let Some(at) = attempts.iter().position(|other| other.print == print) {
            return self.out.number(at as u64 + 4);
        }
        self.out.byte(flags);
        if let Some(fp) = print.fp {
            self.out.bytes(&fp.to_bytes());
        }
        if let Some(raw) = print.raw {
            self.out.bytes(&raw.0.to_le_bytes());
        }
    }

    /// A trace: one of the first `known` attempts' or a new one.
    fn trace(&mut self, trace: TraceContext, known: usize) {
        let attempts = &self.token.attempts[..known];
        if let Some(at) = attempts.iter().position(|other| other.trace == Some(trace)) {
            return self.out.number(at as u64 + 1);
        }
        self.out.byte(0);
        self.out.bytes(&trace.trace_id);
        self.out.bytes(&trace.span_id);
        self.out.byte(trace.flags);
    }

    /// Who an attempt is; in full, if the attempt changed since or is forgotten.
    fn who(&mut self, who: &Who) {
        let attempts = self.token.attempts.len();
        if let Some(at) = (0..attempts).find(|at| self.token.is_who(*at, who)) {
            return self.out.number(at as u64 + 1);
        }
        self.out.byte(0);
        self.name(who.client);
        self.out.text(who.call.as_ref());
        self.out.number(who.attempt);
        self.time(who.since);
        self.flags(&[who.trace.is_some()]);
        if let Some(trace) = who.trace {
            self.trace(trace, attempts);
        }
        self.out.number(u64::from(who.serial));
    }
}

struct Source<'a> {
    input: Reader<'a>,
    last_seen: Timestamp,
    order: u64,
}

impl Source<'_> {
    fn flags(&mut self) -> [bool; 8] {
        let byte = self.input.byte();
        [0, 1, 2, 3, 4, 5, 6, 7].map(|bit| byte >> bit & 1 != 0)
    }

    fn time(&mut self) -> Timestamp {
        let distance = self.input.signed();
        Timestamp::from_micros(self.last_seen.as_micros().wrapping_sub(distance))
    }

    fn order(&mut self) -> u64 {
        self.order.wrapping_add(self.input.signed() as u64)
    }

    fn optional_order(&mut self) -> Option<u64> {
        let distance = self.input.optional()?;
        Some(self.order.wrapping_add(sign(distance) as u64))
    }

    fn name(&mut self) -> Option<NameId> {
        let bits = self.input.optional()?;
        Some(NameId::from_bits(bits as u32))
    }

    fn some_name(&mut self) -> NameId {
        self.name().unwrap_or(NameId::from_bits(0))
    }

    fn verdict(&mut self) -> Verdict {
        Verdict::ALL[usize::from(self.input.byte())]
    }

    fn call(&mut self) -> Call {
        let serial = self.input.number() as u32;
        let (client, id) = (self.name(), self.input.text());
        let max_attempts = self.input.optional();
        let [counted, remote_given, first_seen, ended, ..] = self.flags();
        let ended = ended.then(|| Class::ALL[usize::from(self.input.byte())]);
        Call {
            serial,
            client,
            id,
            max_attempts,
            counted,
            ended,
            remote_given,
            first_seen,
            last_number: self.input.number(),
        }
    }

    fn attempt(&mut self, token: &Token) -> Attempt {
        let [
            named,
            was_other,
            start_seen,
            end_seen,
            same_start,
            in_life,
            closed,
            resolved,
        ] = self.flags();
        let [is_callers, traced, predicted, judged, read, written, ..] = self.flags();
        let (serial, call) = (self.input.number() as u32, self.input.number() as u32);
        let client = match is_callers {
            true => token.call(call).and_then(|call| call.client),
            false => self.name(),
        };
        let number = self.input.number();
        let (life, life_start) = match in_life {
            true => (token.life.number, token.life.first_start),
            false => (self.input.number() as u32, self.time()),
        };
        let start = if same_start { life_start } else { self.time() };
        let order = self.optional_order();
        let print = self.print(&token.attempts);
        let trace = traced.then(|| self.trace(&token.attempts));
        let verdict = judged.then(|| self.verdict());
        let prediction = predicted.then(|| Prediction {
            verdict: self.verdict(),
            finding: self.input.number(),
        });
        let units = match (read, written) {
            (true, _) => Units::Read,
            (_, true) => Units::Written,
            _ => Units::Untold,
        };
        let progress = if closed {
            let how = usize::from(self.input.byte());
            Progress::Closed {
                by: ClosedBy::ALL[how >> 4],
                class: Class::ALL[how & 15],
                at: self.time(),
                order: self.order(),
                resolved,
            }
        } else {
            Progress::Open(LeaseId(self.input.number() as u32))
        };
        Attempt {
            serial,
            call,
            client,
            number,
            named,
            life,
            life_start,
            was_other,
            start,
            order,
            print,
            trace,
            verdict,
            prediction,
            start_seen,
            end_seen,
            units,
            progress,
        }
    }

    fn life(&mut self, token: &mut Token) {
        let [
            success,
            print,
            cancelled,
            rejected,
            mismatch_seen,
            forgotten_unresolved,
            reported,
            queued,
        ] = self.flags();
        let [traced, handed_out, error, born_earlier, hard_coded, ..] = self.flags();
        token.hard_coded_given = hard_coded;
        if success {
            let at = self.time();
            let who = self.who(token);
            token.life.success = Some(Success { at, who });
        }
        if print {
            let print = self.print(&token.attempts);
            token.life.print = Some((print, self.who(token)));
        }
        let life = &mut token.life;
        life.answer = match (cancelled, rejected) {
            (true, _) => Some(Answer::Cancelled),
            (_, true) => Some(Answer::Rejected),
            _ => None,
        };
        life.mismatch_seen = mismatch_seen;
        life.forgotten_unresolved = forgotten_unresolved;
        life.reported = reported;
        life.history.queued = queued;
        life.trace = traced.then(|| self.trace(&token.attempts));
        life.history.handed_out = handed_out.then(|| self.order());
        life.history.last_error = error.then(|| self.some_name());
        if born_earlier {
            token.born = self.order();
        }
    }

    fn print(&mut self, attempts: &[Attempt]) -> Print {
        let how = self.input.number();
        if let Some(at) = how.checked_sub(4) {
            return attempts[at as usize].print;
        }
        let fp = (how & 1 != 0).then(|| Key::from_bytes(self.input.array()));
        let raw = (how & 2 != 0).then(|| Raw(u64::from_le_bytes(self.input.array())));
        Print { fp, raw }
    }

    fn trace(&mut self, attempts: &[Attempt]) -> TraceContext {
        let known = self.input.number().checked_sub(1);
        let known = known.and_then(|at| attempts[at as usize].trace);
        known.unwrap_or_else(|| TraceContext {
            trace_id: self.input.array(),
            span_id: self.input.array(),
            flags: self.input.byte(),
        })
    }

    fn who(&mut self, token: &Token) -> Who {
        if let Some(at) = self.input.number().checked_sub(1) {
            return token.who(at as usize);
        }
        Who {
            client: self.name(),
            call: self.input.text(),
            attempt: self.input.number(),
            since: self.time(),
            trace: self.flags()[0].then(|| self.trace(&token.attempts)),
            serial: self.input.number() as u32,
        }
    }
}
