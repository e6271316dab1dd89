//! A naive reading of the specification of tokens, events, verdicts and profiles (SPEC §2–§5), for
//! comparison with the detector. Everything is a `Vec` and every look-up a scan: it is meant to be
//! checked against the text by eye. It shares no code with the detector.
//!
//! Times are integer microseconds since the Unix epoch. Offline only: `at` is required and drives the
//! clock, there are no connections, hence no `orphaned`.

#[path = "reference/decode.rs"]
mod decode;
#[path = "reference/end.rs"]
mod end;
#[path = "reference/entry.rs"]
mod entry;
#[path = "reference/fresh.rs"]
mod fresh;
#[path = "reference/memory.rs"]
mod memory;
#[path = "reference/profile.rs"]
mod profile;
#[path = "reference/start.rs"]
mod start;

use std::collections::BTreeMap;

pub use profile::{Anchor, Charset, Profile, builtin_profiles, test_profiles};

use profile::Class;

use decode::{Event, Kind};
use entry::{Attempt, By, Entry};

/// Who stands in the way, or came first.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    pub client: Option<String>,
    pub call: Option<String>,
    /// Start of the attempt.
    pub since_us: i64,
    /// Only for `fresh_token_after_unknown`: the former token.
    pub token: Option<String>,
}

/// One verdict of any severity.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub at_us: i64,
    pub verdict: String,
    pub severity: String,
    pub api: String,
    pub token: String,
    pub scope: String,
    pub client: Option<String>,
    pub call: Option<String>,
    pub attempt: Option<u64>,
    pub holder: Option<Holder>,
}

/// What `oncewatch analyze --min-severity info` must report on a recording.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub findings: Vec<Finding>,
    /// Predicted findings that came true, each counted once.
    pub confirmed: usize,
    /// By reason.
    pub rejected: BTreeMap<String, usize>,
    /// By (api as sent, outcome).
    pub calls: BTreeMap<(String, String), u64>,
    /// By (api as sent, class); only `attempt_end`s count, and `call_end`s without `call`.
    pub attempts: BTreeMap<(String, String), u64>,
    /// Removed tokens by reason.
    pub removed: BTreeMap<String, u64>,
    /// Tracking gaps by reason.
    pub gaps: BTreeMap<String, u64>,
}

/// Judges JSON lines in input order. Blank lines are ignored. The last profile must be `default`.
pub fn judge(lines: &[String], profiles: &[Profile]) -> Outcome {
    let mut world = World::new(profiles);
    for line in lines {
        if line.trim().is_empty() {
            continue;
        }
        let result = decode::decode(line).and_then(|event| world.event(&event));
        if let Err(reason) = result {
            *world.out.rejected.entry(reason.to_string()).or_default() += 1;
        }
    }
    world.out
}

/// Reject reason of an event that is not used.
type Reject = &'static str;

struct World {
    profiles: Vec<Profile>,
    now: i64,
    /// Number of the event being handled; orders what happens at equal times.
    seq: u64,
    entries: Vec<Entry>,
    /// Ids of entries already reported as the fresh token of fine print 11.
    reported_fresh: Vec<u64>,
    next_id: u64,
    out: Outcome,
}

impl World {
    fn new(profiles: &[Profile]) -> Self {
        World {
            profiles: profiles.to_vec(),
            now: i64::MIN,
            seq: 0,
            entries: Vec::new(),
            reported_fresh: Vec::new(),
            next_id: 0,
            out: Outcome::default(),
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), Reject> {
        self.seq += 1;
        let target = self.now.max(event.at_us);
        self.deadlines(target);
        self.now = target;
        match event.kind {
            Kind::ClientReport => Ok(()),
            Kind::AttemptStart => self.attempt_start(event),
            Kind::CallEnd if event.call.is_some() => self.call_end(event),
            Kind::AttemptEnd | Kind::CallEnd => self.attempt_end(event),
        }
    }

    /// Fine print 9: leases and expiries up to `until`, in their order, each with its own `now`.
    fn deadlines(&mut self, until: i64) {
        loop {
            let mut next: Option<(i64, u8, u64, usize, Option<usize>)> = None;
            for (index, entry) in self.entries.iter().enumerate() {
                let profile = &self.profiles[entry.profile];
                let expiry = entry.seen_at + profile.window_us + profile.retention_us;
                let mut due = vec![(expiry, 1, entry.seen_seq, index, None)];
                for (number, attempt) in entry.attempts.iter().enumerate() {
                    if attempt.is_open() {
                        let lease = attempt.start_at + profile.lease_us;
                        due.push((lease, 0, attempt.start_seq, index, Some(number)));
                    }
                }
                for deadline in due {
                    if deadline.0 <= until && next.is_none_or(|first| deadline < first) {
                        next = Some(deadline);
                    }
                }
            }
            let Some((at, _, _, index, attempt)) = next else {
                return;
            };
            self.now = at;
            match attempt {
                None => {
                    self.entries.remove(index);
                    self.count_removed("expired");
                }
                Some(attempt) => self.lease_over(index, attempt),
            }
        }
    }

    fn lease_over(&mut self, index: usize, attempt: usize) {
        let before = self.entries[index].status();
        let profile = self.profile_of(index);
        let entry = &mut self.entries[index];
        let current = entry.attempts[attempt].lifecycle == entry.current().id;
        let silent = !current || entry.current().final_at.is_some();
        entry.close(attempt, By::Lease, Class::NoResponse, self.now, self.seq);
        entry.apply(attempt, Class::NoResponse, &profile, self.now);
        if !silent {
            self.emit_attempt("stuck_in_flight", index, attempt, None);
        }
        self.settle(index, Some(before));
    }

    /// What follows every change of a token: fine print 11 (b), then what is no longer remembered.
    fn settle(&mut self, index: usize, before: Option<entry::Status>) {
        self.became_unknown(index, before);
        let overflowed = self.entries[index].forget_old_calls();
        if overflowed > 0 {
            *self
                .out
                .gaps
                .entry("open_attempts_overflow".into())
                .or_default() += overflowed;
        }
    }

    fn profile_index(&self, api: &str) -> usize {
        let named = self.profiles.iter().position(|profile| profile.name == api);
        named.unwrap_or(self.profiles.len() - 1)
    }

    fn profile_of(&self, index: usize) -> Profile {
        self.profiles[self.entries[index].profile].clone()
    }

    fn find(&self, event: &Event) -> Option<usize> {
        self.entries.iter().position(|entry| {
            entry.api == event.api && entry.scope == event.scope && entry.token == event.token
        })
    }

    fn touch(&mut self, index: usize) {
        self.entries[index].seen_at = self.now;
        self.entries[index].seen_seq = self.seq;
    }

    /// A new entry whose first lifecycle starts at `first_start`. Until [`World::make_room`] the profile
    /// may hold one token too many.
    fn create(&mut self, event: &Event, first_start: i64) -> usize {
        let profile = self.profile_index(&event.api);
        self.next_id += 1;
        self.entries.push(Entry::new(
            self.next_id,
            profile,
            event,
            first_start,
            self.now,
            self.seq,
        ));
        self.entries.len() - 1
    }

    /// Evicts the least recently seen token of the profile if it has one too many.
    fn make_room(&mut self, api: &str) {
        let profile = self.profile_index(api);
        let of_profile = |index: &usize| self.entries[*index].profile == profile;
        let kept = (0..self.entries.len()).filter(of_profile);
        if kept.clone().count() <= self.profiles[profile].capacity {
            return;
        }
        let oldest = kept.min_by_key(|&index| self.entries[index].seen_seq);
        let entry = self.entries.remove(oldest.expect("more than none"));
        if self.now < entry.seen_at + self.profiles[profile].window_us {
            *self.out.gaps.entry("evicted".into()).or_default() += 1;
            self.count_removed("evicted_in_window");
        } else {
            self.count_removed("evicted_in_retention");
        }
    }

    fn count_removed(&mut self, reason: &str) {
        *self.out.removed.entry(reason.to_string()).or_default() += 1;
    }

    fn confirm(&mut self, index: usize, attempt: usize, verdict: &str) {
        let attempt: &mut Attempt = &mut self.entries[index].attempts[attempt];
        if !attempt.confirmed.iter().any(|done| done == verdict) {
            attempt.confirmed.push(verdict.to_string());
            self.out.confirmed += 1;
        }
    }

    fn emit_attempt(
        &mut self,
        verdict: &str,
        index: usize,
        attempt: usize,
        holder: Option<Holder>,
    ) {
        let entry = &self.entries[index];
        let attempt = &entry.attempts[attempt];
        self.out.findings.push(Finding {
            at_us: self.now,
            verdict: verdict.to_string(),
            severity: severity(verdict).to_string(),
            api: entry.api.clone(),
            token: entry.token.clone(),
            scope: entry.scope.clone(),
            client: attempt.client.clone(),
            call: attempt.call_name.clone(),
            attempt: Some(attempt.number),
            holder,
        });
    }
}

/// The severity column of the table of verdicts.
pub fn severity(verdict: &str) -> &'static str {
    match verdict {
        "first_use" | "sdk_retry" | "safe_retry" | "replay" | "retry_after_cancel"
        | "in_progress_local" => "info",
        "in_flight_collision"
        | "in_progress_remote"
        | "encoding_mismatch"
        | "changed_after_cancel"
        | "window_edge"
        | "token_recycled"
        | "stuck_in_flight"
        | "orphaned" => "warning",
        "cross_client_collision"
        | "in_progress_exhausted"
        | "retry_budget_too_short"
        | "parameter_mismatch"
        | "remote_mismatch"
        | "token_invalid"
        | "hard_coded_token" => "error",
        "reuse_after_window" | "double_execution" | "fresh_token_after_unknown" => "critical",
        other => panic!("no such verdict: {other}"),
    }
}
