//! Lines are always within the protocol's limits.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Call, CallId, Ending, Event, Kind, Outcome, Parameters, TokenOrigin, write_report};
use crate::attempt::{Answer, Attempt, Start};
use crate::testing::collector::Collector;
use crate::testing::{Bench, QUICK};

fn call(api: &str, token: &str, id: &str, scope: &str) -> Arc<Call> {
    Arc::new(Call {
        api: api.to_owned().into(),
        token: Some(token.to_owned()),
        id: CallId::Given(id.to_owned()),
        scope: scope.into(),
        origin: TokenOrigin::Caller,
        token_field: None,
        ignored_fields: Vec::new().into(),
        common: OnceLock::new(),
    })
}

fn line(call: &Arc<Call>, kind: Kind) -> Value {
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_790_000_000_000_042);
    let event = Event {
        call: Arc::clone(call),
        number: 1,
        at,
        kind,
    };
    let mut line = Vec::new();
    assert!(event.write_line("host/1", &mut line));
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'), "a line is one line");
    serde_json::from_slice(&line).unwrap()
}

fn start(fp: Option<&str>) -> Kind {
    Kind::Start {
        parameters: Parameters::Known {
            fp: fp.map(str::to_owned),
            fp_raw: None,
            token: None,
        },
        max_attempts: None,
        traceparent: Some("x".repeat(200)),
    }
}

fn ending(outcome: Outcome, error: &str, read_units: f64, write_units: f64) -> Arc<Ending> {
    Arc::new(Ending {
        outcome,
        error: Some(error.to_owned()),
        http_status: None,
        request_id: Some("r".repeat(200)),
        read_units: Some(read_units),
        write_units: Some(write_units),
    })
}

#[test]
fn identifiers_that_are_too_long_are_cut_and_stay_distinct() {
    let long = "é".repeat(300);
    let tokens = ["a", "b"].map(|end| {
        let event = line(
            &call(
                &long,
                &format!("{long}{end}"),
                &format!("{long}{end}"),
                &format!("{long}{end}"),
            ),
            start(Some(&long)),
        );
        for (name, bytes_max) in [
            ("api", 128),
            ("token", 512),
            ("call", 64),
            ("scope", 256),
            ("fp", 64),
            ("traceparent", 128),
        ] {
            let length = event[name].as_str().unwrap().len();
            assert!(
                length <= bytes_max && length >= bytes_max - 1,
                "{name}: {length}"
            );
        }
        ["token", "call", "scope"].map(|name| event[name].clone())
    });
    for (one, other) in tokens[0].iter().zip(&tokens[1]) {
        assert_ne!(one, other);
    }
}

#[test]
fn any_text_survives() {
    let text = "\0\u{1f}\"\\/\n\r\t\u{7f}é\u{2028}😀";
    let event = line(&call(text, text, text, text), start(None));
    for name in ["api", "token", "call", "scope"] {
        assert_eq!(event[name], text);
    }
    assert_eq!(event["at"], 1_790_000_000.000_042);
}

#[test]
fn only_a_token_may_be_empty() {
    let event = line(&call("stripe", "", "c", ""), start(Some("")));
    assert_eq!(event["token"], "");
    assert_eq!(
        (event.get("scope"), event.get("fp"), event.get("fp_raw")),
        (None, None, None)
    );
}

#[test]
fn ends_without_a_code_or_with_impossible_units() {
    let call = call("default", "t", "c", "");
    line(&call, start(None));
    let duration = Duration::from_micros(1_234_567);
    let event = line(
        &call,
        Kind::End {
            ending: ending(Outcome::Error, "", f64::NAN, -1.0),
            duration,
        },
    );
    assert_eq!(
        event["error"], "UnknownError",
        "the protocol wants a code or a status"
    );
    assert_eq!(
        (event.get("read_units"), event.get("write_units")),
        (None, None)
    );
    assert_eq!(event["duration_ms"], 1234.567);
    assert_eq!(event["request_id"].as_str().unwrap().len(), 128);
    let event = line(
        &call,
        Kind::End {
            ending: ending(Outcome::NoResponse, "", f64::INFINITY, 0.5),
            duration,
        },
    );
    assert_eq!((event.get("error"), event.get("read_units")), (None, None));
    assert_eq!(event["write_units"], 0.5);
    let event = line(
        &call,
        Kind::CallEnd {
            ending: ending(Outcome::Error, "E", 1.0, 1.0),
            duration: None,
        },
    );
    assert_eq!(
        (&event["attempts"], &event["error"]),
        (&Value::from(1), &Value::from("E"))
    );
    assert_eq!(
        (
            event.get("attempt"),
            event.get("duration_ms"),
            event.get("write_units")
        ),
        (None, None, None)
    );
}

#[test]
fn a_body_without_a_token_is_no_event() {
    let mut call = Arc::into_inner(call("dynamodb.TransactWriteItems", "", "c", "")).unwrap();
    call.token = None;
    let call = Arc::new(call);
    let kinds = [
        start(Some("fp")),
        Kind::End {
            ending: ending(Outcome::Ok, "", 0.0, 0.0),
            duration: Duration::ZERO,
        },
    ];
    let mut out = b"before\n".to_vec();
    for kind in kinds {
        let event = Event {
            call: Arc::clone(&call),
            number: 1,
            at: SystemTime::now(),
            kind,
        };
        assert!(!event.write_line("host/1", &mut out));
    }
    assert_eq!(out, b"before\n");
}

#[test]
fn a_report_is_a_line() {
    let mut out = Vec::new();
    write_report("a\"b/1", 7, &mut out);
    assert_eq!(
        out,
        b"{\"type\":\"client_report\",\"client\":\"a\\\"b/1\",\"dropped\":7}\n"
    );
}

#[test]
fn events_without_a_token_are_counted_as_dropped() {
    let bench = Bench::new(QUICK);
    let _collector = Collector::new(&bench.socket());
    let mut call = Arc::into_inner(call("dynamodb.TransactWriteItems", "", "c", "")).unwrap();
    call.token = None;
    let parameters = Parameters::Body(b"no JSON".as_slice().into());
    let start = Start {
        number: 1,
        own_call: true,
        max_attempts: None,
        traceparent: None,
    };
    Attempt::begin(Some(bench.transport), &Arc::new(call), parameters, start)
        .end(Outcome::Ok, Answer::default());
    bench.wait_for("3 drops", |stats| stats.dropped == 3);
}
