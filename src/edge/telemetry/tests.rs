use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::detect::finding::{Holder, fixture};
use crate::detect::trace::TraceContext;

/// What was written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, level: LevelFilter, act: impl FnOnce()) -> String {
    let page = Page::default();
    let writer = page.clone();
    let subscriber = subscriber(format, level, false, move || writer.clone());
    tracing::subscriber::with_default(subscriber, act);
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn finding(verdict: Verdict) -> Finding {
    Finding {
        at: Timestamp::from_micros(1_700_000_000_000_000),
        verdict,
        token: "secret-token".into(),
        client: Some("orders-1/77".into()),
        attempt: 2,
        holder: Some(Holder {
            client: Some("orders-2/9".into()),
            call: Some("c9".into()),
            since: Timestamp::from_micros(1_699_999_999_000_000),
            token: Some("secret-other".into()),
            trace: None,
        }),
        age: Some(Duration::from_millis(1500)),
        trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        message: "held by\nlevel=fake".to_owned(),
        ..fixture::finding(7)
    }
}

fn masked(token: &str) -> String {
    format!("<{}>", token.len())
}

#[test]
fn a_finding_is_one_json_object_without_its_token() {
    let text = logged(LogFormat::Json, LevelFilter::INFO, || {
        FindingLog::new().log(
            &finding(Verdict::CrossClientCollision),
            Timestamp::from_micros(0),
            &masked,
        );
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "level": "ERROR",
        "verdict": "cross_client_collision",
        "severity": "error",
        "api": "dynamodb.TransactWriteItems",
        "token": "<12>",
        "client": "orders-1/77",
        "attempt": 2,
        "holder_client": "orders-2/9",
        "holder_call": "c9",
        "holder_token": "<12>",
        "age_s": 1.5,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "message": "held by level=fake",
        "remedy": Verdict::CrossClientCollision.remedy(),
    });
    for (field, expected) in expected.as_object().unwrap() {
        assert_eq!(&line[field], expected, "{field} in {text}");
    }
    assert!(
        line.get("call").is_none() && line.get("suppressed").is_none(),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn verdicts_are_throttled_apart_and_the_next_line_says_what_was_left_out() {
    let text = logged(LogFormat::Json, LevelFilter::INFO, || {
        let mut log = FindingLog::new();
        let start = Timestamp::from_micros(0);
        for _ in 0..25 {
            log.log(&finding(Verdict::Orphaned), start, &masked);
        }
        log.log(&finding(Verdict::ReuseAfterWindow), start, &masked);
        log.log(
            &finding(Verdict::Orphaned),
            start + Duration::from_secs(1),
            &masked,
        );
    });
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |verdict: &str| {
        lines
            .iter()
            .filter(|line| line["verdict"] == verdict)
            .count()
    };
    assert_eq!((of("orphaned"), of("reuse_after_window")), (11, 1));
    assert_eq!(lines[0]["level"], "WARN");
    assert_eq!(lines.last().unwrap()["suppressed"], 15);
}

#[test]
fn text_is_one_line_a_finding_and_obeys_the_level() {
    let log = |level| {
        logged(LogFormat::Text, level, || {
            let mut log = FindingLog::new();
            let mut forged = finding(Verdict::Orphaned);
            forged.client = Some("a\nb".into());
            log.log(&forged, Timestamp::from_micros(0), &masked);
            log.log(
                &finding(Verdict::DoubleExecution),
                Timestamp::from_micros(0),
                &masked,
            );
        })
    };
    let all = log(LevelFilter::INFO);
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(
        all.contains("verdict=\"orphaned\"") && !all.contains("suppressed"),
        "{all}"
    );
    assert_eq!(log(LevelFilter::ERROR).lines().count(), 1);
    assert_eq!(log(LevelFilter::OFF), "");
}

#[test]
fn rejected_lines_are_throttled_by_reason() {
    let text = logged(LogFormat::Json, LevelFilter::INFO, || {
        let log = RejectedLog::default();
        let error = |reason, field| DecodeError { reason, field };
        for _ in 0..1000 {
            log.log(
                error(Reason::Malformed, None),
                "uid 1000, connection 3",
                Timestamp::from_micros(0),
            );
        }
        log.log(
            error(Reason::InvalidField, Some("at")),
            "uid 1000, connection 3",
            Timestamp::from_micros(0),
        );
    });
    assert_eq!(text.lines().count(), 11);
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["reason"], &last["field"]),
        (&"invalid_field".into(), &"at".into())
    );
    assert_eq!(last["from"], "uid 1000, connection 3");
}

#[test]
fn libraries_do_not_speak_through_our_level() {
    let text = logged(LogFormat::Text, LevelFilter::TRACE, || {
        tracing::error!(target: "opentelemetry-otlp", "each batch again");
        tracing::warn!(target: "opentelemetry_sdk", "each batch again");
        tracing::info!(target: "hyper_util", "chatter");
        tracing::warn!(target: "hyper_util", "heard");
        tracing::trace!(target: "oncewatch::edge", "ours");
    });
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("heard") && text.contains("ours"), "{text}");
}
