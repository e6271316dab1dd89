use std::time::Duration;

use super::*;
use crate::detect::finding::Status;
use crate::detect::journal::{Head, Restore};
use crate::detect::profile::profiles;
use crate::detect::verdict::Severity;
use crate::detect::{Options, Source, Trace};

const API: &str = "dynamodb.TransactWriteItems";
const OPTIONS: Options = Options {
    detail: Severity::Warning,
    trace: Trace::Misuse,
    hash_key: [7; 16],
};
/// When the first process ends, the next one begins, and that one stops to hold deadlines. The lease is
/// 60 s.
const END: u64 = 50_000;
const BEGIN: u64 = 70_000;
const HELD: u64 = 72_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_millis(millis)
}

/// An event, in milliseconds since the beginning, and whether it says when it happened.
#[derive(Clone, Debug)]
struct Told {
    millis: u64,
    dated: bool,
    kind: &'static str,
    rest: String,
}

fn told(millis: u64, kind: &'static str, (token, client): (&str, &str), more: &str) -> Told {
    let rest = format!(
        r#""token":"{token}","client":"{client}","call":"{client}-{token}","fp":"f"{more}"#
    );
    let dated = true;
    Told {
        millis,
        dated,
        kind,
        rest,
    }
}

fn start(millis: u64, token: &str, client: &str) -> Told {
    told(millis, "attempt_start", (token, client), "")
}

fn end(millis: u64, token: &str, client: &str) -> Told {
    told(millis, "attempt_end", (token, client), r#","outcome":"ok""#)
}

struct Life {
    detector: Detector,
    out: Verdicts,
}

impl Life {
    fn new() -> Self {
        let profiles = profiles(&toml::Table::new(), None).unwrap();
        Self {
            detector: Detector::new(profiles, OPTIONS),
            out: Verdicts::default(),
        }
    }

    fn hear(&mut self, event: &Told, now: u64) {
        let Told {
            millis, kind, rest, ..
        } = event;
        let dated = match event.dated {
            true => format!(r#""at":{},"#, at(*millis)),
            false => String::new(),
        };
        let line = format!(r#"{{"type":"{kind}","api":"{API}",{dated}{rest}}}"#);
        let event = Event::decode(line.as_bytes()).unwrap();
        let source = Source::default();
        self.detector
            .handle_event(&event, source, at(now), &mut self.out);
    }

    /// As another process goes on, with what was found so far.
    fn restart(self) -> Self {
        let Self { mut detector, out } = self;
        let profiles = detector.profiles().to_vec();
        let head = Head {
            observation_start: at(0),
            connection: 0,
        };
        let mut records = Vec::new();
        let mut progress = detector.begin_journal(head, &mut records);
        while detector.write_some(&mut progress, 0, 1 << 20, &mut records) {}
        let mut restore = Restore::new(profiles, OPTIONS);
        restore.apply(&records).unwrap();
        let (mut detector, _) = restore.finish().unwrap();
        detector.hold_deadlines(at(HELD));
        Self { detector, out }
    }

    /// Lets time pass as whoever waits for deadlines does.
    fn wait(&mut self, until: u64) {
        while let Some(next) = self
            .detector
            .poll_timeout()
            .filter(|next| *next <= at(until))
        {
            self.detector.handle_timeout(next, &mut self.out);
        }
    }

    /// Verdict, token and client, in order of these.
    fn found(&self) -> Vec<String> {
        let findings = self.out.findings.iter();
        let mut found: Vec<_> = findings
            .map(|f| format!("{} {} {}", f.verdict, f.token, f.client.as_deref().unwrap()))
            .collect();
        found.sort();
        found
    }

    /// When leases ended, in the order in which that was told.
    fn stuck(&self) -> Vec<u64> {
        let findings = self.out.findings.iter();
        let stuck = findings.filter(|f| f.verdict.as_str() == "stuck_in_flight");
        stuck
            .map(|f| f.at.since(at(0)).as_millis() as u64)
            .collect()
    }

    fn count(&self, status: Status) -> usize {
        let ids = (0..self.detector.profiles().len()).map(ProfileId);
        ids.map(|id| self.detector.counts(id)[status as usize])
            .sum()
    }
}

/// What is found if nothing ends, and if events from [`END`] on wait for the next process.
fn both(events: &[Told]) -> (Life, Life) {
    let (mut whole, mut first) = (Life::new(), Life::new());
    for event in events {
        whole.wait(event.millis);
        whole.hear(event, event.millis);
    }
    for event in events.iter().filter(|event| event.millis < END) {
        first.wait(event.millis);
        first.hear(event, event.millis);
    }
    let mut next = first.restart();
    next.wait(BEGIN);
    for (number, event) in events
        .iter()
        .filter(|event| event.millis >= END)
        .enumerate()
    {
        next.wait(BEGIN + number as u64);
        next.hear(event, BEGIN + number as u64);
    }
    (whole, next)
}

fn same(events: &[Told]) -> Life {
    let (mut whole, mut next) = both(events);
    whole.wait(300_000);
    next.wait(300_000);
    assert_eq!(next.found(), whole.found(), "{events:#?}");
    next
}

#[test]
fn what_ended_well_while_nobody_read_is_not_stuck() {
    for dated in [true, false] {
        let mut late = end(55_000, "t", "a");
        late.dated = dated;
        let next = same(&[start(1_000, "t", "a"), late]);
        assert!(next.found().is_empty(), "{:?}", next.found());
        assert_eq!(next.count(Status::Succeeded), 1);
    }
}

#[test]
fn a_deadline_is_told_after_the_wait_as_of_its_own_time_and_later_ones_are_not_delayed() {
    let events = [
        start(1_000, "a", "a"),
        start(3_000, "b", "a"),
        start(11_500, "c", "a"),
    ];
    let (_, mut next) = both(&events);
    let lost = r#","outcome":"no_response""#;
    let fresh = [
        start(70_500, "d", "b"),
        // The outcome of this one is unknown from here on, and worth a span.
        start(70_510, "e", "b"),
        start(70_520, "e", "c"),
        told(70_530, "attempt_end", ("e", "b"), lost),
        told(70_540, "attempt_end", ("e", "c"), lost),
    ];
    for mut event in fresh {
        event.rest = event
            .rest
            .replace("\"f\"", &format!("\"{}\"", &event.rest[9..10]));
        next.hear(&event, event.millis);
    }
    assert_eq!(next.detector.poll_timeout(), Some(at(HELD)));
    next.detector.handle_timeout(at(HELD - 1), &mut next.out);
    assert_eq!(next.stuck(), [0; 0]);
    next.wait(HELD);
    assert_eq!(next.stuck(), [61_000, 63_000, 71_500]);
    // Lifecycles wait one lease more for their outcome, each from when it became unknown.
    assert_eq!(next.detector.poll_timeout(), Some(at(121_000)));
    let settled: Vec<_> = next.out.settled.iter().map(|life| &*life.token).collect();
    assert_eq!(settled, [""; 0]);
    next.detector.handle_timeout(at(130_499), &mut next.out);
    let settled: Vec<_> = next.out.settled.iter().map(|life| &*life.token).collect();
    assert_eq!(settled, ["a", "b"]);
    assert_eq!(next.detector.poll_timeout(), Some(at(130_500)));
    next.detector.handle_timeout(at(130_500), &mut next.out);
    assert_eq!(next.stuck(), [61_000, 63_000, 71_500, 130_500]);
    same(&events);
}

#[test]
fn an_event_after_a_deadline_is_judged_as_after_it() {
    let first = start(1_000, "t", "a");
    // The end itself is late.
    let next = same(&[first.clone(), end(65_000, "t", "a")]);
    assert_eq!(next.stuck(), [61_000]);
    assert_eq!(next.count(Status::Succeeded), 1);
    // A retry by another one is safe after the deadline, and a collision before.
    let next = same(&[
        first.clone(),
        start(65_000, "t", "b"),
        end(66_000, "t", "b"),
    ]);
    assert_eq!(next.found(), ["stuck_in_flight t a"]);
    let next = same(&[
        first.clone(),
        start(55_000, "t", "b"),
        end(66_000, "t", "b"),
    ]);
    assert!(
        next.found()
            .contains(&"cross_client_collision t b".to_owned())
    );
    // A fresh token for the same request, when the outcome was known to be unknown, and when not.
    let next = same(&[
        first.clone(),
        start(65_000, "u", "b"),
        end(66_000, "u", "b"),
    ]);
    let fresh = "fresh_token_after_unknown u b".to_owned();
    assert!(next.found().contains(&fresh), "{:?}", next.found());
    let next = same(&[first, start(55_000, "u", "b"), end(66_000, "u", "b")]);
    assert_eq!(next.found(), ["stuck_in_flight t a"]);
}

/// Whatever clients did meanwhile, if they send it again in its order.
#[test]
fn a_restart_changes_no_verdict() {
    let mut state = 0x5eed_u64;
    let mut below = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let (mut stuck, mut findings) = (0, 0);
    for _ in 0..2000 {
        let mut times: Vec<_> = (0..2 + below(10)).map(|_| below(BEGIN)).collect();
        times.sort_unstable();
        times.dedup();
        let events: Vec<_> = times
            .into_iter()
            .map(|millis| {
                let token = ["t", "u", "v"][below(3) as usize];
                let client = ["a", "b"][below(2) as usize];
                let number = format!(",\"attempt\":{}", 1 + below(3));
                let outcome = ["ok", "no_response"][below(2) as usize];
                let ended = format!("{number},\"outcome\":\"{outcome}\"");
                match below(2) {
                    0 => told(millis, "attempt_start", (token, client), &number),
                    _ => told(millis, "attempt_end", (token, client), &ended),
                }
            })
            .collect();
        let next = same(&events);
        stuck += next
            .stuck()
            .iter()
            .filter(|at| (END..BEGIN).contains(at))
            .count();
        findings += next.found().len();
    }
    assert!(stuck > 100 && findings > 2 * stuck, "{stuck} {findings}");
}
