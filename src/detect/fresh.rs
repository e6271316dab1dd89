//! The same request under a fresh token while the outcome of the first is unknown (fine print 11).

use std::num::NonZeroUsize;

use lru::LruCache;

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
pub struct ReportedFresh {
    kept: LruCache<u64, ()>,
    /// How many were added since somebody wrote them down.
    news: usize,
}

impl ReportedFresh {
    const MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

    pub fn new() -> Self {
        Self {
            kept: LruCache::new(Self::MAX),
            news: 0,
        }
    }

    pub fn add(&mut self, born: u64) {
        self.kept.put(born, ());
        self.news = (self.news + 1).min(Self::MAX.get());
    }

    fn contains(&self, born: u64) -> bool {
        self.kept.contains(&born)
    }

    pub fn has_news(&self) -> bool {
        self.news > 0
    }

    /// Those that were added since the last call, the first one first.
    pub fn take_news(&mut self) -> impl Iterator<Item = u64> {
        let news = std::mem::take(&mut self.news);
        self.oldest_first(news)
    }

    /// All of them, the first one first.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        self.oldest_first(self.kept.len())
    }

    fn oldest_first(&self, count: usize) -> impl Iterator<Item = u64> {
        let older = self.kept.len() - count.min(self.kept.len());
        self.kept.iter().rev().skip(older).map(|(born, ())| *born)
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
        let (Some(request), Some(table)) = (fresh.life.fp(), self.tables[id.0].as_mut()) else {
            return;
        };
        let (now, window) = (self.context.now, self.context.profiles[id.0].window);
        let candidates = self.undecided.latest(request);
        let candidates: Vec<Key> = candidates
            .filter(|(place, other)| *other != key && now < place.first_start + window)
            .map(|(_, other)| other)
            .collect();
        let mut reported: Option<(Facts, Pointer)> = None;
        for &other in &candidates {
            let Some(slot) = table.find(other, now) else {
                continue;
            };
            let mut old = table.take(slot, &mut self.packer);
            if old.status == Status::Unknown && !old.life.reported {
                old.life.reported = true;
                reported.get_or_insert_with(|| (Facts::of(&old), old.unresolved()));
            }
            table.put(slot, old, &mut self.packer);
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
            let Some(slot) = table.find(other, now) else {
                continue;
            };
            let mut old = table.take(slot, &mut self.packer);
            if old.status == Status::InFlight && old.current().any(waits) {
                old.life.note = Some(Box::new(Note {
                    key,
                    born: fresh.born,
                    text: fresh.text.clone(),
                    who: who.clone(),
                }));
            }
            table.put(slot, old, &mut self.packer);
        }
    }

    /// The outcome of a token became unknown; was its request sent under a fresh one meanwhile?
    pub(super) fn report_noted(&mut self, id: ProfileId, key: Key, out: &mut Verdicts) {
        let now = self.context.now;
        let find = |key| {
            let table = self.tables[id.0].as_ref()?;
            table.glimpse(table.find(key, now)?)
        };
        let noted = find(key).and_then(|old| old.look(&self.packer, |old| self.noted(old)));
        let Some((note, facts, pointer)) = noted else {
            return;
        };
        let status = |fresh: &Token| (fresh.born == note.born).then_some(fresh.status);
        let fresh = find(note.key).and_then(|fresh| fresh.look(&self.packer, status));
        if matches!(fresh, Some(Status::Cancelled | Status::Rejected)) {
            return;
        }
        let mut names = None;
        self.with_token(id, key, out, |_, old| {
            old.life.reported = true;
            names = Some((old.api, old.scope));
        });
        self.reported_fresh.add(note.born);
        let report = |judge: &mut Judge<'_>, fresh: &mut Token| {
            let verdict = Verdict::FreshTokenAfterUnknown;
            judge.give(fresh, &note.who, verdict, facts, pointer);
        };
        if fresh.is_some() {
            self.with_token(id, note.key, out, report);
        } else if let Some((api, scope)) = names {
            // The fresh token is forgotten by now; what it did is not.
            let life = Life::new(1, note.who.since, self.context.order);
            let mut fresh = Token::new(note.text.clone(), api, scope, life);
            report(&mut self.context.judge(id, note.key, out), &mut fresh);
        }
    }

    /// What there is to report of a token whose outcome became unknown, if its request was sent under
    /// a fresh one meanwhile.
    fn noted(&self, old: &Token) -> Option<(Note, Facts, Pointer)> {
        let note = old.life.note.as_deref().filter(|_| !old.life.reported)?;
        let unresolved =
            |attempt: &Attempt| attempt.client == note.who.client && attempt.is_unresolved();
        let due = old.current().any(unresolved) && !self.reported_fresh.contains(note.born);
        due.then(|| (note.clone(), Facts::of(old), old.unresolved()))
    }
}
