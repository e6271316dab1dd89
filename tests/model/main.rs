//! The reference model against hand-written cases, and the streams against the reference model.

// A seed and the wish for a report come from the environment.
#![allow(clippy::disallowed_methods)]

mod cases;
mod kept;
mod production;
mod reference;
mod streams;

use std::collections::{BTreeMap, BTreeSet};

use oncewatch::detect::Trace;
use reference::{Anchor, Charset, Outcome, builtin_profiles, judge, test_profiles};
use streams::{Shape, stream};

/// (microseconds since the cases' time 0, verdict, token, attempt) of every verdict.
fn verdicts(outcome: &Outcome) -> Vec<(i64, String, String, u64)> {
    let row = |finding: &reference::Finding| {
        (
            finding.at_us - cases::BASE_S * 1_000_000,
            finding.verdict.clone(),
            finding.token.clone(),
            finding.attempt.unwrap_or(0),
        )
    };
    outcome.findings.iter().map(row).collect()
}

#[test]
fn every_case_gives_the_verdicts_that_the_specification_states() {
    let mut wrong = Vec::new();
    for case in cases::all() {
        let lines: Vec<String> = case.lines.iter().map(|line| cases::json(line)).collect();
        let outcome = judge(&lines, &test_profiles());
        let expect: Vec<(i64, String, String, u64)> = case
            .expect
            .iter()
            .map(|&(at, verdict, token, attempt)| {
                (
                    (at * 1e6).round() as i64,
                    verdict.to_string(),
                    token.to_string(),
                    attempt,
                )
            })
            .collect();
        let actual = verdicts(&outcome);
        if actual != expect || outcome.confirmed != case.confirmed {
            wrong.push(format!(
                "{} ({}):\n  expected {:?} confirmed {}\n  got      {:?} confirmed {}\n  rejected {:?}",
                case.name, case.spec, expect, case.confirmed, actual, outcome.confirmed, outcome.rejected
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_line_of_the_decode_table_is_counted_by_its_reason() {
    for (line, reason) in cases::REJECTED {
        let outcome = judge(&[line.to_string()], &test_profiles());
        let expect: BTreeMap<String, usize> = reason
            .iter()
            .map(|reason| (reason.to_string(), 1))
            .collect();
        assert_eq!(outcome.rejected, expect, "{line}");
    }
}

/// The table of built-in profiles, by the columns that are easily mistaken.
#[test]
fn the_built_in_profiles_are_those_of_the_table() {
    const H: i64 = 3600;
    let any = Charset::Any;
    let ascii = Charset::AsciiPrintable;
    let (completed, start) = (Anchor::FirstCompleted, Anchor::FirstStart);
    let expect = [
        (
            "dynamodb.TransactWriteItems",
            36,
            any,
            600,
            completed,
            24 * H,
            Some(5),
        ),
        (
            "dynamodb.ExecuteTransaction",
            36,
            any,
            600,
            completed,
            24 * H,
            Some(5),
        ),
        ("stripe", 255, any, 24 * H, start, 24 * H, None),
        ("sqs.SendMessage", 128, ascii, 300, start, H, None),
        ("http", 255, ascii, 24 * H, start, 24 * H, None),
        ("default", 512, any, 24 * H, start, 24 * H, None),
    ];
    let profiles = builtin_profiles();
    assert_eq!(profiles.len(), expect.len());
    for (profile, (name, max_len, charset, window_s, anchor, retention_s, recovery_s)) in
        profiles.iter().zip(expect)
    {
        assert_eq!(profile.name, name);
        assert_eq!(
            (profile.token_max_len, profile.charset, profile.anchor),
            (max_len, charset, anchor),
            "{name}"
        );
        assert_eq!(profile.window_us, window_s * 1_000_000, "{name}");
        assert_eq!(profile.retention_us, retention_s * 1_000_000, "{name}");
        assert_eq!(
            profile.recovery_delay_us,
            recovery_s.map(|s: i64| s * 1_000_000),
            "{name}"
        );
        assert_eq!(
            (profile.lease_us, profile.capacity),
            (60_000_000, 65536),
            "{name}"
        );
        assert!(profile.throttled.contains(&"429".to_string()), "{name}");
        assert_eq!(profile.failures_remembered, name == "stripe");
        assert_eq!(profile.mismatch_silent, name == "sqs.SendMessage");
    }
}

/// Counters of §8 that no verdict shows: "Counted once per call" and the reasons of a removal.
#[test]
fn calls_attempts_removals_and_gaps_are_counted() {
    let outcome_of = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| cases::json(line)).collect();
        judge(&lines, &test_profiles())
    };
    let count = |map: &BTreeMap<(String, String), u64>, label: &str| {
        map.iter()
            .filter(|((_, found), _)| found == label)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    let once = outcome_of(&[
        "0 start a.1 A",
        "1 end a.1 ok",
        "2 call a.1 ok",
        "3 call a.1 ok",
        "4 end a.1 ok",
    ]);
    assert_eq!((count(&once.calls, "applied"), once.calls.len()), (1, 1));
    assert_eq!(
        (count(&once.attempts, "success"), once.attempts.len()),
        (1, 1)
    );
    assert_eq!(once.rejected.get("duplicate"), Some(&1));
    let retried = outcome_of(&[
        "0 start a.1 A",
        "1 end a.1 503",
        "2 start a.2 A",
        "3 end a.2 throttle",
        "4 call a.2 throttle",
    ]);
    assert_eq!(
        (count(&retried.calls, "not_applied"), retried.calls.len()),
        (1, 1)
    );
    assert_eq!(
        (
            count(&retried.attempts, "server_error"),
            count(&retried.attempts, "throttled")
        ),
        (1, 1)
    );
    let unknown_call = outcome_of(&["0 call a.1 no_response"]);
    assert_eq!(
        (
            count(&unknown_call.calls, "unknown"),
            unknown_call.attempts.len()
        ),
        (1, 0)
    );
    let short = |line: &str| format!("{line} api=test.tiny");
    let fill: Vec<String> = (0..3)
        .map(|n| short(&format!("{n} end c.1 ok t=u{n}")))
        .collect();
    let with = |more: &str| {
        let mut lines: Vec<&str> = fill.iter().map(String::as_str).collect();
        let more = short(more);
        lines.push(&more);
        outcome_of(&lines)
    };
    let in_window = with("29.999 start c.1 A t=v");
    assert_eq!(
        (
            in_window.removed.get("evicted_in_window"),
            in_window.gaps.get("evicted")
        ),
        (Some(&1), Some(&1))
    );
    let in_retention = with("30 start c.1 A t=v");
    assert_eq!(
        (
            in_retention.removed.get("evicted_in_retention"),
            in_retention.gaps.len()
        ),
        (Some(&1), 0)
    );
    let expired = with("91 start c.1 A t=v");
    assert_eq!(
        (expired.removed.get("expired"), expired.removed.len()),
        (Some(&2), 1)
    );
}

#[test]
fn case_names_are_unique() {
    let names: BTreeSet<&str> = cases::all().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases::all().len());
}

#[test]
fn the_streams_reach_every_verdict_reason_and_removal() {
    const SEEDS: u64 = 60;
    let mut streams_with: BTreeMap<String, usize> = BTreeMap::new();
    let mut confirmed = 0;
    for shape in Shape::ALL {
        for seed in 0..SEEDS {
            let outcome = judge(&stream(seed, shape, 250), &test_profiles());
            let verdicts = outcome
                .findings
                .iter()
                .map(|finding| finding.verdict.clone());
            let reasons = outcome
                .rejected
                .keys()
                .map(|reason| format!("rejected {reason}"));
            let removed = outcome
                .removed
                .keys()
                .map(|reason| format!("removed {reason}"));
            let gaps = outcome.gaps.keys().map(|reason| format!("gap {reason}"));
            let calls = outcome
                .calls
                .keys()
                .map(|(_, outcome)| format!("call {outcome}"));
            let ends = outcome
                .attempts
                .keys()
                .map(|(_, class)| format!("end {class}"));
            let seen: BTreeSet<String> = verdicts
                .chain(reasons)
                .chain(removed)
                .chain(gaps)
                .chain(calls)
                .chain(ends)
                .collect();
            for thing in seen {
                *streams_with.entry(thing).or_default() += 1;
            }
            confirmed += outcome.confirmed;
        }
    }
    if std::env::var_os("SHOW_COVERAGE").is_some() {
        for (thing, streams) in &streams_with {
            println!("{streams:5} streams with {thing}");
        }
        println!("{confirmed:5} confirmed");
    }
    for thing in streams::MUST_REACH {
        let reached = streams_with.get(*thing).copied().unwrap_or(0);
        assert!(
            reached >= 10,
            "only {reached} of {} streams reach {thing}",
            SEEDS as usize * Shape::ALL.len()
        );
    }
    assert!(confirmed > 100, "only {confirmed} confirmed");
}

#[test]
fn a_stream_is_given_by_its_seed() {
    for shape in Shape::ALL {
        assert_eq!(stream(7, shape, 100), stream(7, shape, 100));
        assert_ne!(stream(7, shape, 100), stream(8, shape, 100));
    }
}

/// The detector against every hand-written case, without the model in between.
#[test]
fn the_detector_gives_the_verdicts_that_the_specification_states() {
    let mut wrong = Vec::new();
    for case in cases::all() {
        let lines: Vec<String> = case.lines.iter().map(|line| cases::json(line)).collect();
        let outcome = production::judge(&lines, &test_profiles(), Trace::Off);
        let micros = |at: f64| (at * 1e6).round() as i64;
        let expect: Vec<_> = case
            .expect
            .iter()
            .map(|&(at, verdict, token, attempt)| {
                (micros(at), verdict.to_string(), token.to_string(), attempt)
            })
            .collect();
        let actual = verdicts(&outcome);
        if actual != expect || outcome.confirmed != case.confirmed {
            wrong.push(format!(
                "{} ({}):\n  expected {expect:?} confirmed {}\n  got      {actual:?} confirmed {}",
                case.name, case.spec, case.confirmed, outcome.confirmed
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The first stream on which detector and model differ, cut down to the lines that matter.
fn difference(lines: &[String], trace: Trace) -> Option<String> {
    let model = judge(lines, &test_profiles());
    let detector = production::judge(lines, &test_profiles(), trace);
    let first = model
        .findings
        .iter()
        .zip(&detector.findings)
        .position(|(a, b)| a != b);
    let first = first.unwrap_or(model.findings.len().min(detector.findings.len()));
    if model == detector {
        return None;
    }
    Some(format!(
        "model    {:?}\ndetector {:?}\nmodel    {:?} {:?} {:?} {:?} {:?} {:?}\ndetector {:?} {:?} {:?} {:?} {:?} {:?}",
        model.findings.get(first),
        detector.findings.get(first),
        model.confirmed,
        model.rejected,
        model.calls,
        model.attempts,
        model.removed,
        model.gaps,
        detector.confirmed,
        detector.rejected,
        detector.calls,
        detector.attempts,
        detector.removed,
        detector.gaps,
    ))
}

/// Leaves out lines as long as a difference remains.
fn shrink(mut lines: Vec<String>, trace: Trace) -> Vec<String> {
    let mut chunk = lines.len() / 2;
    while chunk > 0 {
        let mut from = 0;
        while from < lines.len() {
            let mut fewer = lines.clone();
            fewer.drain(from..(from + chunk).min(fewer.len()));
            if difference(&fewer, trace).is_some() {
                lines = fewer;
            } else {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    lines
}

/// Random streams; `SEEDS=1000..2000` picks others, a failure names its own.
#[test]
fn the_detector_agrees_with_the_model_on_random_streams() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "0..60".into());
    let (from, to) = seeds.split_once("..").expect("SEEDS=FROM..TO");
    let seeds = from.parse().expect("FROM")..to.parse::<u64>().expect("TO");
    for seed in seeds {
        for shape in Shape::ALL {
            let trace = [Trace::Off, Trace::Misuse, Trace::All][seed as usize % 3];
            let lines = stream(seed, shape, 250);
            if difference(&lines, trace).is_some() {
                let lines = shrink(lines, trace);
                let difference = difference(&lines, trace).unwrap_or_default();
                panic!(
                    "SEEDS={seed}..{} {shape:?}\n{}\n{difference}",
                    seed + 1,
                    lines.join("\n")
                );
            }
        }
    }
}

/// Whatever a journal says, reading it is not fatal, nor is going on with what it gives.
#[test]
fn a_damaged_journal_is_never_fatal() {
    let mut random = 0x5eed_u64;
    let mut known = 0;
    for seed in 0..12 {
        for shape in Shape::ALL {
            let lines = stream(seed, shape, 250);
            known += production::judge_damaged(&lines, &test_profiles(), || {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                random >> 33
            });
        }
    }
    assert!(known > 1000, "only {known} damaged journals gave tokens");
}
