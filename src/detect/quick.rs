//! The short way of the healthy: a first use, and the success of that attempt.
//!
//! Nine of ten events are one of the two, and nothing about them is open: what they change is known
//! without unpacking the token. Everything else, and everything that is to be told of an event besides
//! counts, goes the long way, of which this one is a part cut out: it never judges by itself.

use super::event::{Event, Kind};
use super::finding::{CallOutcome, Observation, ProfileId, Verdicts};
use super::judge::Sender;
use super::key::Key;
use super::leases::Lease;
use super::pack::{ATTEMPT_SERIAL, Plain};
use super::profile::Class;
use super::token::Print;
use super::undecided::Place;
use super::verdict::{Severity, Verdict};
use super::{Detector, Trace};

impl Detector {
    /// Judges an event if that can be done the short way; returns whether it was.
    pub(super) fn judge_quickly(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) -> bool {
        let options = &self.context.options;
        if options.detail == Severity::Info || options.trace == Trace::All {
            return false;
        }
        let done = match event.kind {
            Kind::AttemptStart => self.first_use(id, key, event, sender, out),
            Kind::AttemptEnd => self.succeed(id, key, event, sender, out),
            Kind::CallEnd | Kind::ClientReport => None,
        };
        done.is_some()
    }

    /// A token that nobody used before, for a request that is open under no other one.
    fn first_use(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) -> Option<()> {
        if !self.has_room() || self.tables[id.0].as_ref()?.holds(key) {
            return None;
        }
        let (start, order) = (self.context.now, self.context.order);
        let print = Print::of(event, &self.context.space.keys);
        if print.fp.is_some_and(|fp| self.undecided.contains(fp)) {
            return None;
        }
        let spaces = self.spaces(event);
        let mut plain = Plain::first_use(event, sender.client, spaces.into(), print, order)?;
        plain.lend(self.context.leases.open(Lease {
            key,
            start,
            order,
            connection: sender.connection,
            attempt: ATTEMPT_SERIAL,
            profile: id,
        }));
        let verdict = Observation::Verdict(id, Verdict::FirstUse, None);
        out.observations.push(verdict);
        if let Some(request) = print.fp {
            let place = Place {
                request,
                first_start: start,
                order,
            };
            self.undecided.insert_single(place, key);
        }
        let table = self.tables[id.0].as_mut()?;
        if let Some(removed) = table.insert_plain(key, plain, start, &mut self.packer) {
            self.remove(id, removed, out);
        }
        Some(())
    }

    /// The success of a token's only attempt, while it is open.
    fn succeed(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) -> Option<()> {
        let now = self.context.now;
        let table = self.tables[id.0].as_mut()?;
        let slot = table.find(key, now)?;
        let (plain, last_seen) = table.plain(slot)?;
        let before = plain.status();
        let done = plain.succeed(event, sender.client, last_seen, now)?;
        table.renew(slot, before, done.place.is_some(), now);
        self.context.leases.close(done.lease);
        if let Some(place) = done.place {
            self.undecided.remove(&place);
        }
        let lasted = event.duration.unwrap_or(now.since(done.start));
        let observations = &mut out.observations;
        observations.push(Observation::Attempt(id, Class::Success));
        observations.push(Observation::AttemptDuration(id, lasted, None));
        if done.ends_call {
            let outcome = CallOutcome::from(Class::Success);
            observations.push(Observation::Call(id, outcome));
        }
        Some(())
    }
}
