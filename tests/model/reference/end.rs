//! Judging `attempt_end` and `call_end` (SPEC §3 classes, fine print 4, 5, 7, 8 and 10).

use super::decode::Event;
use super::entry::{Attempt, By, Entry, Print, equal};
use super::profile::{Class, Profile};
use super::{Holder, Reject, World};

impl World {
    /// Also a `call_end` without `call`.
    pub fn attempt_end(&mut self, event: &Event) -> Result<(), Reject> {
        let profile = self.profiles[self.profile_index(&event.api)].clone();
        let class = profile.classify(event);
        if !profile.token_valid(&event.token) {
            self.untracked_end(event, class);
            return Ok(());
        }
        let found = self.find(event);
        let known = found.and_then(|index| self.entries[index].ended_attempt(event));
        if let (Some(index), Some(attempt)) = (found, known)
            && event.call.is_some()
            && self.entries[index].attempts[attempt].end_seen
        {
            return Err("duplicate");
        }
        self.count_attempt(event, class);
        let before = found.map(|index| self.entries[index].status());
        let index = match found {
            Some(index) => index,
            None => self.create(event, self.now - event.duration_us),
        };
        self.touch(index);
        let attempt = match known {
            Some(attempt) => attempt,
            None => self.started_by_end(index, event, &profile),
        };
        self.end_attempt(index, attempt, class, event, &profile);
        self.settle(index, before);
        self.make_room(&event.api);
        Ok(())
    }

    fn count_attempt(&mut self, event: &Event, class: Class) {
        *self
            .out
            .attempts
            .entry((event.api.clone(), class.name().to_string()))
            .or_default() += 1;
    }

    fn count_call(&mut self, api: &str, class: Class) {
        *self
            .out
            .calls
            .entry((api.to_string(), class.call_outcome().to_string()))
            .or_default() += 1;
    }

    /// An end with a token that is not tracked is counted only. That a named call ended is counted at
    /// its `call_end`: nobody could tell otherwise that it had been counted before.
    fn untracked_end(&mut self, event: &Event, class: Class) {
        self.count_attempt(event, class);
        let last = ends_call(class) || event.max_attempts == Some(event.attempt);
        if last && event.call.is_none() {
            self.count_call(&event.api, class);
        }
    }

    /// Fine print 8: a start's effects except verdict and new lifecycle.
    fn started_by_end(&mut self, index: usize, event: &Event, profile: &Profile) -> usize {
        let entry = &mut self.entries[index];
        let call = entry
            .call_of(event)
            .unwrap_or_else(|| entry.add_call(event));
        let attempt = entry.add_attempt(call, event, self.now - event.duration_us, self.seq);
        entry.close_older(attempt, profile, self.now, self.seq);
        attempt
    }

    fn end_attempt(
        &mut self,
        index: usize,
        attempt: usize,
        class: Class,
        event: &Event,
        profile: &Profile,
    ) {
        let entry = &mut self.entries[index];
        let call = entry.attempts[attempt].call;
        let number = entry.attempts[attempt].number;
        let max = {
            let call = entry.call(call);
            call.max_attempts = event.max_attempts.or(call.max_attempts);
            call.max_attempts
        };
        let told = entry.call(call).call_end == Some(class);
        let ended = &entry.attempts[attempt];
        let was_open = ended.is_open() && ended.start_seen;
        entry.attempts[attempt].end_seen = true;
        let positive = |units: Option<f64>| units.is_some_and(|units| units > 0.0);
        entry.attempts[attempt].wrote =
            match (positive(event.write_units), positive(event.read_units)) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            };
        entry.close(attempt, By::OwnEnd, class, self.now, self.seq);
        if !told {
            self.judge_end(index, attempt, class, event.write_units);
        }
        if !told {
            self.entries[index].apply(attempt, class, profile, self.now);
        } else {
            // Its answer says nothing new, but what the attempt is waiting for is over.
            let entry = &mut self.entries[index];
            let ended = &entry.attempts[attempt];
            let same = equal(&ended.fp, &entry.lifecycles[ended.lifecycle].fp);
            let ambiguous = matches!(
                class,
                Class::NoResponse | Class::InProgress | Class::ServerError
            );
            let waits = was_open || entry.attempts[attempt].unresolved;
            entry.attempts[attempt].unresolved = waits && same && ambiguous;
        }
        if ends_call(class) || max == Some(number) {
            self.end_call(index, call, class, event, profile);
        }
    }

    /// The verdicts of an attempt's end. `write_units` is `None` for a `call_end`.
    fn judge_end(&mut self, index: usize, attempt: usize, class: Class, write_units: Option<f64>) {
        match class {
            Class::Success if write_units.is_some_and(|units| units > 0.0) => {
                self.double_execution(index, attempt)
            }
            Class::InProgress => self.in_progress(index, attempt),
            Class::Mismatch => self.mismatch(index, attempt),
            _ => {}
        }
    }

    fn double_execution(&mut self, index: usize, attempt: usize) {
        let entry = &self.entries[index];
        let ended = &entry.attempts[attempt];
        let Some(earlier) = entry
            .succeeded
            .iter()
            .filter(|print| equal(&print.fp, &ended.fp))
            // A replay that was answered while this attempt was under way executed nothing.
            .find(|print| match print.replayed {
                Some((at, _)) if !ended.start_seen => at <= ended.start_at,
                Some((_, seq)) => seq < ended.start_seq,
                None => true,
            })
        else {
            return;
        };
        let holder = earlier.holder.clone();
        if let Some(predicted) = ended.had(&["reuse_after_window", "window_edge"]) {
            self.confirm(index, attempt, &predicted);
        }
        self.emit_attempt("double_execution", index, attempt, holder);
    }

    fn in_progress(&mut self, index: usize, attempt: usize) {
        let entry = &mut self.entries[index];
        if let Some(predicted) =
            entry.attempts[attempt].had(&["in_flight_collision", "cross_client_collision"])
        {
            self.confirm(index, attempt, &predicted);
            return;
        }
        if let Some(holder) = entry.possible_holder(attempt) {
            self.emit_attempt("in_progress_local", index, attempt, Some(holder));
            return;
        }
        let call = entry.attempts[attempt].call;
        if !std::mem::replace(&mut entry.call(call).remote_given, true) {
            self.emit_attempt("in_progress_remote", index, attempt, None);
        }
    }

    fn mismatch(&mut self, index: usize, attempt: usize) {
        let entry = &self.entries[index];
        let ended = &entry.attempts[attempt];
        if let Some(predicted) = ended.had(&[
            "parameter_mismatch",
            "changed_after_cancel",
            "token_recycled",
        ]) {
            self.confirm(index, attempt, &predicted);
            return;
        }
        let lifecycle = &entry.lifecycles[ended.lifecycle];
        // Of an earlier lifecycle only the fingerprints that the entry keeps are known.
        let current = ended.lifecycle == entry.current().id;
        let giver = lifecycle
            .fp_giver
            .clone()
            .filter(|_| current && lifecycle.fp_seq != Some(ended.start_seq));
        // The lifecycle's fingerprint if given by this attempt equals its own and explains nothing.
        let mut known = vec![Print {
            fp: lifecycle.fp.clone().filter(|_| current),
            fp_raw: lifecycle.fp_raw.clone(),
            holder: None,
            replayed: None,
        }];
        known.extend(
            entry
                .counted
                .iter()
                .chain(&entry.uncounted)
                .chain(&entry.succeeded)
                .cloned(),
        );
        let other_fp = |print: &Print| !equal(&print.fp, &ended.fp);
        let other_bytes = |print: &Print| {
            ended.fp.is_some() && print.fp == ended.fp && !equal(&print.fp_raw, &ended.fp_raw)
        };
        let verdict = if known.iter().any(other_fp) {
            "parameter_mismatch"
        } else if known.iter().any(other_bytes) {
            "encoding_mismatch"
        } else {
            "remote_mismatch"
        };
        let holder = giver.filter(|_| verdict != "remote_mismatch");
        self.emit_attempt(verdict, index, attempt, holder);
    }

    /// A `call_end` with `call` (fine print 7).
    pub fn call_end(&mut self, event: &Event) -> Result<(), Reject> {
        let profile = self.profiles[self.profile_index(&event.api)].clone();
        let class = profile.classify(event);
        let found = self
            .find(event)
            .and_then(|index| Some((index, self.entries[index].call_of(event)?)));
        let Some((index, call)) = found else {
            self.count_call(&event.api, class);
            return Ok(());
        };
        if self.entries[index].call(call).call_end.is_some() {
            return Ok(());
        }
        self.touch(index);
        let before = self.entries[index].status();
        self.entries[index].call(call).call_end = Some(class);
        for attempt in self.entries[index].closed_by_call_end(call) {
            self.entries[index].close(attempt, By::CallEnd, class, self.now, self.seq);
            self.judge_end(index, attempt, class, None);
            self.entries[index].apply(attempt, class, &profile, self.now);
        }
        if class == Class::Success
            && let Some(last) = self.entries[index].last_attempt(call)
        {
            self.entries[index].apply(last, class, &profile, self.now);
        }
        self.end_call(index, call, class, event, &profile);
        self.settle(index, Some(before));
        Ok(())
    }

    /// Counted once per call; the call-level verdicts carry its last attempt.
    fn end_call(
        &mut self,
        index: usize,
        call: usize,
        class: Class,
        event: &Event,
        profile: &Profile,
    ) {
        if std::mem::replace(&mut self.entries[index].call(call).ended, true) {
            return;
        }
        self.count_call(&event.api, class);
        let entry = &self.entries[index];
        let Some(last) = entry.last_attempt(call) else {
            return;
        };
        if class != Class::InProgress || event.call.is_none() {
            return;
        }
        let since_first = entry.attempts[last].start_at
            - entry.lifecycles[entry.attempts[last].lifecycle].first_start;
        let too_short = profile
            .recovery_delay_us
            .is_some_and(|delay| since_first < delay);
        let from_the_first = entry.attempt_of(call, 1).is_some();
        self.emit_attempt("in_progress_exhausted", index, last, None);
        if too_short && from_the_first {
            self.emit_attempt("retry_budget_too_short", index, last, None);
        }
    }
}

/// Classes after which a call has ended, whatever its limit.
fn ends_call(class: Class) -> bool {
    matches!(
        class,
        Class::Success | Class::Cancelled | Class::Mismatch | Class::Rejected
    )
}

impl Entry {
    /// The attempt that an `attempt_end` belongs to, if it is known.
    fn ended_attempt(&self, event: &Event) -> Option<usize> {
        if event.call.is_some() {
            return self.attempt_of(self.call_of(event)?, event.attempt);
        }
        let of_client = |index: &usize| self.attempts[*index].client == event.client;
        let by_start = |index: &usize| {
            (
                self.attempts[*index].start_at,
                self.attempts[*index].start_seq,
            )
        };
        let by_lease =
            |attempt: &Attempt| attempt.closed.is_some_and(|closed| closed.by == By::Lease);
        let all = 0..self.attempts.len();
        let open = all
            .clone()
            .filter(of_client)
            .filter(|&index| self.attempts[index].is_open())
            .min_by_key(by_start);
        open.or_else(|| {
            all.filter(of_client)
                .filter(|&index| by_lease(&self.attempts[index]))
                .min_by_key(by_start)
        })
    }

    /// The call's open attempts, else its last one if no answer closed it.
    fn closed_by_call_end(&self, call: usize) -> Vec<usize> {
        let of_call = (0..self.attempts.len()).filter(|&index| self.attempts[index].call == call);
        let open: Vec<usize> = of_call
            .filter(|&index| self.attempts[index].is_open())
            .collect();
        if !open.is_empty() {
            return open;
        }
        let unanswered = |&index: &usize| {
            self.attempts[index]
                .closed
                .is_some_and(|closed| matches!(closed.by, By::Lease | By::NextAttempt))
        };
        self.last_attempt(call)
            .filter(unanswered)
            .into_iter()
            .collect()
    }

    /// Fine print 4: the oldest open attempt of another client, else the oldest possible holder.
    pub fn possible_holder(&self, attempt: usize) -> Option<Holder> {
        let ended = &self.attempts[attempt];
        let began = (ended.start_at, ended.start_seq);
        let may_hold = |other: &Attempt| match other.closed {
            None => true,
            Some(closed) => match (closed.by, closed.class) {
                (_, Class::NoResponse | Class::ServerError) => true,
                (_, Class::InProgress | Class::Mismatch) => false,
                _ => (closed.at, closed.seq) > began,
            },
        };
        let mut holders: Vec<&Attempt> = (0..self.attempts.len())
            .filter(|&index| index != attempt && self.attempts[index].lifecycle == ended.lifecycle)
            .map(|index| &self.attempts[index])
            .filter(|other| may_hold(other))
            .collect();
        holders.sort_by_key(|other| (other.start_at, other.start_seq));
        let foreign = holders
            .iter()
            .find(|other| other.is_open() && other.client != ended.client);
        foreign.or(holders.first()).map(|attempt| attempt.holder())
    }
}
