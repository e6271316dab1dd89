//! The generic interface.

use std::collections::HashSet;

use serde_json::Value;

use super::{Answer, Options, begin_with};
use crate::event::{Outcome, TokenOrigin};
use crate::testing::collector::{Collector, wait_until};
use crate::testing::{Bench, QUICK};

#[test]
fn everything_that_is_told_is_sent() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    let body = br#"{"amount":100,"key":"k","note":"n"}"#;
    let options = Options {
        body: Some(body),
        token_field: Some("key"),
        ignored_fields: &["note"],
        call: Some("call-1"),
        attempt: 2,
        max_attempts: Some(5),
        scope: "acct",
        token_origin: TokenOrigin::Sdk,
        traceparent: Some("00-aa-bb-01"),
        ..Options::default()
    };
    let mut attempt = begin_with(Some(bench.transport), "stripe", "k", options);
    let answer = Answer {
        error: Some("card_declined"),
        http_status: Some(402),
        request_id: Some("req_1"),
        read_units: Some(1.0),
        write_units: Some(2.5),
    };
    attempt.end(Outcome::Error, answer);
    attempt.end(Outcome::Ok, Answer::default());
    attempt.end_call();
    attempt.end_call();
    drop(attempt);
    assert!(bench.transport.flush(std::time::Duration::from_secs(5)));
    let events = collector.wait(3);
    assert_eq!(events.len(), 3, "only the first end counts");
    let prints = crate::fingerprint("stripe", body, Some("key"), &["note"]);
    let expected = [
        ("attempt", 2.into()),
        ("max_attempts", 5.into()),
        ("fp", prints.fp.into()),
        ("fp_raw", prints.fp_raw.into()),
        ("token_origin", "sdk".into()),
        ("traceparent", "00-aa-bb-01".into()),
        ("token", "k".into()),
        ("call", "call-1".into()),
        ("scope", "acct".into()),
        ("api", Value::from("stripe")),
    ];
    for (name, value) in expected {
        assert_eq!(events[0][name], value, "{name}");
    }
    let expected = [
        ("attempt", Value::from(2)),
        ("outcome", "error".into()),
        ("error", "card_declined".into()),
        ("http_status", 402.into()),
        ("request_id", "req_1".into()),
        ("read_units", 1.into()),
        ("write_units", 2.5.into()),
        ("call", "call-1".into()),
    ];
    for (name, value) in expected {
        assert_eq!(events[1][name], value, "{name}");
    }
    assert_eq!(
        (
            &events[2]["type"],
            &events[2]["attempts"],
            &events[2]["outcome"]
        ),
        (&"call_end".into(), &2.into(), &"error".into())
    );
}

#[test]
fn without_a_call_each_attempt_is_its_own() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    for _ in 0..3 {
        begin_with(
            Some(bench.transport),
            "stripe",
            "k",
            Options {
                call: Some(""),
                ..Options::default()
            },
        )
        .end(Outcome::Ok, Answer::default());
    }
    let events = collector.wait(9);
    let calls: HashSet<_> = events
        .iter()
        .map(|event| event["call"].as_str().unwrap())
        .collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(events[0]["attempt"], 1, "0 is the first");
    assert_eq!(events[2]["type"], "call_end");
}

#[test]
fn dropped_without_an_end_is_no_response() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    drop(begin_with(
        Some(bench.transport),
        "stripe",
        "own call",
        Options::default(),
    ));
    let _ = begin_with(
        Some(bench.transport),
        "stripe",
        "given call",
        Options {
            call: Some("c"),
            fp: Some("f"),
            ..Options::default()
        },
    );
    let events = collector.wait(5);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "attempt_start",
            "attempt_end",
            "call_end",
            "attempt_start",
            "attempt_end"
        ]
    );
    assert_eq!(
        (&events[1]["outcome"], &events[4]["outcome"]),
        (&"no_response".into(), &"no_response".into())
    );
    assert_eq!(events[3]["fp"], "f");
}

#[test]
fn debug_output_keeps_the_token_to_itself() {
    let bench = Bench::new(QUICK);
    let attempt = begin_with(
        Some(bench.transport),
        "stripe",
        "secret",
        Options::default(),
    );
    assert_eq!(format!("{attempt:?}"), "Attempt { number: 1, .. }");
}

#[test]
fn ends_whose_start_was_given_up_are_sent() {
    let bench = Bench::new(QUICK);
    let mut attempt = begin_with(Some(bench.transport), "stripe", "early", Options::default());
    bench.wait_for("the start's drop", |stats| stats.dropped == 1);
    let collector = Collector::new(&bench.socket());
    wait_until("on again", || {
        bench
            .transport
            .accepts()
            .then_some(())
            .ok_or_else(String::new)
    });
    attempt.end(Outcome::Ok, Answer::default());
    let events = collector.wait(3);
    let tokens: Vec<_> = events
        .iter()
        .filter_map(|event| event["token"].as_str())
        .collect();
    assert_eq!(tokens, ["early"; 2]);
    assert_eq!(bench.transport.stats().dropped, 1);
}

#[test]
fn texts_of_any_length_are_cut_and_fit_into_the_buffer() {
    let bench = Bench::new(QUICK);
    let collector = Collector::new(&bench.socket());
    let long = "l".repeat(400 * 1024);
    let options = Options {
        fp: Some(&long),
        call: Some(&long),
        scope: &long,
        traceparent: Some(&long),
        ..Options::default()
    };
    let mut attempt = begin_with(Some(bench.transport), &long, &long, options);
    let answer = Answer {
        error: Some(&long),
        request_id: Some(&long),
        ..Answer::default()
    };
    attempt.end(Outcome::Error, answer);
    attempt.end_call();
    let events = collector.wait(3);
    assert_eq!(events[0]["token"].as_str().unwrap().len(), 512);
    assert_eq!(events[2]["error"].as_str().unwrap().len(), 128);
    assert_eq!(bench.transport.stats().dropped, 0);
}

#[test]
fn names_of_fields_count_against_the_buffer() {
    let bench = Bench::new(QUICK);
    let _collector = Collector::new(&bench.socket());
    let long = "l".repeat(300 * 1024);
    let many = [long.as_str()];
    let options = [
        Options {
            token_field: Some(&long),
            ..Options::default()
        },
        Options {
            ignored_fields: &many,
            ..Options::default()
        },
    ];
    for options in options {
        drop(begin_with(Some(bench.transport), "stripe", "t", options));
    }
    bench.wait_for("6 drops", |stats| stats.dropped == 6);
}
