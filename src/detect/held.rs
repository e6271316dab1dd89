//! Deadlines that passed while nobody read events.
//!
//! A process that goes on with what an earlier one knew finds leases that ended meanwhile. Whether the
//! attempts were open until then it cannot know yet: their ends may lie with the clients, who send them
//! as soon as they have reconnected. So for a moment deadlines are held. What cannot wait are events
//! that come after a deadline: of the tokens that such a one is judged by, the deadlines are handled
//! first, as they would have been. Each is judged as of its own time, whenever that is done.
//!
//! What a wrong answer costs: without this, every attempt that ended well during a restart longer than
//! its lease gets a false `stuck_in_flight`, or a `fresh_token_after_unknown` that follows from it.

use super::Detector;
use super::event::{Event, Kind};
use super::finding::{ProfileId, Verdicts};
use super::key::Key;
use super::leases::{Lease, LeaseId};
use super::table::Glimpse;
use super::time::Timestamp;
use super::token::{Print, Progress, Token};

impl Detector {
    /// Handles no deadline before `until`, but those that an event needs. None is lost, and those that
    /// come later are not delayed. All that come before are, also that of an attempt that starts
    /// meanwhile, if its lease is so short; each is judged as of its own time all the same.
    pub fn hold_deadlines(&mut self, until: Timestamp) {
        (self.held, self.due) = (until, until);
    }

    /// Handles the deadlines, of the tokens that an event is judged by, that it comes after.
    pub(super) fn reach_deadlines(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        out: &mut Verdicts,
    ) {
        let now = self.context.now;
        let told = match (event.at, event.kind) {
            (Some(at), _) => at.min(now),
            (None, Kind::AttemptStart) => now,
            // When it ended nobody knows; in time, then.
            (None, _) => return,
        };
        let mut due = Vec::new();
        self.find_due(id, key, told, &mut due);
        let is_first_use = event.kind == Kind::AttemptStart && self.glimpse(id, key).is_none();
        let request = Print::of(event, &self.context.space.keys).fp;
        if let Some(request) = request.filter(|_| is_first_use) {
            for (_, other) in self.undecided.latest(request) {
                self.find_due(id, other, told, &mut due);
            }
        }
        due.sort_unstable_by_key(|(deadline, _, lease)| (*deadline, lease.order));
        for (deadline, id, Lease { key, attempt, .. }) in due {
            // The one before it may have made its token forget this one.
            if self.context.leases.find(id, key, attempt).is_some() {
                self.end_lease(deadline, id, out);
            }
        }
    }

    /// Adds the leases of a token's open attempts that have ended by then.
    fn find_due(
        &self,
        id: ProfileId,
        key: Key,
        by: Timestamp,
        due: &mut Vec<(Timestamp, LeaseId, Lease)>,
    ) {
        let length = self.context.profiles[id.0].lease;
        let mut look = |token: &Token| {
            for attempt in &token.attempts {
                let Progress::Open(id) = attempt.progress else {
                    continue;
                };
                // In a forged state two attempts may have the number of one, and its lease.
                let lease = self.context.leases.find(id, key, attempt.serial);
                let due_by = |lease: &Lease| lease.start + length <= by;
                if let Some(lease) = lease.filter(due_by) {
                    due.push((lease.start + length, id, lease));
                }
            }
        };
        if let Some(token) = self.glimpse(id, key) {
            token.look(&self.packer, &mut look);
        }
    }

    fn glimpse(&self, id: ProfileId, key: Key) -> Option<Glimpse<'_>> {
        let table = self.tables[id.0].as_ref()?;
        table.glimpse(table.find(key, self.context.now)?)
    }

    /// Handles a lease that ended, as of when it did.
    pub(super) fn end_lease(&mut self, deadline: Timestamp, id: LeaseId, out: &mut Verdicts) {
        let lease = self.context.leases.get(id);
        let now = std::mem::replace(&mut self.context.now, deadline);
        self.context.order += 1;
        self.with_token(lease.profile, lease.key, out, |judge, token| {
            if let Some(index) = token.position(lease.attempt) {
                judge.expire(token, index);
            }
        });
        self.context.now = now.max(deadline);
        // Whatever its token knows of it: one that is due is over, or this would never end.
        self.context.leases.close(id);
    }
}

#[cfg(test)]
mod tests;
