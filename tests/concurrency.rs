//! Model checks of what threads share: shuttle runs the sidecar's own code under thousands of schedules,
//! and a deadlock, a lost wake-up or a broken promise in any of them fails, with the schedule to replay.
//!
//! | shared | by | how it is safe |
//! |---|---|---|
//! | the desk of `Pipeline`, with `awaited` and `sooner` | readers, deadlines, HTTP | one mutex; the atomic and the wake-up beside it are checked here |
//! | `History`: an atomic in front of a mutex | readers, HTTP | checked here |
//! | `Findings`: a mutex and a broadcast channel | collector, HTTP, streams | checked here |
//! | `Exemplars`, `SharedThrottle`, `Readiness`, the shown tokens of `Admin` | several | one plain mutex each, never held with another or across an await |
//! | `Pacer` | one reader's thread | made in that thread's runtime and used by nobody else |
//! | counters and gauges | all | one atomic each; nothing follows from two of them together |
//!
//! The sources are compiled into this crate a second time. In it the name `std` leads here, so that
//! their `std::sync` is the checker's; everything else of theirs is the library's.

#![allow(dead_code, clippy::disallowed_methods)]

extern crate alloc;
// The trick: `std::sync::Mutex` in the sources below is `crate::sync::Mutex`.
extern crate self as std;
extern crate std as library;

pub use core::{fmt, iter, mem, num, ops, time};

/// As the sources know it from the standard library.
pub mod collections {
    pub use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
    pub use library::collections::HashMap;
}

/// The checker's, but for what has no schedule.
pub mod sync {
    use core::ops::{Deref, DerefMut};

    pub use alloc::sync::Arc;
    pub use shuttle::sync::{PoisonError, TryLockError};

    /// The checker's, with one more place to switch: after the lock is given back. What follows there
    /// may be a channel that the checker does not know.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    /// Gives the lock back, and the other threads a turn.
    pub struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        /// As in the standard library.
        pub fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        /// As in the standard library.
        pub fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
            let guard = |guard| MutexGuard(Some(guard));
            let poisoned = |error: PoisonError<_>| PoisonError::new(guard(error.into_inner()));
            self.0.lock().map(guard).map_err(poisoned)
        }

        /// As in the standard library.
        pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError<MutexGuard<'_, T>>> {
            match self.0.try_lock() {
                Ok(guard) => Ok(MutexGuard(Some(guard))),
                Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
                Err(TryLockError::Poisoned(error)) => {
                    let guard = MutexGuard(Some(error.into_inner()));
                    Err(TryLockError::Poisoned(PoisonError::new(guard)))
                }
            }
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.0 = None;
            if !library::thread::panicking() {
                shuttle::thread::yield_now();
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    /// The checker's.
    pub mod atomic {
        pub use shuttle::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
    }
}

pub use oncewatch::metrics;

/// With what only tests have.
#[path = "../src/detect"]
pub mod detect {
    pub use oncewatch::detect::*;

    pub mod finding {
        pub use oncewatch::detect::finding::*;

        pub mod fixture;
    }
}

/// The sources under check, in the folders that they are in. Their own tests come along unused.
#[allow(unused_imports)]
#[path = "../src"]
mod checked {
    pub mod edge {
        pub mod findings;
    }
    pub mod metrics {
        pub mod history;
    }
    pub mod pipeline;
}

// Where they look for each other.
pub use checked::pipeline;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use core::num::NonZeroUsize;
use core::time::Duration;

use checked::edge::findings::Findings;
use checked::metrics::history::{Counts, History, STEP};
use detect::finding::fixture;
use detect::time::Timestamp;
use detect::verdict::{Severity, Verdict};
use detect::{Detector, Options, Source, Trace, profile};
use pipeline::{Pipeline, Report, Sinks};
use shuttle::future::block_on;
use shuttle::thread;
use tokio::sync::mpsc;

/// Schedules tried for each check.
const SCHEDULES: usize = 1500;

fn main() {
    let checks: [(&str, fn()); 5] = [
        (
            "a_deadline_that_comes_sooner_wakes_who_waits",
            a_deadline_that_comes_sooner_wakes_who_waits,
        ),
        (
            "events_of_two_threads_are_judged_one_by_one",
            events_of_two_threads_are_judged_one_by_one,
        ),
        (
            "an_interval_is_noted_once_and_nothing_counted_twice",
            an_interval_is_noted_once_and_nothing_counted_twice,
        ),
        (
            "a_listener_hears_each_news_once_and_in_order",
            a_listener_hears_each_news_once_and_in_order,
        ),
        (
            "a_confirmation_that_overtakes_its_finding_is_not_lost",
            a_confirmation_that_overtakes_its_finding_is_not_lost,
        ),
    ];
    for (name, check) in checks {
        shuttle::check_random(check, SCHEDULES);
        // Few switches at chosen places find what needs a rare order.
        shuttle::check_pct(check, SCHEDULES, 3);
        println!("test {name} ... ok");
    }
    println!("\n{} passed, 0 failed", checks.len());
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_millis(ms)
}

fn pipeline() -> (Arc<Pipeline>, mpsc::Receiver<Report>, Arc<metrics::Metrics>) {
    let profiles = profile::profiles(&toml::Table::new(), Some(4)).unwrap();
    let metrics = Arc::new(metrics::Metrics::new(&profiles, &[]));
    let options = Options {
        detail: Severity::Warning,
        trace: Trace::Off,
        hash_key: [7; 16],
    };
    let (findings, reports) = mpsc::channel(64);
    let sinks = Sinks {
        findings,
        spans: None,
    };
    let pipeline = Pipeline::new(Detector::new(profiles, options), metrics.clone(), sinks);
    (Arc::new(pipeline), reports, metrics)
}

fn start(token: &str, client: &str) -> String {
    format!(
        "{{\"type\":\"attempt_start\",\"api\":\"stripe\",\"token\":\"{token}\",\"client\":\"{client}\",\"call\":\"{client}\",\"fp\":\"f\"}}"
    )
}

fn send(pipeline: &Pipeline, line: &str, ms: u64) {
    let lines = core::iter::once(line.as_bytes());
    pipeline.process(lines, Source::default(), at(ms), |error| panic!("{error}"));
}

/// Who waits for a far deadline must be woken by the event that brings a nearer one, also while it finds
/// out which it is: if the wake-up can be lost, this deadlocks.
fn a_deadline_that_comes_sooner_wakes_who_waits() {
    const LEASE_MS: u64 = 60_000;
    let (pipeline, _reports, _) = pipeline();
    send(&pipeline, &start("t", "a"), 0);
    block_on(pipeline.sooner());
    assert_eq!(pipeline.timeout(at(1)), Some(at(LEASE_MS)));
    let reader = {
        let pipeline = pipeline.clone();
        thread::spawn(move || send(&pipeline, &start("u", "a"), LEASE_MS + 2))
    };
    // The lease of `t` ends; until `u` is there, nothing is due before `t` is forgotten.
    let mut next = pipeline.timeout(at(LEASE_MS + 1));
    while next.is_none_or(|next| next > at(3 * LEASE_MS)) {
        block_on(pipeline.sooner());
        next = pipeline.timeout(at(LEASE_MS + 3));
    }
    reader.join().unwrap();
}

/// Of two clients with one token at the same time exactly one comes second, whoever it is.
fn events_of_two_threads_are_judged_one_by_one() {
    let (pipeline, mut reports, metrics) = pipeline();
    let threads = ["a", "b"].map(|client| {
        let pipeline = pipeline.clone();
        thread::spawn(move || send(&pipeline, &start("t", client), 10))
    });
    pipeline.timeout(at(5));
    for thread in threads {
        thread.join().unwrap();
    }
    let counts = metrics.verdict_counts();
    assert_eq!(counts[Verdict::FirstUse as usize], 1);
    assert_eq!(counts[Verdict::CrossClientCollision as usize], 1);
    let Ok(Report::New(finding)) = reports.try_recv() else {
        panic!("no finding");
    };
    assert_eq!(finding.verdict, Verdict::CrossClientCollision);
    assert!(reports.try_recv().is_err());
}

fn an_interval_is_noted_once_and_nothing_counted_twice() {
    let total = |n: u64| -> Counts {
        let mut counts = [0; Verdict::ALL.len()];
        counts[0] = n;
        counts
    };
    let history = Arc::new(History::default());
    let noted = Arc::new(shuttle::sync::atomic::AtomicUsize::new(0));
    let step = |n: u64| at(0) + STEP * u32::try_from(n).unwrap();
    history.turn(step(0), || total(0));
    let threads = [1, 2].map(|_| {
        let (history, noted) = (history.clone(), noted.clone());
        thread::spawn(move || {
            for n in [1, 2] {
                history.turn(step(n), || {
                    noted.fetch_add(1, shuttle::sync::atomic::Ordering::SeqCst);
                    total(5 * n)
                });
            }
        })
    });
    let seen: u64 = history
        .read(step(2), total(11))
        .iter()
        .map(|counts| counts[0])
        .sum();
    assert_eq!(seen, 11, "whenever it is read");
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(
        noted.load(shuttle::sync::atomic::Ordering::SeqCst),
        2,
        "each once"
    );
    let read = history.read(step(2), total(11));
    let last: Vec<u64> = read.iter().rev().take(3).map(|counts| counts[0]).collect();
    assert_eq!(last, [1, 5, 5]);
}

fn a_listener_hears_each_news_once_and_in_order() {
    const NEWS: u64 = 4;
    let store = Arc::new(Findings::new(NonZeroUsize::new(8).unwrap()));
    let teller = {
        let store = store.clone();
        thread::spawn(move || {
            for id in 1..=NEWS {
                store.report(Report::New(finding(id)));
            }
        })
    };
    let (missed, mut news) = store.listen(Some(0));
    teller.join().unwrap();
    let mut heard: Vec<u64> = missed.iter().map(|news| news.number).collect();
    while let Ok(one) = news.try_recv() {
        heard.push(one.number);
    }
    assert_eq!(heard, (1..=NEWS).collect::<Vec<_>>());
}

/// Two threads report in the other order than they judged.
fn a_confirmation_that_overtakes_its_finding_is_not_lost() {
    let store = Arc::new(Findings::new(NonZeroUsize::new(8).unwrap()));
    let (_, mut news) = store.listen(Some(0));
    let reports = [Report::New(finding(7)), Report::Confirmed(7)];
    let threads = reports.map(|report| {
        let store = store.clone();
        thread::spawn(move || store.report(report))
    });
    for thread in threads {
        thread.join().unwrap();
    }
    let kept = store.list(|_| true, 10);
    assert!(matches!(&kept[..], [one] if one.confirmed));
    let mut numbers = BTreeSet::new();
    while let Ok(one) = news.try_recv() {
        assert!(numbers.insert(one.number), "told twice");
    }
    assert!(matches!(numbers.len(), 1 | 2));
}

fn finding(id: u64) -> Arc<detect::finding::Finding> {
    Arc::new(fixture::finding(id))
}
