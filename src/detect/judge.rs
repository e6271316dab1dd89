//! What judging one event needs besides the token, and how a verdict is given.

use std::time::Duration;

use super::event::Event;
use super::finding::{Finding, Holder, Mark, Observation, ProfileId, Verdicts};
use super::key::{Key, Keys};
use super::leases::{Lease, Leases};
use super::message::{Facts, message};
use super::names::{NameId, Names};
use super::profile::{Class, Profile};
use super::text::Text;
use super::time::Timestamp;
use super::token::{Attempt, Call, ClosedBy, Pointer, Print, Progress, Token, Units, Who};
use super::verdict::Verdict;
use super::{ConnectionId, Options, Trace};

/// One event or deadline being judged.
pub struct Judge<'a> {
    pub profile: &'a Profile,
    pub id: ProfileId,
    pub options: Options,
    pub key: Key,
    /// The keys of the event's API and scope.
    pub keys: &'a Keys,
    pub names: &'a mut Names,
    pub leases: &'a mut Leases,
    pub now: Timestamp,
    /// Order of input; every event and every deadline has its own.
    pub order: u64,
    pub next_finding: &'a mut u64,
    pub out: &'a mut Verdicts,
    /// Whether what is judged is a sighting of the token.
    pub sighted: bool,
}

/// Who sent the event that is judged.
#[derive(Clone, Copy)]
pub struct Sender {
    pub client: Option<NameId>,
    pub connection: Option<ConnectionId>,
}

impl Judge<'_> {
    pub fn observe(&mut self, observation: Observation) {
        self.out.observations.push(observation);
    }

    /// Whether a verdict of this kind is handed out, so that its circumstances are worth finding out.
    pub fn is_wanted(&self, verdict: Verdict) -> bool {
        verdict.severity() >= self.options.detail || verdict.is_finding()
    }

    /// Gives a verdict about `who`, one of the token's attempts. Returns the finding's id.
    pub fn give(
        &mut self,
        token: &mut Token,
        who: &Who,
        verdict: Verdict,
        facts: Facts,
        mut to: Pointer,
    ) -> u64 {
        // Nobody holds a token against itself.
        if to.token.is_none() {
            to.holder = to.holder.filter(|holder| holder.serial != who.serial);
        }
        self.observe(Observation::Verdict(self.id, verdict, who.trace));
        if verdict.is_finding() {
            token.life.history.pending |= self.options.trace != Trace::Off;
        }
        if self.options.trace != Trace::Off
            && (verdict.is_finding() || self.options.trace == Trace::All)
        {
            let holder = to.holder.as_ref().and_then(|who| who.trace);
            token.life.history.mark(Mark {
                at: self.now,
                verdict,
                holder,
            });
        }
        if !self.is_wanted(verdict) {
            return 0;
        }
        *self.next_finding += 1;
        if verdict.severity() >= self.options.detail {
            let finding = self.finding(token, who, verdict, facts, &to);
            self.out.findings.push(finding);
        }
        *self.next_finding
    }

    fn finding(
        &self,
        token: &Token,
        who: &Who,
        verdict: Verdict,
        facts: Facts,
        to: &Pointer,
    ) -> Finding {
        let name = |id: NameId| Box::from(self.names.get(id));
        let text = |text: &Text| text.to_string().into_boxed_str();
        let holder = to.holder.as_ref().map(|holder| Holder {
            client: holder.client.map(name),
            call: holder.call.as_ref().map(text),
            since: holder.since,
            token: to.token.as_ref().map(text),
            trace: holder.trace,
        });
        Finding {
            id: *self.next_finding,
            at: self.now,
            verdict,
            api: name(token.api),
            token: text(&token.text),
            scope: name(token.scope),
            client: who.client.map(name),
            call: who.call.as_ref().map(text),
            attempt: who.attempt,
            message: message(
                verdict,
                self.profile,
                &facts,
                self.now,
                holder.as_ref(),
                who,
            ),
            holder,
            age: facts.age(verdict, self.now),
            confirmed: false,
            trace: who.trace,
        }
    }

    /// Adds a call and returns its serial number.
    pub fn add_call(&self, token: &mut Token, event: &Event<'_>, client: Option<NameId>) -> u32 {
        let serial = token.serial();
        token.calls.push(Call {
            serial,
            client,
            id: event.call.as_deref().map(Text::new),
            max_attempts: None,
            counted: false,
            ended: None,
            remote_given: false,
            first_seen: false,
            last_number: 0,
        });
        serial
    }

    /// Adds an attempt of a call that is known, closed for now, and returns its index.
    pub fn add_attempt(
        &mut self,
        token: &mut Token,
        call: u32,
        event: &Event<'_>,
        start: Timestamp,
    ) -> usize {
        let serial = token.serial();
        let life = token.life.number;
        let mut client = None;
        if let Some(call) = token.call_mut(call) {
            client = call.client;
            call.last_number = call.last_number.max(event.attempt);
            call.first_seen |= event.attempt == 1;
        }
        token.attempts.push(Attempt {
            serial,
            call,
            client,
            number: event.attempt,
            named: event.call.is_some(),
            life,
            life_start: token.life.first_start,
            was_other: false,
            start,
            order: None,
            print: self.print(event),
            trace: event.trace,
            verdict: None,
            prediction: None,
            start_seen: false,
            end_seen: false,
            units: Units::Untold,
            progress: Progress::Closed {
                by: ClosedBy::NextAttempt,
                class: Class::NoResponse,
                at: self.now,
                order: self.order,
                resolved: false,
            },
        });
        let index = token.attempts.len() - 1;
        self.learn(token, index);
        self.close(token, index, ClosedBy::NextAttempt, Class::NoResponse);
        index
    }

    /// Lets the lifecycle learn what an attempt brought and it did not know yet.
    pub fn learn(&self, token: &mut Token, index: usize) {
        let attempt = &token.attempts[index];
        if attempt.life != token.life.number {
            return;
        }
        let trace = attempt.trace;
        if token.life.print.is_none() && attempt.print.fp.is_some() {
            let print = attempt.print;
            token.life.print = Some((print, token.who(index)));
        }
        token.life.trace = token.life.trace.or(trace);
    }

    /// Opens an attempt that was just added.
    pub fn open(&mut self, token: &mut Token, index: usize, sender: Sender) {
        let attempt = &mut token.attempts[index];
        attempt.progress = Progress::Open(self.leases.open(Lease {
            profile: self.id,
            key: self.key,
            attempt: attempt.serial,
            start: self.now,
            order: self.order,
            connection: sender.connection,
        }));
    }

    /// Closes an attempt, or corrects how it was closed.
    pub fn close(&mut self, token: &mut Token, index: usize, by: ClosedBy, class: Class) {
        let attempt = &token.attempts[index];
        let other = !token.is_same_request(attempt);
        let progress = Progress::Closed {
            by,
            class,
            at: self.now,
            order: self.order,
            resolved: other,
        };
        let before = std::mem::replace(&mut token.attempts[index].progress, progress);
        if let Progress::Open(lease) = before {
            self.leases.close(lease);
        }
    }

    /// Closes the open attempts of a call that attempt `number` replaces.
    pub fn close_older(&mut self, token: &mut Token, call: u32, number: u64) {
        for index in 0..token.attempts.len() {
            let attempt = &token.attempts[index];
            if attempt.call == call && attempt.is_open() && attempt.number <= number {
                self.close(token, index, ClosedBy::NextAttempt, Class::NoResponse);
            }
        }
    }

    /// Keeps the token within its bounds; see [`Token::enforce_bounds`].
    pub fn enforce_bounds(&mut self, token: &mut Token) {
        let (out, leases) = (&mut *self.out, &mut *self.leases);
        token.enforce_bounds(
            |gap| out.observations.push(Observation::Gap(gap)),
            |lease| leases.close(lease),
        );
    }

    /// Gives back the leases of a token that is forgotten.
    pub fn release(&mut self, token: &Token) {
        for attempt in &token.attempts {
            if let Progress::Open(lease) = attempt.progress {
                self.leases.close(lease);
            }
        }
    }

    /// The event's fingerprints.
    pub fn print(&self, event: &Event<'_>) -> Print {
        Print::of(event, self.keys)
    }

    /// How long ago something was.
    pub fn since(&self, earlier: Timestamp) -> Duration {
        self.now.since(earlier)
    }
}
