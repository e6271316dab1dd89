//! Judging an `attempt_start` (SPEC §4, fine print 1, 2, 3 and 6).

use super::decode::Event;
use super::entry::{Attempt, By, Entry, Status, Zone, equal};
use super::profile::Class;
use super::{Finding, Holder, Reject, World, severity};

/// The start verdict of another call's start, its holder, and whether it begins a new lifecycle.
struct Judgement {
    verdict: &'static str,
    holder: Option<Holder>,
    new_lifecycle: bool,
}

impl World {
    pub fn attempt_start(&mut self, event: &Event) -> Result<(), Reject> {
        let profile = self.profiles[self.profile_index(&event.api)].clone();
        if !profile.token_valid(&event.token) {
            self.token_invalid(event);
            return Ok(());
        }
        let Some(index) = self.find(event) else {
            self.first_use(event);
            return Ok(());
        };
        let known_call = self.entries[index].call_of(event);
        if let Some(attempt) =
            known_call.and_then(|call| self.entries[index].attempt_of(call, event.attempt))
        {
            if self.entries[index].attempts[attempt].start_seen {
                return Err("duplicate");
            }
            self.touch(index);
            self.late_start(index, attempt, event);
            return Ok(());
        }
        self.touch(index);
        let before = self.entries[index].status();
        match known_call.or_else(|| self.entries[index].continued(event)) {
            Some(call) => self.sdk_retry(index, call, event),
            None => self.other_call(index, event),
        }
        self.settle(index, Some(before));
        Ok(())
    }

    fn token_invalid(&mut self, event: &Event) {
        self.out.findings.push(Finding {
            at_us: self.now,
            verdict: "token_invalid".to_string(),
            severity: severity("token_invalid").to_string(),
            api: event.api.clone(),
            token: event.token.clone(),
            scope: event.scope.clone(),
            client: event.client.clone(),
            call: event.call.clone(),
            attempt: Some(event.attempt),
            holder: None,
        });
    }

    fn first_use(&mut self, event: &Event) {
        let former = self.undecided_with(event);
        let index = self.create(event, self.now);
        let call = self.entries[index].add_call(event);
        let attempt = self.started(index, call, event, "first_use", None);
        self.entries[index].saw(event, true);
        self.fresh_token(index, attempt, &former);
        // Last, so that the new token cannot push out the one it is compared with.
        self.make_room(&event.api);
    }

    /// A start whose end came first.
    fn late_start(&mut self, index: usize, attempt: usize, event: &Event) {
        let entry = &mut self.entries[index];
        let call = entry.attempts[attempt].call;
        let call = entry.call(call);
        call.max_attempts = event.max_attempts.or(call.max_attempts);
        let late = &mut entry.attempts[attempt];
        late.start_seen = true;
        late.fp = late.fp.take().or(event.fp.clone());
        late.fp_raw = late.fp_raw.take().or(event.fp_raw.clone());
        entry.give_fingerprint(attempt);
        let late = &entry.attempts[attempt];
        if !equal(&late.fp, &entry.lifecycles[late.lifecycle].fp) {
            entry.attempts[attempt].unresolved = false;
        }
        entry.saw(event, true);
    }

    fn sdk_retry(&mut self, index: usize, call: usize, event: &Event) {
        let profile = self.profile_of(index);
        let entry = &self.entries[index];
        let edge = entry.undecided() && self.now >= entry.current().first_start + profile.window_us;
        let overtaken = entry
            .attempts
            .iter()
            .any(|other| other.call == call && other.number > event.attempt);
        let holder = entry.current().final_holder.clone();
        let giver = entry.current().fp_giver.clone();
        let attempt = self.started(index, call, event, "sdk_retry", None);
        self.entries[index].close_older(attempt, &profile, self.now, self.seq);
        if overtaken {
            let entry = &mut self.entries[index];
            entry.close(
                attempt,
                By::NextAttempt,
                Class::NoResponse,
                self.now,
                self.seq,
            );
            entry.apply(attempt, Class::NoResponse, &profile, self.now);
        }
        if edge {
            self.start_verdict(index, attempt, "window_edge", holder);
        }
        self.entries[index].saw(event, true);
        self.hard_coded(index, attempt, giver);
    }

    fn other_call(&mut self, index: usize, event: &Event) {
        let judgement = self.judge_other_call(index, event);
        let entry = &mut self.entries[index];
        let giver = entry.current().fp_giver.clone();
        let after_rejection =
            judgement.verdict == "safe_retry" && matches!(entry.status(), Status::Rejected { .. });
        if judgement.new_lifecycle {
            entry.begin_lifecycle(self.now, self.seq);
        }
        let call = entry.add_call(event);
        let attempt = self.started(index, call, event, judgement.verdict, judgement.holder);
        self.entries[index].saw(event, !after_rejection);
        self.hard_coded(index, attempt, giver);
    }

    /// The table of start verdicts, by status, different fingerprint before equal.
    fn judge_other_call(&self, index: usize, event: &Event) -> Judgement {
        let entry = &self.entries[index];
        let profile = &self.profiles[entry.profile];
        let lifecycle = entry.current();
        let same = equal(&event.fp, &lifecycle.fp);
        let in_window = self.now < lifecycle.first_start + profile.window_us;
        let giver = lifecycle.fp_giver.clone();
        let first = lifecycle.final_holder.clone();
        let (verdict, holder, new_lifecycle) = match entry.status() {
            Status::Succeeded => match (entry.zone(profile, self.now), same) {
                (Zone::Inside | Zone::Edge, false) => ("parameter_mismatch", giver, false),
                (Zone::Past, false) => ("token_recycled", giver, true),
                (Zone::Inside, true) => ("replay", first, false),
                (Zone::Edge, true) => ("window_edge", first, false),
                (Zone::Past, true) => ("reuse_after_window", first, true),
            },
            Status::InFlight if !same => ("parameter_mismatch", giver, false),
            Status::InFlight => {
                let open =
                    |attempt: &&Attempt| attempt.lifecycle == lifecycle.id && attempt.is_open();
                let foreign = entry
                    .attempts
                    .iter()
                    .filter(open)
                    .find(|attempt| attempt.client != event.client);
                match foreign {
                    Some(attempt) => ("cross_client_collision", Some(attempt.holder()), false),
                    None => {
                        // The possible holders of fine print 4; nothing has ended after a start that
                        // is being judged.
                        let may_hold = |attempt: &&Attempt| {
                            attempt.lifecycle == lifecycle.id
                                && attempt.closed.is_none_or(|closed| {
                                    matches!(closed.class, Class::NoResponse | Class::ServerError)
                                })
                        };
                        let oldest = entry
                            .attempts
                            .iter()
                            .filter(may_hold)
                            .min_by_key(|attempt| (attempt.start_at, attempt.start_seq));
                        ("in_flight_collision", oldest.map(Attempt::holder), false)
                    }
                }
            }
            Status::Unknown => match (in_window, same) {
                (true, false) => ("parameter_mismatch", giver, false),
                (false, false) => ("token_recycled", giver, true),
                (true, true) => ("safe_retry", None, false),
                (false, true) => ("window_edge", first, false),
            },
            Status::Cancelled if same => ("retry_after_cancel", None, true),
            Status::Cancelled => ("changed_after_cancel", giver, true),
            Status::Rejected {
                by_mismatch_alone: true,
            } if same => ("parameter_mismatch", giver, false),
            Status::Rejected { .. } => ("safe_retry", None, true),
        };
        Judgement {
            verdict,
            holder,
            new_lifecycle,
        }
    }

    /// Opens the attempt in the current lifecycle and gives its start verdict.
    fn started(
        &mut self,
        index: usize,
        call: usize,
        event: &Event,
        verdict: &str,
        holder: Option<Holder>,
    ) -> usize {
        let entry = &mut self.entries[index];
        let attempt = entry.add_attempt(call, event, self.now, self.seq);
        entry.attempts[attempt].start_seen = true;
        self.start_verdict(index, attempt, verdict, holder);
        attempt
    }

    fn start_verdict(
        &mut self,
        index: usize,
        attempt: usize,
        verdict: &str,
        holder: Option<Holder>,
    ) {
        self.entries[index].attempts[attempt]
            .verdicts
            .push(verdict.to_string());
        self.emit_attempt(verdict, index, attempt, holder);
    }

    /// Once per entry, at the start that brings the third fingerprint or at the next one after a late start did.
    fn hard_coded(&mut self, index: usize, attempt: usize, giver: Option<Holder>) {
        let entry = &mut self.entries[index];
        if entry.is_hard_coded() && !entry.hard_coded_given {
            entry.hard_coded_given = true;
            self.start_verdict(index, attempt, "hard_coded_token", giver);
        }
    }
}

impl Entry {
    /// Fine print 1, *Without `call`*: the call that a start with attempt ≥ 2 continues.
    fn continued(&self, event: &Event) -> Option<usize> {
        let lifecycle = self.current();
        if event.call.is_some() || event.attempt < 2 || !equal(&event.fp, &lifecycle.fp) {
            return None;
        }
        let undecided_end = |attempt: &Attempt| {
            attempt.lifecycle == lifecycle.id
                && lifecycle.final_at.is_none()
                && attempt.unresolved
                && equal(&attempt.fp, &event.fp)
                && attempt.number + 1 == event.attempt
        };
        self.attempts
            .iter()
            .filter(|attempt| attempt.client == event.client)
            .filter(|attempt| attempt.is_open() || undecided_end(attempt))
            .max_by_key(|attempt| (attempt.start_at, attempt.start_seq))
            .map(|attempt| attempt.call)
    }
}
