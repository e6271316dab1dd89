//! From a token to bytes; the reading side is in the same order.

use crate::detect::names::NameId;
use crate::detect::pack::bytes::{Writer, unsign};
use crate::detect::time::Timestamp;
use crate::detect::token::{Answer, Call, Life, Print, Progress, Token, Units, Who};
use crate::detect::trace::TraceContext;

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
