//! What follows from every change, and what time does to tokens: deadlines, disconnects, expiry, eviction,
//! sweeping.

use super::finding::{Gap, Observation, ProfileId, Removal, Status, Verdicts};
use super::judge::Judge;
use super::key::Key;
use super::leases::Lease;
use super::names::Cursor;
use super::table::{Removed, Table};
use super::time::Timestamp;
use super::token::Token;
use super::undecided::Undecided;
use super::{ConnectionId, Detector};

/// Tokens whose names are looked at in one step.
const NAMED_MAX: u32 = 64;

impl Detector {
    /// Handles the deadlines up to `now`.
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut Verdicts) {
        let now = now.max(self.context.now);
        if now < self.due {
            self.context.now = now;
            return;
        }
        while let Some((deadline, id)) = self.context.leases.first()
            && deadline <= now
        {
            self.end_lease(deadline, id, out);
        }
        self.context.now = now;
        for profile in 0..self.context.profiles.len() {
            self.settle_due(ProfileId(profile), out);
            self.sweep(ProfileId(profile), out);
        }
        let next = self.poll_timeout().unwrap_or(Timestamp::MAX);
        self.due = next.min(now + self.shortest);
    }

    /// The next deadline, if any; it may already be over when much is due at once.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let lease = self.context.leases.first().map(|(deadline, _)| deadline);
        let settling = self
            .settling
            .iter()
            .filter_map(|queue| queue.front())
            .map(|(deadline, _)| *deadline);
        let expiry = self.tables.iter().flatten().filter_map(Table::poll_expiry);
        let next = lease.into_iter().chain(settling).chain(expiry).min();
        next.map(|next| next.max(self.held))
    }

    /// Closes what a stream connection left open.
    pub fn handle_disconnect(
        &mut self,
        connection: ConnectionId,
        now: Timestamp,
        out: &mut Verdicts,
    ) {
        self.handle_timeout(now, out);
        let of_connection = self
            .context
            .leases
            .iter()
            .filter(|lease| lease.connection == Some(connection));
        let mut open: Vec<Lease> = of_connection.collect();
        open.sort_by_key(|lease| lease.order);
        for lease in open {
            self.context.order += 1;
            self.with_token(lease.profile, lease.key, out, |judge, token| {
                if let Some(index) = token.position(lease.attempt) {
                    judge.orphan(token, index);
                }
            });
        }
    }

    /// Waits one more lease for the outcome of a lifecycle that is worth a span.
    pub(super) fn settle_later(&mut self, id: ProfileId, key: Key) {
        let deadline = self.context.now + self.context.profiles[id.0].lease;
        let queue = &mut self.settling[id.0];
        // At the end, but for what follows from a deadline that was held.
        let at = queue.partition_point(|(other, _)| *other <= deadline);
        queue.insert(at, (deadline, key));
    }

    /// Hands out lifecycles whose outcome is still unknown one lease after it became so.
    pub(super) fn settle_due(&mut self, id: ProfileId, out: &mut Verdicts) {
        while let Some((deadline, key)) =
            self.settling[id.0].pop_front_if(|(deadline, _)| *deadline <= self.context.now)
        {
            self.with_token(id, key, out, |judge, token| {
                token.life.history.queued = false;
                if token.status == Status::Unknown {
                    judge.hand_out(token, deadline);
                }
            });
        }
    }

    /// Removes some of the expired tokens.
    pub(super) fn sweep(&mut self, id: ProfileId, out: &mut Verdicts) {
        for _ in 0..Table::sweep_max() {
            let removed = self.tables[id.0]
                .as_mut()
                .and_then(|table| table.pop_expired(self.context.now));
            let Some(removed) = removed else { return };
            self.remove(id, removed, out);
        }
    }

    /// Undoes what a token that left its table still holds, and counts why it left.
    pub(super) fn remove(&mut self, id: ProfileId, removed: Removed, out: &mut Verdicts) {
        let profile = &self.context.profiles[id.0];
        let expired = self.context.now >= removed.last_seen + profile.ttl();
        let in_window = self.context.now < removed.last_seen + profile.window;
        let reason = match (expired, in_window) {
            (true, _) => Removal::Expired,
            (false, true) => Removal::EvictedInWindow,
            (false, false) => Removal::EvictedInRetention,
        };
        out.observations.push(Observation::Removed(id, reason));
        if reason == Removal::EvictedInWindow {
            out.observations.push(Observation::Gap(Gap::Evicted));
        }
        let Some(mut token) = removed.token else {
            return;
        };
        if let Some(place) = token.place.take() {
            self.undecided.remove(&place);
        }
        let mut judge = self.context.judge(id, Key::default(), out);
        judge.hand_out(&mut token, judge.now);
        judge.release(&token);
        if let Some(table) = &mut self.tables[id.0] {
            table.recycle(token);
        }
    }

    /// A step towards forgetting the names that no token uses any more.
    pub(super) fn sweep_names(&mut self) {
        let tables = &self.tables;
        self.context.names.sweep_some(|from, mark| {
            let table = tables.get(from.table)?;
            let Some(table) = table.as_ref().filter(|table| from.slot < table.end()) else {
                return Some(Cursor {
                    table: from.table + 1,
                    slot: 0,
                });
            };
            for token in table.some(from.slot, NAMED_MAX) {
                token.mark_names(mark);
            }
            Some(Cursor {
                slot: from.slot + NAMED_MAX,
                ..from
            })
        });
    }
}

/// What follows from a token's new state: status, its place among the undecided, its span.
/// Returns whether a later look at its span is needed.
pub fn follow(judge: &mut Judge<'_>, token: &mut Token, undecided: &mut Undecided) -> bool {
    token.status = token.derive_status();
    let open = matches!(token.status, Status::InFlight | Status::Unknown);
    if !open {
        token.life.note = None;
    }
    let life = (token.life.first_start, token.life.order);
    let stays = open
        && token
            .place
            .is_some_and(|place| (place.first_start, place.order) == life);
    if !stays && let Some(place) = token.place.take() {
        undecided.remove(&place);
    }
    if open && token.place.is_none() {
        token.place = token.undecided_place();
        if let Some(place) = token.place {
            undecided.insert(place, judge.key);
        }
    }
    judge.settle(token)
}
