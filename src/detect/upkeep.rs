//! What follows from every change, and what time does to tokens: deadlines, disconnects, expiry, eviction,
//! sweeping.

use super::finding::{Gap, Observation, ProfileId, Removal, Status, Verdicts};
use super::judge::Judge;
use super::key::Key;
use super::leases::LeaseId;
use super::table::{Removed, Table};
use super::time::Timestamp;
use super::token::Token;
use super::undecided::{Place, Undecided};
use super::{ConnectionId, Detector};

/// Attempts that a stream connection left open: order of input and lease, the first one last.
#[derive(Debug)]
pub struct Orphans(Vec<(u64, LeaseId)>);

impl Detector {
    /// Handles the deadlines up to `now`.
    #[inline]
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut Verdicts) {
        self.handle_overdue(now, usize::MAX, out);
    }

    /// Handles at most `max` of the deadlines up to `now`; returns whether there may be more. To be
    /// called again until there are not, before anything else: so that what is said of very many at once
    /// can be taken away in parts.
    #[inline]
    pub fn handle_overdue(&mut self, now: Timestamp, max: usize, out: &mut Verdicts) -> bool {
        let now = now.max(self.context.now);
        if now < self.due {
            self.context.now = now;
            return false;
        }
        self.handle_due(now, max, out)
    }

    fn handle_due(&mut self, now: Timestamp, max: usize, out: &mut Verdicts) -> bool {
        let mut left = max;
        while let Some((deadline, id)) = self.context.leases.first()
            && deadline <= now
        {
            if left == 0 {
                return true;
            }
            left -= 1;
            self.end_lease(deadline, id, out);
        }
        self.context.now = now;
        for profile in 0..self.context.profiles.len() {
            if !self.settle_due(ProfileId(profile), &mut left, out) {
                return true;
            }
            self.sweep(ProfileId(profile), out);
        }
        let next = self.poll_timeout().unwrap_or(Timestamp::MAX);
        self.due = next.min(now + self.shortest);
        false
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
        let mut orphans = self.orphans(connection, now, out);
        self.handle_orphans(&mut orphans, usize::MAX, out);
    }

    /// What a stream connection that closed left open.
    pub fn orphans(
        &mut self,
        connection: ConnectionId,
        now: Timestamp,
        out: &mut Verdicts,
    ) -> Orphans {
        self.handle_timeout(now, out);
        let mut open = self.context.leases.of_connection(connection);
        open.sort_unstable_by(|a, b| b.cmp(a));
        Orphans(open)
    }

    /// Closes at most `max` of them; returns whether there are more.
    pub fn handle_orphans(
        &mut self,
        orphans: &mut Orphans,
        max: usize,
        out: &mut Verdicts,
    ) -> bool {
        for _ in 0..max {
            let Some((order, id)) = orphans.0.pop() else {
                return false;
            };
            let Some(lease) = self.context.leases.get_if(id, order) else {
                continue;
            };
            self.context.order += 1;
            self.with_token(lease.profile, lease.key, out, |judge, token| {
                if let Some(index) = token.position(lease.attempt) {
                    judge.orphan(token, index);
                }
            });
        }
        !orphans.0.is_empty()
    }

    /// Waits one more lease for the outcome of a lifecycle that is worth a span. If too many wait, the
    /// first of them is handed out as it is.
    pub(super) fn settle_later(&mut self, id: ProfileId, key: Key, out: &mut Verdicts) {
        if self.settling[id.0].len() >= self.limits.settling
            && let Some((_, first)) = self.settling[id.0].pop_front()
        {
            self.settle_now(id, first, self.context.now, out);
        }
        let deadline = self.context.now + self.context.profiles[id.0].lease;
        let queue = &mut self.settling[id.0];
        // At the end, but for what follows from a deadline that was held.
        let at = queue.partition_point(|(other, _)| *other <= deadline);
        queue.insert(at, (deadline, key));
    }

    /// Hands out lifecycles whose outcome is still unknown one lease after it became so.
    /// At most `left` of them; returns whether these were all.
    fn settle_due(&mut self, id: ProfileId, left: &mut usize, out: &mut Verdicts) -> bool {
        let now = self.context.now;
        let is_due = |first: &mut (Timestamp, Key)| first.0 <= now;
        while *left > 0
            && let Some((deadline, key)) = self.settling[id.0].pop_front_if(is_due)
        {
            *left -= 1;
            self.settle_now(id, key, deadline, out);
            self.enforce_limits(key, out);
        }
        let first = self.settling[id.0].front();
        first.is_none_or(|(deadline, _)| *deadline > now)
    }

    /// Hands out, as it is, the first of the lifecycles that wait for that; returns whether one did.
    pub(super) fn settle_first(&mut self, out: &mut Verdicts) -> bool {
        let queues = self.settling.iter().enumerate();
        let first = queues.filter_map(|(id, queue)| Some((*queue.front()?, ProfileId(id))));
        let first = first.min_by_key(|((deadline, _), _)| *deadline);
        let Some(((_, key), id)) = first else {
            return false;
        };
        self.settling[id.0].pop_front();
        self.settle_now(id, key, self.context.now, out);
        true
    }

    /// Whoever calls it sees to the limits: it is also a part of that.
    fn settle_now(&mut self, id: ProfileId, key: Key, end: Timestamp, out: &mut Verdicts) {
        self.change_token(id, key, out, |judge, token| {
            token.life.history.queued = false;
            if token.status == Status::Unknown {
                judge.hand_out(token, end);
            }
        });
    }

    /// Removes some of the expired tokens.
    pub(super) fn sweep(&mut self, id: ProfileId, out: &mut Verdicts) {
        for _ in 0..Table::sweep_max() {
            let removed = self.tables[id.0]
                .as_mut()
                .and_then(|table| table.pop_expired(self.context.now, &mut self.packer));
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
        if let Some(place) = token.place.filter(|_| token.placed) {
            self.undecided.remove(&place);
        }
        let mut judge = self.context.judge(id, Key::default(), out);
        judge.hand_out(&mut token, judge.now);
        judge.release(&token);
        self.packer.recycle(token);
    }
}

/// What is left to do after [`follow`].
pub struct Followed {
    /// A later look at the token's span is needed.
    pub wait: bool,
    /// This other token has no place among the undecided any more.
    pub displaced: Option<(Place, Key)>,
}

/// What follows from a token's new state: status, its place among the undecided, its span.
pub fn follow(judge: &mut Judge<'_>, token: &mut Token, undecided: &mut Undecided) -> Followed {
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
        if token.placed {
            undecided.remove(&place);
        }
        token.placed = false;
    }
    let mut displaced = None;
    if open && token.place.is_none() {
        token.take_place();
        let without = token
            .place
            .and_then(|place| undecided.insert(place, judge.key));
        if let Some(without) = without {
            judge.observe(Observation::Gap(Gap::Evicted));
            token.placed = token.place != Some(without.0);
            displaced = Some(without).filter(|_| token.placed);
        }
    }
    let wait = judge.settle(token);
    Followed { wait, displaced }
}
