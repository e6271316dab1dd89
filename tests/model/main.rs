//! The reference model against hand-written cases, and the streams against the reference model.

mod cases;
mod reference;
mod streams;

use std::collections::{BTreeMap, BTreeSet};

use reference::{Outcome, judge, test_profiles};
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
