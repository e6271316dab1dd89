//! Ends of attempts and calls, leases and disconnects (SPEC §3 and §4).

use super::Trace;
use super::event::Event;
use super::finding::{CallOutcome, Observation};
use super::judge::{Judge, Sender};
use super::message::Facts;
use super::names::Sort;
use super::profile::{Class, MismatchPolicy};
use super::time::Timestamp;
use super::token::{Answer, Attempt, ClosedBy, Progress, Success, Token, Units};
use super::verdict::Verdict;

/// Where an end belongs.
enum Ended {
    /// It was reported before.
    Duplicate,
    /// The attempt at this index.
    Attempt(usize),
    /// An attempt whose start was not seen, of this call if it is known.
    Unstarted(Option<u32>),
}

impl Judge<'_> {
    /// The end of an attempt. Returns whether it was new.
    pub fn end(
        &mut self,
        token: &mut Token,
        event: &Event<'_>,
        class: Class,
        sender: Sender,
    ) -> bool {
        let index = match find_ended(token, event, sender) {
            Ended::Duplicate => return false,
            Ended::Attempt(index) => index,
            Ended::Unstarted(call) => {
                let call = call.unwrap_or_else(|| self.add_call(token, event, sender.client));
                self.close_older(token, call, event.attempt);
                let start = self.now - event.duration.unwrap_or_default();
                self.add_attempt(token, call, event, start)
            }
        };
        let attempt = &mut token.attempts[index];
        attempt.end_seen = true;
        attempt.units = Units::of(event);
        attempt.trace = attempt.trace.or(event.trace);
        let (serial, trace) = (attempt.call, attempt.trace);
        let lasted = event
            .duration
            .or(attempt.start_seen.then(|| self.now.since(attempt.start)));
        if self.options.trace != Trace::Off && event.error.is_some() {
            let error = event.error.as_deref();
            let error = error.map(|error| self.names.intern(Sort::Sender, error));
            token.life.history.last_error = error;
        }
        self.observe(Observation::Attempt(self.id, class));
        if let Some(lasted) = lasted {
            self.observe(Observation::AttemptDuration(self.id, lasted, trace));
        }
        let Some(call) = token.call_mut(serial) else {
            return true;
        };
        call.max_attempts = event.max_attempts.or(call.max_attempts);
        let last = call
            .max_attempts
            .is_some_and(|max| token.attempts[index].number == max);
        if token
            .call(serial)
            .is_some_and(|call| call.ended == Some(class))
        {
            self.close_quietly(token, index, class);
        } else {
            self.answer(token, index, class, ClosedBy::OwnEnd);
        }
        if class.ends_call() || last {
            self.end_call(token, serial, class, event.call.is_some());
        }
        true
    }

    /// The end of a call that is known. Returns whether it was the first.
    pub fn call_end(
        &mut self,
        token: &mut Token,
        serial: u32,
        event: &Event<'_>,
        class: Class,
    ) -> bool {
        let Some(call) = token.call_mut(serial) else {
            return false;
        };
        if call.ended.is_some() {
            return false;
        }
        call.ended = Some(class);
        call.max_attempts = event.max_attempts.or(call.max_attempts);
        let last = token.last_attempt(serial);
        let corrigible = [ClosedBy::Lease, ClosedBy::Disconnect, ClosedBy::NextAttempt];
        let open: Vec<usize> = (0..token.attempts.len())
            .filter(|&index| {
                token.attempts[index].call == serial && token.attempts[index].is_open()
            })
            .collect();
        let late =
            last.filter(|&index| open.is_empty() && token.attempts[index].closed_by(&corrigible));
        for index in open.into_iter().chain(late) {
            self.answer(token, index, class, ClosedBy::CallEnd);
        }
        if let Some(last) = last
            && class == Class::Success
        {
            self.succeed(token, last);
        }
        self.end_call(token, serial, class, true);
        true
    }

    /// An open attempt's lease ended.
    pub fn expire(&mut self, token: &mut Token, index: usize) {
        self.close(token, index, ClosedBy::Lease, Class::NoResponse);
        let current = token.attempts[index].life == token.life.number;
        if current && token.life.success.is_none() {
            self.give_at(token, index, Verdict::StuckInFlight);
        }
    }

    /// The connection of an open attempt closed.
    pub fn orphan(&mut self, token: &mut Token, index: usize) {
        self.close(token, index, ClosedBy::Disconnect, Class::NoResponse);
        if token.attempts[index].life == token.life.number {
            self.give_at(token, index, Verdict::Orphaned);
        }
    }

    fn give_at(&mut self, token: &mut Token, index: usize, verdict: Verdict) {
        let who = token.who(index);
        let mut facts = Facts::of(token);
        facts.first_start = token.attempts[index].life_start;
        self.give(token, &who, verdict, facts, None.into());
    }

    /// The end of an attempt whose call has told the same before: it says when the attempt ended,
    /// and nothing else.
    fn close_quietly(&mut self, token: &mut Token, index: usize, class: Class) {
        let unstarted = !token.attempts[index].start_seen;
        let Progress::Closed { by, resolved, .. } = token.attempts[index].progress else {
            return self.close(token, index, ClosedBy::OwnEnd, class);
        };
        token.attempts[index].progress = Progress::Closed {
            by: ClosedBy::OwnEnd,
            class,
            at: self.now,
            order: self.order,
            resolved: resolved || (unstarted && by != ClosedBy::CallEnd),
        };
    }

    /// What an answer says: its verdicts first, then its effect on the state.
    fn answer(&mut self, token: &mut Token, index: usize, class: Class, by: ClosedBy) {
        match class {
            Class::InProgress => self.in_progress(token, index),
            Class::Mismatch => self.mismatch(token, index),
            Class::Success if by == ClosedBy::OwnEnd => self.double_execution(token, index),
            _ => {}
        }
        self.apply(token, index, class, by);
    }

    /// The effect of an answer on the state.
    fn apply(&mut self, token: &mut Token, index: usize, class: Class, by: ClosedBy) {
        self.close(token, index, by, class);
        if class == Class::Success {
            return self.succeed(token, index);
        }
        let attempt = &token.attempts[index];
        if attempt.life != token.life.number || !token.is_same_request(attempt) {
            return;
        }
        match class {
            Class::Cancelled => {
                token.life.answer = Some(Answer::Cancelled);
                token.life.forgotten_unresolved = false;
                let life = token.life.number;
                for attempt in token
                    .attempts
                    .iter_mut()
                    .filter(|attempt| attempt.life == life)
                {
                    if let Progress::Closed { resolved, .. } = &mut attempt.progress {
                        *resolved = true;
                    }
                }
            }
            Class::Throttled | Class::Rejected => token.life.answer = Some(Answer::Rejected),
            Class::Mismatch => token.life.mismatch_seen = true,
            _ => {}
        }
        let remembered = matches!(class, Class::Rejected | Class::ServerError);
        if self.profile.failures_remembered && remembered {
            self.complete(token, index);
        }
    }

    /// An attempt was applied, now or before.
    fn succeed(&mut self, token: &mut Token, index: usize) {
        let attempt = &token.attempts[index];
        let current = attempt.life == token.life.number;
        let silent = self.profile.mismatch == MismatchPolicy::Silent;
        if silent && !token.is_same_request(attempt) {
            return;
        }
        token.record_success(index);
        if current {
            self.complete(token, index);
        }
    }

    /// The lifecycle has its final answer.
    fn complete(&mut self, token: &mut Token, index: usize) {
        if token.life.success.is_none() {
            token.life.success = Some(Success {
                at: self.now,
                who: token.who(index),
            });
        }
    }

    /// Fine print 4.
    fn in_progress(&mut self, token: &mut Token, index: usize) {
        let attempt = &token.attempts[index];
        if matches!(
            attempt.verdict,
            Some(Verdict::InFlightCollision | Verdict::CrossClientCollision)
        ) {
            return self.confirm(token, index);
        }
        let began = match attempt.order {
            Some(order) => Began::Order(order),
            None => Began::At(attempt.start),
        };
        let holder = token.holder(attempt.client, |other| {
            other.serial != attempt.serial && may_hold(other, attempt.life, began)
        });
        let who = token.who(index);
        let facts = Facts::of(token);
        if holder.is_some() {
            self.give(token, &who, Verdict::InProgressLocal, facts, holder.into());
            return;
        }
        let call = attempt.call;
        let Some(call) = token.call_mut(call) else {
            return;
        };
        if !std::mem::replace(&mut call.remote_given, true) {
            self.give(token, &who, Verdict::InProgressRemote, facts, None.into());
        }
    }

    /// Fine print 5.
    fn mismatch(&mut self, token: &mut Token, index: usize) {
        let attempt = &token.attempts[index];
        let predicted = [
            Verdict::ParameterMismatch,
            Verdict::ChangedAfterCancel,
            Verdict::TokenRecycled,
        ];
        if attempt
            .verdict
            .is_some_and(|verdict| predicted.contains(&verdict))
        {
            return self.confirm(token, index);
        }
        let known = || token.prints_besides(attempt);
        let (fp, raw) = (attempt.print.fp, attempt.print.raw);
        let verdict = if fp.is_some_and(|fp| known().any(|(other, _)| other != fp)) {
            Verdict::ParameterMismatch
        } else if fp.is_some()
            && known().any(|(_, other)| raw.is_some() && other.is_some() && raw != other)
        {
            Verdict::EncodingMismatch
        } else {
            Verdict::RemoteMismatch
        };
        let holder = match verdict {
            Verdict::RemoteMismatch => None,
            _ if attempt.life != token.life.number => None,
            _ => token.life.print.as_ref().map(|(_, who)| who.clone()),
        };
        let who = token.who(index);
        let facts = Facts::of(token);
        self.give(token, &who, verdict, facts, holder.into());
    }

    /// Fine print 10.
    fn double_execution(&mut self, token: &mut Token, index: usize) {
        let attempt = &token.attempts[index];
        let first = token.executed_before(attempt);
        let Some(first) = first.filter(|_| attempt.units == Units::Written) else {
            return;
        };
        let (first, at) = (first.who.clone(), first.at);
        let predicted = attempt.prediction.map(|prediction| prediction.verdict);
        if matches!(
            predicted,
            Some(Verdict::ReuseAfterWindow | Verdict::WindowEdge)
        ) {
            self.confirm(token, index);
        }
        let who = token.who(index);
        let mut facts = Facts::of(token);
        facts.success = Some(at);
        self.give(
            token,
            &who,
            Verdict::DoubleExecution,
            facts,
            Some(first).into(),
        );
    }

    /// A prediction about this attempt came true.
    fn confirm(&mut self, token: &mut Token, index: usize) {
        if let Some(prediction) = token.attempts[index].prediction.take() {
            self.out.confirmed.push(prediction.finding);
        }
    }

    /// Fine print 7: a call is counted once, and may turn out to have given up too early, which is
    /// only said of calls whose end names them.
    fn end_call(&mut self, token: &mut Token, serial: u32, class: Class, named: bool) {
        let Some(call) = token.call_mut(serial) else {
            return;
        };
        if std::mem::replace(&mut call.counted, true) {
            return;
        }
        let first_seen = call.first_seen;
        self.observe(Observation::Call(self.id, CallOutcome::from(class)));
        let Some(last) = token.last_attempt(serial) else {
            return;
        };
        if class != Class::InProgress || !named {
            return;
        }
        self.give_at(token, last, Verdict::InProgressExhausted);
        let attempt = &token.attempts[last];
        let waited = attempt.start.since(attempt.life_start);
        let delay = self.profile.recovery_delay;
        if first_seen && delay.is_some_and(|delay| waited < delay) {
            self.give_at(token, last, Verdict::RetryBudgetTooShort);
        }
    }
}

fn find_ended(token: &Token, event: &Event<'_>, sender: Sender) -> Ended {
    let Some(id) = &event.call else {
        let of_client = |attempt: &&Attempt| attempt.client == sender.client && !attempt.end_seen;
        let oldest = |wanted: &dyn Fn(&Attempt) -> bool| {
            let mut attempts = token.attempts.iter().filter(of_client);
            attempts
                .find(|attempt| wanted(attempt))
                .and_then(|attempt| token.position(attempt.serial))
        };
        let open = oldest(&Attempt::is_open);
        let closed =
            || oldest(&|attempt| attempt.closed_by(&[ClosedBy::Lease, ClosedBy::Disconnect]));
        return open
            .or_else(closed)
            .map_or(Ended::Unstarted(None), Ended::Attempt);
    };
    let call = token.find_call(sender.client, id);
    match call.and_then(|call| token.find_attempt(call, event.attempt)) {
        Some(index) if token.attempts[index].end_seen => Ended::Duplicate,
        Some(index) => Ended::Attempt(index),
        None => Ended::Unstarted(call),
    }
}

/// When an attempt began; input order decides where it is known.
#[derive(Clone, Copy)]
pub enum Began {
    Order(u64),
    At(Timestamp),
}

/// Whether `other` may be what the server is still working on for an attempt of this lifecycle
/// that began then (fine print 4).
pub fn may_hold(other: &Attempt, life: u32, began: Began) -> bool {
    if other.life != life {
        return false;
    }
    let Progress::Closed {
        class, at, order, ..
    } = other.progress
    else {
        return true;
    };
    match class {
        Class::NoResponse | Class::ServerError => true,
        Class::InProgress | Class::Mismatch => false,
        _ => match began {
            Began::Order(start) => order > start,
            Began::At(start) => at > start,
        },
    }
}
