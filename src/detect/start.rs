//! Starts (SPEC §4): which start verdict, and what the token remembers of it.

use super::end::{Began, may_hold};
use super::event::Event;
use super::finding::{Observation, Status};
use super::judge::{Judge, Sender};
use super::message::Facts;
use super::profile::Zone;
use super::token::{Prediction, Progress, Token, Who, same};
use super::verdict::Verdict;

/// What a start is to a token that is known.
enum Known {
    /// The attempt at this index was seen before.
    Attempt(usize),
    /// Another attempt of the call with this serial number.
    Call(u32),
    /// A call of its own.
    Nothing,
}

impl Judge<'_> {
    /// The first start of a token; returns the attempt's index.
    pub fn first_use(&mut self, token: &mut Token, event: &Event<'_>, sender: Sender) -> usize {
        let call = self.add_call(token, event, sender.client);
        let facts = Facts::of(token);
        let index = self.begin(token, call, event, Verdict::FirstUse, true);
        self.open(token, index, sender);
        let who = token.who(index);
        self.give(token, &who, Verdict::FirstUse, facts, None.into());
        index
    }

    /// A start of a token that is known. Returns whether it was new.
    pub fn start(&mut self, token: &mut Token, event: &Event<'_>, sender: Sender) -> bool {
        match self.known(token, event, sender) {
            Known::Attempt(index) if token.attempts[index].start_seen => return false,
            Known::Attempt(index) => self.late_start(token, index, event),
            Known::Call(call) => self.sdk_retry(token, call, event, sender),
            Known::Nothing => self.another_call(token, event, sender),
        }
        true
    }

    fn known(&self, token: &Token, event: &Event<'_>, sender: Sender) -> Known {
        if let Some(id) = &event.call {
            return match token.find_call(sender.client, id) {
                None => Known::Nothing,
                Some(call) => match token.find_attempt(call, event.attempt) {
                    Some(index) => Known::Attempt(index),
                    None => Known::Call(call),
                },
            };
        }
        let fp = self.print(event).fp;
        if event.attempt < 2 || !same(fp, token.life.fp()) {
            return Known::Nothing;
        }
        let undecided = token.life.success.is_none();
        let continued = token.attempts.iter().enumerate().filter(|(_, attempt)| {
            let waits = attempt.is_unresolved()
                && same(attempt.print.fp, fp)
                && attempt.number == event.attempt - 1;
            let current = attempt.life == token.life.number;
            attempt.client == sender.client && (attempt.is_open() || undecided && current && waits)
        });
        let continued = continued.max_by_key(|(index, attempt)| (attempt.start, *index));
        let continued = continued.map(|(_, attempt)| attempt);
        continued.map_or(Known::Nothing, |attempt| Known::Call(attempt.call))
    }

    /// A start whose end came first: no verdict, but what it brings is not lost.
    fn late_start(&mut self, token: &mut Token, index: usize, event: &Event<'_>) {
        let print = self.print(event);
        let attempt = &mut token.attempts[index];
        attempt.start_seen = true;
        attempt.print.fp = attempt.print.fp.or(print.fp);
        attempt.print.raw = attempt.print.raw.or(print.raw);
        attempt.trace = attempt.trace.or(event.trace);
        let call = attempt.call;
        self.learn(token, index);
        // What turns out to be another request says nothing about this one's outcome.
        let other = !token.is_same_request(&token.attempts[index]);
        if let Progress::Closed { resolved, .. } = &mut token.attempts[index].progress {
            *resolved |= other;
        }
        token.see(&print, true);
        if let Some(call) = token.call_mut(call) {
            call.max_attempts = event.max_attempts.or(call.max_attempts);
        }
    }

    /// Another attempt of a call that is known.
    fn sdk_retry(&mut self, token: &mut Token, call: u32, event: &Event<'_>, sender: Sender) {
        let facts = Facts::of(token);
        let undecided = matches!(token.status, Status::InFlight | Status::Unknown);
        if undecided {
            let delay = self.since(token.life.first_start);
            self.observe(Observation::RetryDelay(self.id, delay, event.trace));
        }
        let edge = undecided && self.now >= token.life.first_start + self.profile.window;
        let giver = self.giver(token);
        let overtaken = token
            .call(call)
            .is_some_and(|call| event.attempt < call.last_number);
        self.close_older(token, call, event.attempt);
        let index = self.begin(token, call, event, Verdict::SdkRetry, true);
        if !overtaken {
            self.open(token, index, sender);
        }
        let who = token.who(index);
        self.give(token, &who, Verdict::SdkRetry, facts, None.into());
        if edge {
            let success = token
                .life
                .success
                .as_ref()
                .map(|success| success.who.clone());
            let finding = self.give(token, &who, Verdict::WindowEdge, facts, success.into());
            token.attempts[index].prediction = Some(Prediction {
                verdict: Verdict::WindowEdge,
                finding,
            });
        }
        self.hard_coded(token, &who, facts, giver);
    }

    /// A start by a call that the token does not know.
    fn another_call(&mut self, token: &mut Token, event: &Event<'_>, sender: Sender) {
        let facts = Facts::of(token);
        let status = token.status;
        let fp = self.print(event).fp;
        let verdict = self.verdict(token, same(fp, token.life.fp()), sender);
        self.observe_delay(token, verdict, event);
        let giver = self.giver(token);
        let holder = match verdict {
            _ if !self.is_wanted(verdict) => None,
            Verdict::InFlightCollision | Verdict::CrossClientCollision => token
                .holder(sender.client, |other| {
                    may_hold(other, token.life.number, Began::Order(self.order))
                }),
            Verdict::Replay | Verdict::WindowEdge | Verdict::ReuseAfterWindow => token
                .life
                .success
                .as_ref()
                .map(|success| success.who.clone()),
            Verdict::ParameterMismatch | Verdict::ChangedAfterCancel | Verdict::TokenRecycled => {
                giver.clone()
            }
            _ => None,
        };
        if begins_anew(verdict, status) {
            self.hand_out(token, self.now);
            token.begin_anew(self.now, self.order);
        }
        let call = self.add_call(token, event, sender.client);
        let repairs = verdict == Verdict::SafeRetry && status == Status::Rejected;
        let index = self.begin(token, call, event, verdict, !repairs);
        self.open(token, index, sender);
        let who = token.who(index);
        let finding = self.give(token, &who, verdict, facts, holder.into());
        if verdict.is_finding() {
            token.attempts[index].prediction = Some(Prediction { verdict, finding });
        }
        self.hard_coded(token, &who, facts, giver);
    }

    /// The start verdict of SPEC §4 by status, zone and whether the fingerprint is equal.
    fn verdict(&self, token: &Token, equal: bool, sender: Sender) -> Verdict {
        let expired = self.now >= token.life.first_start + self.profile.window;
        let zone = token.life.success.as_ref().map(|success| {
            let first_start = token.life.first_start;
            self.profile.zone(first_start, success.at, self.now)
        });
        match (token.status, equal) {
            (Status::Succeeded, true) => match zone {
                Some(Zone::Past) => Verdict::ReuseAfterWindow,
                Some(Zone::Edge) => Verdict::WindowEdge,
                _ => Verdict::Replay,
            },
            (Status::Succeeded, false) if zone == Some(Zone::Past) => Verdict::TokenRecycled,
            (Status::Succeeded | Status::InFlight, false) => Verdict::ParameterMismatch,
            (Status::InFlight, true) => {
                let mut open = token.current().filter(|attempt| attempt.is_open());
                if open.any(|attempt| attempt.client != sender.client) {
                    Verdict::CrossClientCollision
                } else {
                    Verdict::InFlightCollision
                }
            }
            (Status::Unknown, true) if expired => Verdict::WindowEdge,
            (Status::Unknown, true) => Verdict::SafeRetry,
            (Status::Unknown, false) if expired => Verdict::TokenRecycled,
            (Status::Unknown, false) => Verdict::ParameterMismatch,
            (Status::Cancelled, true) => Verdict::RetryAfterCancel,
            (Status::Cancelled, false) => Verdict::ChangedAfterCancel,
            (Status::Rejected, true) if token.is_bound_elsewhere() => Verdict::ParameterMismatch,
            (Status::Rejected, _) => Verdict::SafeRetry,
        }
    }

    /// Observes how long after what the token is used again.
    fn observe_delay(&mut self, token: &Token, verdict: Verdict, event: &Event<'_>) {
        let reused = matches!(
            verdict,
            Verdict::Replay | Verdict::WindowEdge | Verdict::ReuseAfterWindow
        );
        match (token.status, &token.life.success) {
            (Status::InFlight | Status::Unknown, _) => {
                let delay = self.since(token.life.first_start);
                self.observe(Observation::RetryDelay(self.id, delay, event.trace));
            }
            (_, Some(success)) if reused => {
                let age = self.since(success.at);
                self.observe(Observation::ReuseAge(self.id, age, event.trace));
            }
            _ => {}
        }
    }

    /// The attempt that gave the lifecycle's fingerprint, if a finding is going to point at it.
    fn giver(&self, token: &Token) -> Option<Who> {
        token.life.print.as_ref().map(|(_, who)| who.clone())
    }

    /// Adds the attempt that starts now, not open yet; returns its index.
    fn begin(
        &mut self,
        token: &mut Token,
        call: u32,
        event: &Event<'_>,
        verdict: Verdict,
        counts: bool,
    ) -> usize {
        let index = self.add_attempt(token, call, event, self.now);
        let attempt = &mut token.attempts[index];
        attempt.order = Some(self.order);
        attempt.start_seen = true;
        attempt.verdict = Some(verdict);
        let print = attempt.print;
        token.see(&print, counts);
        token.life.history.dirty(self.options.trace);
        if let Some(call) = token.call_mut(call) {
            call.max_attempts = event.max_attempts.or(call.max_attempts);
        }
        index
    }

    /// Gives `hard_coded_token`, once, when enough distinct requests used the token.
    fn hard_coded(&mut self, token: &mut Token, who: &Who, facts: Facts, giver: Option<Who>) {
        if token.is_hard_coded() && !token.hard_coded_given {
            token.hard_coded_given = true;
            self.give(token, who, Verdict::HardCodedToken, facts, giver.into());
        }
    }
}

/// Whether a start with this verdict begins a new lifecycle.
fn begins_anew(verdict: Verdict, status: Status) -> bool {
    match verdict {
        Verdict::ReuseAfterWindow
        | Verdict::TokenRecycled
        | Verdict::RetryAfterCancel
        | Verdict::ChangedAfterCancel => true,
        Verdict::SafeRetry => status == Status::Rejected,
        _ => false,
    }
}
