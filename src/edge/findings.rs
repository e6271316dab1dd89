//! The findings of late: a bounded store, and the news about them for whoever listens.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::detect::finding::Finding;
use crate::pipeline::Report;

/// Findings kept unless told otherwise.
pub const CAPACITY_DEFAULT: NonZeroUsize = NonZeroUsize::new(1000).unwrap();
/// News that a listener may be behind before it loses some.
pub const BACKLOG_MAX: usize = 256;
/// Confirmations remembered that came before their finding.
const EARLY_MAX: usize = 64;
/// Reports taken from the queue at once.
const BATCH: usize = 64;

/// A finding as of one piece of news about it.
#[derive(Clone, Debug)]
pub struct News {
    /// Counts the news of this store, from 1.
    pub number: u64,
    /// The finding, confirmed or not.
    pub finding: Arc<Finding>,
}

/// News that a listener missed.
#[derive(Clone, Copy, Debug)]
pub struct Missed {
    /// As in [`News`].
    pub number: u64,
    id: u64,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Found {
    /// It is there.
    News(News),
    /// There is later news about the same finding, which comes by itself.
    Renewed,
    /// It is no longer kept.
    Gone,
}

/// The latest findings, in memory only.
///
/// At capacity the oldest one makes room; a confirmation of a finding that has left is ignored.
/// Adding is O(1), confirming and listing are O(capacity).
#[derive(Debug)]
pub struct Findings {
    inner: Mutex<Inner>,
    news: broadcast::Sender<News>,
}

#[derive(Debug)]
struct Inner {
    capacity: usize,
    /// Oldest first; each with the latest news about it.
    kept: VecDeque<News>,
    /// Ids, oldest first. The pipeline reports outside its lock, so that two threads can report in
    /// the other order than they judged.
    confirmed_early: VecDeque<u64>,
    numbered: u64,
    seen: u64,
}

impl Findings {
    /// An empty store of `capacity` findings.
    pub fn new(capacity: NonZeroUsize) -> Self {
        let inner = Inner {
            capacity: capacity.get(),
            kept: VecDeque::new(),
            confirmed_early: VecDeque::new(),
            numbered: 0,
            seen: 0,
        };
        Self {
            inner: Mutex::new(inner),
            news: broadcast::Sender::new(BACKLOG_MAX),
        }
    }

    /// Takes in one report and tells the listeners.
    pub fn report(&self, report: Report) {
        let mut inner = self.lock();
        let news = match report {
            Report::New(finding) => Some(inner.add(finding)),
            Report::Confirmed(id) => inner.confirm(id),
        };
        // Sent under the lock, so that a listener who joins sees each news exactly once. An error
        // only says that nobody listens.
        if let Some(news) = news {
            let _ = self.news.send(news);
        }
    }

    /// Up to `limit` findings that `wanted` accepts, newest first.
    pub fn list(&self, wanted: impl Fn(&Finding) -> bool, limit: usize) -> Vec<Arc<Finding>> {
        let inner = self.lock();
        let findings = inner.kept.iter().rev().map(|news| &news.finding);
        let wanted = findings.filter(|finding| wanted(finding));
        wanted.take(limit).cloned().collect()
    }

    /// How many findings are kept, and how many there have been.
    pub fn counts(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.kept.len(), inner.seen)
    }

    /// All news from now on, and before them those after number `after` that are still kept, in
    /// order; without a number, none. Those before are not held for the listener, who
    /// [looks](Self::find) for each when its turn comes.
    pub fn listen(&self, after: Option<u64>) -> (VecDeque<Missed>, broadcast::Receiver<News>) {
        let inner = self.lock();
        let after = after.unwrap_or(inner.numbered);
        let missed = inner.kept.iter().filter(|news| news.number > after);
        let missed = missed.map(|news| Missed {
            number: news.number,
            id: news.finding.id,
        });
        let mut missed: Vec<_> = missed.collect();
        missed.sort_unstable_by_key(|news| news.number);
        (missed.into(), self.news.subscribe())
    }

    /// What a listener missed.
    pub fn find(&self, missed: Missed) -> Found {
        let inner = self.lock();
        match inner.kept.iter().find(|news| news.finding.id == missed.id) {
            Some(news) if news.number == missed.number => Found::News(news.clone()),
            Some(_) => Found::Renewed,
            None => Found::Gone,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, mut finding: Arc<Finding>) -> News {
        let early = self.confirmed_early.iter().position(|&id| id == finding.id);
        if let Some(early) = early {
            self.confirmed_early.remove(early);
            finding = confirmed(&finding);
        }
        if self.kept.len() == self.capacity {
            self.kept.pop_front();
        }
        self.seen += 1;
        let news = self.number(finding);
        self.kept.push_back(news.clone());
        news
    }

    fn confirm(&mut self, id: u64) -> Option<News> {
        // Most confirmations follow soon.
        let Some(at) = self.kept.iter().rposition(|news| news.finding.id == id) else {
            if self.confirmed_early.len() == EARLY_MAX {
                self.confirmed_early.pop_front();
            }
            self.confirmed_early.push_back(id);
            return None;
        };
        if self.kept[at].finding.confirmed {
            return None;
        }
        let news = self.number(confirmed(&self.kept[at].finding));
        self.kept[at] = news.clone();
        Some(news)
    }

    fn number(&mut self, finding: Arc<Finding>) -> News {
        self.numbered += 1;
        News {
            number: self.numbered,
            finding,
        }
    }
}

fn confirmed(finding: &Finding) -> Arc<Finding> {
    Arc::new(Finding {
        confirmed: true,
        ..finding.clone()
    })
}

/// Feeds the store until all senders are gone or `stop` is cancelled, and then what had been sent
/// by then. `log` is called for each new finding, not for its confirmation.
pub async fn collect(
    findings: Arc<Findings>,
    mut reports: mpsc::Receiver<Report>,
    stop: CancellationToken,
    mut log: impl FnMut(&Finding),
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            taken = reports.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    return;
                }
            }
            () = stop.cancelled() => reports.close(),
        }
        for report in batch.drain(..) {
            if let Report::New(finding) = &report {
                log(finding);
            }
            findings.report(report);
        }
    }
}

#[cfg(test)]
mod tests;
