//! `fresh_token_after_unknown` (fine print 11).

use super::decode::Event;
use super::entry::{Attempt, Note, Status};
use super::{Finding, Holder, World, severity};

const FORMER_TOKENS_MAX: usize = 4;

impl World {
    /// Ids of the other undecided tokens of the same (api, scope, fp): those in their window among the 4
    /// that started last, the last first.
    pub fn undecided_with(&self, event: &Event) -> Vec<u64> {
        if event.fp.is_none() {
            return Vec::new();
        }
        let mut former: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| {
                entry.api == event.api && entry.scope == event.scope && entry.token != event.token
            })
            .filter(|entry| entry.current().fp == event.fp && entry.undecided())
            .collect();
        former.sort_by_key(|entry| {
            std::cmp::Reverse((entry.current().first_start, entry.current().first_seq))
        });
        former.truncate(FORMER_TOKENS_MAX);
        former.retain(|entry| {
            self.now < entry.current().first_start + self.profiles[entry.profile].window_us
        });
        former.iter().map(|entry| entry.id).collect()
    }

    /// At the first use of the token at `index`, `former` as given by `undecided_with`.
    pub fn fresh_token(&mut self, index: usize, attempt: usize, former: &[u64]) {
        let fresh = self.note(index, attempt);
        let known: Vec<usize> = former
            .iter()
            .filter_map(|&id| self.entries.iter().position(|entry| entry.id == id))
            .collect();
        let eligible: Vec<usize> = known
            .iter()
            .copied()
            .filter(|&other| self.entries[other].status() == Status::Unknown)
            .filter(|&other| !self.entries[other].current().reported)
            .collect();
        if let Some(&first) = eligible.first() {
            let holder = self.oldest_unresolved(first);
            self.report_fresh(index, &fresh, holder);
            for other in eligible {
                self.entries[other].current_mut().reported = true;
            }
            return;
        }
        for other in known {
            let entry = &self.entries[other];
            let current = entry.current().id;
            let waits = entry.attempts.iter().any(|attempt| {
                attempt.lifecycle == current
                    && attempt.client == fresh.client
                    && (attempt.is_open() || attempt.unresolved)
            });
            if entry.status() == Status::InFlight && waits {
                self.entries[other].current_mut().note = Some(fresh.clone());
            }
        }
    }

    /// (b): the token at `index` may have become unknown.
    pub fn became_unknown(&mut self, index: usize, before: Option<Status>) {
        if !self.entries[index].undecided() {
            self.entries[index].current_mut().note = None;
        }
        let now_unknown =
            self.entries[index].status() == Status::Unknown && before != Some(Status::Unknown);
        let entry = &self.entries[index];
        let Some(fresh) = entry.current().note.clone() else {
            return;
        };
        let current = entry.current().id;
        let waited = entry.attempts.iter().any(|attempt| {
            attempt.lifecycle == current && attempt.client == fresh.client && attempt.unresolved
        });
        let other = self
            .entries
            .iter()
            .position(|entry| entry.id == fresh.entry);
        let refused = other.is_some_and(|other| {
            matches!(
                self.entries[other].status(),
                Status::Cancelled | Status::Rejected { .. }
            )
        });
        let reported = entry.current().reported || self.reported_fresh.contains(&fresh.entry);
        if now_unknown && waited && !refused && !reported {
            let holder = self.oldest_unresolved(index);
            self.report_fresh(index, &fresh, holder);
            self.entries[index].current_mut().reported = true;
        }
    }

    fn note(&self, index: usize, attempt: usize) -> Note {
        let entry = &self.entries[index];
        let attempt = &entry.attempts[attempt];
        Note {
            entry: entry.id,
            token: entry.token.clone(),
            client: attempt.client.clone(),
            call: attempt.call_name.clone(),
            attempt: attempt.number,
        }
    }

    fn oldest_unresolved(&self, index: usize) -> Option<Holder> {
        let entry = &self.entries[index];
        let current = entry.current().id;
        let mine = |attempt: &&Attempt| attempt.lifecycle == current && attempt.unresolved;
        let oldest = entry
            .attempts
            .iter()
            .filter(mine)
            .min_by_key(|attempt| (attempt.start_at, attempt.start_seq));
        oldest.map(|attempt| Holder {
            token: Some(entry.token.clone()),
            ..attempt.holder()
        })
    }

    /// `index` is any entry of the same api and scope as the fresh token.
    fn report_fresh(&mut self, index: usize, fresh: &Note, holder: Option<Holder>) {
        self.reported_fresh.push(fresh.entry);
        self.out.findings.push(Finding {
            at_us: self.now,
            verdict: "fresh_token_after_unknown".to_string(),
            severity: severity("fresh_token_after_unknown").to_string(),
            api: self.entries[index].api.clone(),
            token: fresh.token.clone(),
            scope: self.entries[index].scope.clone(),
            client: fresh.client.clone(),
            call: fresh.call.clone(),
            attempt: Some(fresh.attempt),
            holder,
        });
    }
}
