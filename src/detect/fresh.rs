//! The same request under a fresh token while the outcome of the first is unknown (fine print 11).

use std::collections::VecDeque;

use super::Detector;
use super::finding::{ProfileId, Status, Verdicts};
use super::judge::Judge;
use super::key::Key;
use super::message::Facts;
use super::token::{Attempt, Life, Note, Pointer, Token, Who};
use super::verdict::Verdict;

/// Fresh tokens that were reported, by the order in which they came.
///
/// A fresh token may be forgotten before the last of the older ones becomes unknown, so this is
/// kept apart from the table. Beyond [`Self::MAX`] reports a second one about the same token is possible.
#[derive(Default)]
pub struct ReportedFresh(VecDeque<u64>);

impl ReportedFresh {
    const MAX: usize = 1024;

    fn add(&mut self, born: u64) {
        if self.0.len() == Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back(born);
    }

    fn contains(&self, born: u64) -> bool {
        self.0.contains(&born)
    }
}

impl Detector {
    /// At the first use of `fresh`: is its request undecided under other tokens? If one of them is
    /// unknown, that is reported now; those in flight take a note.
    pub(super) fn compare_fresh(
        &mut self,
        id: ProfileId,
        key: Key,
        fresh: &mut Token,
        who: Who,
        out: &mut Verdicts,
    ) {
        let (Some(place), Some(table)) = (self.place(fresh), self.tables[id.0].as_mut()) else {
            return;
        };
        let (now, window) = (self.context.now, self.context.profiles[id.0].window);
        let candidates = self.undecided.latest(place.request);
        let candidates: Vec<Key> = candidates
            .filter(|(place, other)| *other != key && now < place.first_start + window)
            .map(|(_, other)| other)
            .collect();
        let mut reported: Option<(Facts, Pointer)> = None;
        for &other in &candidates {
            let old = table.get_mut(other, now);
            let Some(old) = old.filter(|old| old.status == Status::Unknown && !old.life.reported)
            else {
                continue;
            };
            old.life.reported = true;
            reported.get_or_insert_with(|| (Facts::of(old), old.unresolved()));
        }
        if let Some((facts, pointer)) = reported {
            self.reported_fresh.add(fresh.born);
            let verdict = Verdict::FreshTokenAfterUnknown;
            self.context
                .judge(id, key, out)
                .give(fresh, &who, verdict, facts, pointer);
            return;
        }
        let waits = |attempt: &Attempt| {
            attempt.client == who.client && (attempt.is_open() || attempt.is_unresolved())
        };
        for other in candidates {
            if let Some(old) = table.get_mut(other, now)
                && old.status == Status::InFlight
                && old.current().any(waits)
            {
                let text = fresh.text.clone();
                let note = Note {
                    key,
                    born: fresh.born,
                    text,
                    who: who.clone(),
                };
                old.life.note = Some(Box::new(note));
            }
        }
    }

    /// The outcome of a token became unknown; was its request sent under a fresh one meanwhile?
    pub(super) fn report_noted(&mut self, id: ProfileId, key: Key, out: &mut Verdicts) {
        let now = self.context.now;
        let Some(table) = self.tables[id.0].as_mut() else {
            return;
        };
        let Some(old) = table.get_mut(key, now).filter(|old| !old.life.reported) else {
            return;
        };
        let Some(note) = old.life.note.as_deref().cloned() else {
            return;
        };
        let unresolved =
            |attempt: &Attempt| attempt.client == note.who.client && attempt.is_unresolved();
        if !old.current().any(unresolved) || self.reported_fresh.contains(note.born) {
            return;
        }
        let (facts, pointer) = (Facts::of(old), old.unresolved());
        let (api, scope) = (old.api, old.scope);
        let fresh = table
            .get(note.key, now)
            .filter(|fresh| fresh.born == note.born);
        if fresh.is_some_and(|fresh| matches!(fresh.status, Status::Cancelled | Status::Rejected)) {
            return;
        }
        let known = fresh.is_some();
        if let Some(old) = table.get_mut(key, now) {
            old.life.reported = true;
        }
        self.reported_fresh.add(note.born);
        let report = |judge: &mut Judge<'_>, fresh: &mut Token| {
            let verdict = Verdict::FreshTokenAfterUnknown;
            judge.give(fresh, &note.who, verdict, facts, pointer);
        };
        if known {
            self.with_token(id, note.key, out, report);
        } else {
            // The fresh token is forgotten by now; what it did is not.
            let life = Life::new(1, note.who.since, self.context.order);
            let mut fresh = Token::new(&note.text.to_string(), api, scope, life);
            report(&mut self.context.judge(id, note.key, out), &mut fresh);
        }
    }
}
