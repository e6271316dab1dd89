//! From bytes back to the token.

use crate::detect::key::Key;
use crate::detect::leases::LeaseId;
use crate::detect::names::NameId;
use crate::detect::pack::bytes::{Reader, sign};
use crate::detect::profile::Class;
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::token::{
    Answer, Attempt, Call, ClosedBy, Executed, Life, Prediction, Print, Progress, Raw, Seen,
    Success, Token, Units, Who,
};
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;

/// Makes `token` the one that was written, seen last at `last_seen`; returns whether the bytes are
/// what a token was written as. If not, `token` is some token.
pub fn read(bytes: &[u8], last_seen: Timestamp, token: &mut Token) -> bool {
    let mut from = Source {
        input: Reader::new(bytes),
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
    for _ in 0..from.input.count() {
        token.calls.push(from.call());
    }
    for _ in 0..from.input.count() {
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
    token.take_place();
    from.input.is_whole()
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
        let at = self.input.byte();
        self.input.pick(&Verdict::ALL, at.into())
    }

    fn class(&mut self, at: u8) -> Class {
        self.input.pick(&Class::ALL, at.into())
    }

    fn call(&mut self) -> Call {
        let serial = self.input.number() as u32;
        let (client, id) = (self.name(), self.input.text());
        let max_attempts = self.input.optional();
        let [counted, remote_given, first_seen, ended, ..] = self.flags();
        let ended = ended.then(|| {
            let at = self.input.byte();
            self.class(at)
        });
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
            let how = self.input.byte();
            Progress::Closed {
                by: self.input.pick(&ClosedBy::ALL, usize::from(how >> 4)),
                class: self.class(how & 15),
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
            return self
                .one_of(attempts, at)
                .map_or(Print::default(), |other| other.print);
        }
        let fp = (how & 1 != 0).then(|| Key::from_bytes(self.input.array()));
        let raw = (how & 2 != 0).then(|| Raw(u64::from_le_bytes(self.input.array())));
        Print { fp, raw }
    }

    fn one_of<'t>(&mut self, attempts: &'t [Attempt], at: u64) -> Option<&'t Attempt> {
        let known = usize::try_from(at).ok().and_then(|at| attempts.get(at));
        if known.is_none() {
            self.input.spoil();
        }
        known
    }

    fn trace(&mut self, attempts: &[Attempt]) -> TraceContext {
        let known = self.input.number().checked_sub(1);
        let known = known.and_then(|at| self.one_of(attempts, at)?.trace);
        known.unwrap_or_else(|| TraceContext {
            trace_id: self.input.array(),
            span_id: self.input.array(),
            flags: self.input.byte(),
        })
    }

    fn who(&mut self, token: &Token) -> Who {
        if let Some(at) = self.input.number().checked_sub(1)
            && self.one_of(&token.attempts, at).is_some()
        {
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
