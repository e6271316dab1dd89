//! Cases taken sentence by sentence from the specification, in a short notation that any judge of event
//! streams can be fed with. The expected verdicts were written from the text.
//!
//! A line is `<seconds> <start|end|call> <call>.<attempt> [fp or answer] [key=value …]`; `-` as call means
//! none; a line of JSON stands for itself. Times count from [`BASE_S`]. Unless stated: api `dynamodb.TransactWriteItems`, token `t`, no client.
//! The profiles named `test.…` are those of `reference::test_profiles`.

#[path = "cases/calls.rs"]
mod calls;
#[path = "cases/ends.rs"]
mod ends;
#[path = "cases/lasting.rs"]
mod lasting;
#[path = "cases/starts.rs"]
mod starts;

use serde_json::{Value, json};

/// Unix seconds of time 0 of every case.
pub const BASE_S: i64 = 1_700_000_000;

/// (seconds since [`BASE_S`], verdict, token, attempt).
pub type Expected = (f64, &'static str, &'static str, u64);

pub struct Case {
    pub name: &'static str,
    /// The part of the specification that it is taken from.
    pub spec: &'static str,
    pub lines: &'static [&'static str],
    /// All verdicts from `info` up, in order.
    pub expect: &'static [Expected],
    /// How many findings are confirmed.
    pub confirmed: usize,
}

const fn case(
    name: &'static str,
    spec: &'static str,
    lines: &'static [&'static str],
    expect: &'static [Expected],
    confirmed: usize,
) -> Case {
    Case {
        name,
        spec,
        lines,
        expect,
        confirmed,
    }
}

pub fn all() -> Vec<&'static Case> {
    starts::CASES
        .iter()
        .chain(ends::CASES)
        .chain(calls::CASES)
        .chain(lasting::CASES)
        .collect()
}

/// A line of a case as the JSON of the wire.
pub fn json(line: &str) -> String {
    if line.starts_with('{') {
        return line.to_string();
    }
    let words: Vec<&str> = line.split(' ').collect();
    let at: f64 = words[0].parse().expect("seconds first");
    let kind = match words[1] {
        "start" => "attempt_start",
        "end" => "attempt_end",
        "call" => "call_end",
        other => panic!("no such kind of line: {other}"),
    };
    let (call, attempt) = words[2].split_once('.').expect("call.attempt");
    let mut event = json!({
        "type": kind,
        "at": BASE_S as f64 + at,
        "api": "dynamodb.TransactWriteItems",
        "token": "t",
    });
    if call != "-" {
        event["call"] = json!(call);
    }
    if kind != "call_end" {
        event["attempt"] = json!(attempt.parse::<u64>().expect("attempt number"));
    }
    for word in &words[3..] {
        match word.split_once('=') {
            Some((key, value)) => set(&mut event, key, value),
            None if kind == "attempt_start" => event["fp"] = json!(word),
            None => answer(&mut event, word),
        }
    }
    event.to_string()
}

fn set(event: &mut Value, key: &str, value: &str) {
    let number = || value.parse::<f64>().expect("number");
    match key {
        "t" => event["token"] = json!(value),
        "cl" => event["client"] = json!(value),
        "sc" => event["scope"] = json!(value),
        "api" => event["api"] = json!(value),
        "fp" => event["fp"] = json!(value),
        "raw" => event["fp_raw"] = json!(value),
        "max" => event["max_attempts"] = json!(value.parse::<u64>().expect("limit")),
        "status" => event["http_status"] = json!(value.parse::<u64>().expect("status")),
        "ms" => event["duration_ms"] = json!(number()),
        "ru" => event["read_units"] = json!(number()),
        "wu" => event["write_units"] = json!(number()),
        other => panic!("no such key: {other}"),
    }
}

fn answer(event: &mut Value, word: &str) {
    let code = match word {
        "ok" | "no_response" => {
            event["outcome"] = json!(word);
            return;
        }
        "busy" => "TransactionInProgressException",
        "mismatch" => "IdempotentParameterMismatchException",
        "cancel" => "TransactionCanceledException",
        "throttle" => "ThrottlingException",
        "invalid" => "ValidationException",
        "ise" => "InternalServerError",
        other => other,
    };
    event["outcome"] = json!("error");
    match code.parse::<u64>() {
        Ok(status) => event["http_status"] = json!(status),
        Err(_) => event["error"] = json!(code),
    }
}

/// One line each and why it is not used (`None`: it is), SPEC §2.
pub const REJECTED: &[(&str, Option<&str>)] = &[
    ("{", Some("malformed")),
    ("[]", Some("malformed")),
    ("7", Some("malformed")),
    ("   ", None),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"unknown":[1]}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":"2026-11-05T10:00:00.5+01:00"}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":"2026-11-05T10:00:00Z"}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":"2026-11-05T10:00:00"}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":"2026-02-30T10:00:00Z"}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":true}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t"}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":null}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"","at":1}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","at":1}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"","token":"t","at":1}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_start","api":7,"token":"t","at":1}"#,
        Some("invalid_field"),
    ),
    (r#"{"api":"a","token":"t","at":1}"#, Some("missing_field")),
    (
        r#"{"type":"","api":"a","token":"t","at":1}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":5,"api":"a","token":"t","at":1}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt","api":"a","token":"t","at":1}"#,
        Some("unknown_type"),
    ),
    (
        r#"{"v":1,"type":"attempt_start","api":"a","token":"t","at":1}"#,
        None,
    ),
    (
        r#"{"v":2,"type":"attempt","api":"a","token":"t","at":1}"#,
        Some("unsupported_version"),
    ),
    (
        r#"{"v":"1","type":"attempt_start","api":"a","token":"t","at":1}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"v":1.0,"type":"attempt_start","api":"a","token":"t","at":1}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"attempt":0}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"attempt":1.0}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"attempt":null}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"outcome":"fine"}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"token_origin":"me"}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"token_origin":""}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"duration_ms":-1}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"write_units":"2"}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"traceparent":7}"#,
        None,
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"http_status":"400"}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_start","api":"a","token":"t","at":1,"attempts":1.5}"#,
        Some("invalid_field"),
    ),
    (
        r#"{"type":"attempt_end","api":"a","token":"t","at":1}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_end","api":"a","token":"t","at":1,"outcome":""}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_end","api":"a","token":"t","at":1,"outcome":"error"}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_end","api":"a","token":"t","at":1,"outcome":"error","error":""}"#,
        Some("missing_field"),
    ),
    (
        r#"{"type":"attempt_end","api":"a","token":"t","at":1,"outcome":"error","http_status":500}"#,
        None,
    ),
    (
        r#"{"type":"call_end","api":"a","token":"t","at":1,"outcome":"no_response"}"#,
        None,
    ),
    (r#"{"type":"client_report","at":1,"dropped":4}"#, None),
    (r#"{"type":"client_report","at":1}"#, Some("missing_field")),
    (
        r#"{"type":"client_report","at":1,"dropped":4,"fp":5}"#,
        Some("invalid_field"),
    ),
];
