use opentelemetry::Value;

use super::*;
use crate::detect::finding::{Mark, ProfileId, Status as TokenStatus};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + ms * 1000)
}

fn trace(id: u8) -> Option<TraceContext> {
    Some(TraceContext {
        trace_id: [id; 16],
        span_id: [id; 8],
        flags: 1,
    })
}

fn attempt(
    client: &str,
    number: u64,
    start: i64,
    end: Option<(i64, Class)>,
    verdict: Verdict,
    traced: u8,
) -> AttemptRecord {
    AttemptRecord {
        client: Some(client.into()),
        call: Some("c".into()),
        number,
        start: at(start),
        end: end.map(|(end, class)| (at(end), class)),
        verdict: Some(verdict),
        trace: trace(traced).filter(|_| traced != 0),
    }
}

/// Client a starts, client b runs into it, a succeeds, then b is refused and double_execution is added.
fn collision() -> Lifecycle {
    Lifecycle {
        profile: ProfileId(0),
        api: "dynamodb.TransactWriteItems".into(),
        token: "secret".into(),
        scope: "".into(),
        start: at(0),
        end: at(900),
        status: TokenStatus::Succeeded,
        last_class: Some(Class::InProgress),
        attempts: vec![
            attempt("a", 1, 0, Some((500, Class::Success)), Verdict::FirstUse, 1),
            attempt(
                "b",
                3,
                100,
                Some((900, Class::InProgress)),
                Verdict::CrossClientCollision,
                2,
            ),
        ],
        last_error: Some("TransactionInProgressException".into()),
        marks: vec![
            Mark {
                at: at(100),
                verdict: Verdict::CrossClientCollision,
                holder: trace(1),
            },
            Mark {
                at: at(700),
                verdict: Verdict::DoubleExecution,
                holder: trace(9),
            },
        ],
        parent: trace(1),
    }
}

fn mapped(lifecycle: &Lifecycle) -> SpanData {
    let scope = InstrumentationScope::builder("oncewatch").build();
    span(lifecycle, &scope, &|token| format!("#{}", token.len()))
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Value> {
    let found = attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.clone())
}

fn texts(attributes: &[KeyValue], keys: &[&str]) -> Vec<String> {
    keys.iter()
        .map(|key| value(attributes, key).map_or("-".to_owned(), |v| v.to_string()))
        .collect()
}

#[test]
fn the_span_is_the_lifecycle_with_its_own_times_and_the_callers_parent() {
    let span = mapped(&collision());
    assert_eq!(span.name, "idempotency_token dynamodb.TransactWriteItems");
    assert_eq!(span.span_kind, SpanKind::Internal);
    let since = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis()
    };
    assert_eq!(
        (since(span.start_time), since(span.end_time)),
        (1_700_000_000_000, 1_700_000_000_900)
    );
    assert_eq!(span.span_context.trace_id(), TraceId::from_bytes([1; 16]));
    assert_eq!(span.parent_span_id, SpanId::from_bytes([1; 8]));
    assert!(
        span.parent_span_is_remote
            && span.span_context.is_sampled()
            && span.span_context.is_valid()
    );
    assert_eq!(span.status, Status::error("double_execution"));
    let keys = [
        "oncewatch.api",
        "oncewatch.token.hash",
        "oncewatch.attempts",
        "oncewatch.client",
        "oncewatch.verdict",
        "error.type",
        "db.system.name",
        "db.operation.name",
    ];
    let expected = [
        "dynamodb.TransactWriteItems",
        "#6",
        "2",
        "a",
        "double_execution",
        "TransactionInProgressException",
        "aws.dynamodb",
        "TransactWriteItems",
    ];
    assert_eq!(texts(&span.attributes, &keys), expected);
    assert_eq!(span.attributes.len(), keys.len());
    assert!(!format!("{span:?}").contains("secret"));
}

#[test]
fn attempts_and_verdicts_are_events_in_order() {
    let span = mapped(&collision());
    let start = span.start_time;
    let told: Vec<_> = span
        .events
        .iter()
        .map(|event| {
            let offset = event.timestamp.duration_since(start).unwrap().as_millis();
            let keys = [
                "oncewatch.attempt",
                "oncewatch.client",
                "oncewatch.result",
                "oncewatch.severity",
            ];
            (
                offset,
                &*event.name,
                texts(&event.attributes, &keys).join(" "),
            )
        })
        .collect();
    let expected = [
        (0, "attempt_start", "1 a - -"),
        (0, "first_use", "1 - - info"),
        (100, "attempt_start", "3 b - -"),
        (100, "cross_client_collision", "3 - - error"),
        (500, "attempt_end", "1 a success -"),
        (700, "double_execution", "- - - critical"),
        (900, "attempt_end", "3 b in_progress -"),
    ];
    let told: Vec<_> = told
        .iter()
        .map(|(at, name, rest)| (*at, *name, rest.as_str()))
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn findings_link_to_holder_first_attempt_and_the_attempt_itself() {
    let links = |lifecycle: &Lifecycle| -> Vec<_> {
        let link = |link: &Link| {
            let context = &link.span_context;
            assert!(
                context.is_remote()
                    && context.span_id().to_bytes()[0] == context.trace_id().to_bytes()[0]
            );
            let role = texts(&link.attributes, &["oncewatch.link", "oncewatch.verdict"]).join(" ");
            (context.trace_id().to_bytes()[0], role)
        };
        mapped(lifecycle).links.iter().map(link).collect()
    };
    let expected = [
        (1, "holder cross_client_collision".to_owned()),
        (2, "attempt cross_client_collision".to_owned()),
        (9, "holder double_execution".to_owned()),
    ];
    assert_eq!(links(&collision()), expected);

    // A reuse begins a new lifecycle, so only a mark knows the holder; it is not a second verdict.
    let mut reuse = collision();
    reuse.attempts = vec![attempt("a", 1, 0, None, Verdict::ReuseAfterWindow, 3)];
    reuse.marks = vec![Mark {
        at: at(0),
        verdict: Verdict::ReuseAfterWindow,
        holder: trace(8),
    }];
    let expected = [
        (8, "holder reuse_after_window".to_owned()),
        (3, "first_attempt reuse_after_window".to_owned()),
    ];
    assert_eq!(links(&reuse), expected);
    let names: Vec<_> = mapped(&reuse)
        .events
        .iter()
        .map(|event| event.name.clone())
        .collect();
    assert_eq!(names, ["attempt_start", "reuse_after_window"]);
}

#[test]
fn at_equal_times_an_end_follows_the_verdict_on_its_start() {
    let mut lifecycle = collision();
    lifecycle.marks.clear();
    let at_once = |verdict| attempt("a", 1, 0, Some((0, Class::Success)), verdict, 1);
    lifecycle.attempts = vec![at_once(Verdict::FirstUse), at_once(Verdict::Replay)];
    let events = mapped(&lifecycle).events;
    let names: Vec<_> = events.iter().map(|event| &*event.name).collect();
    let of = |verdict| ["attempt_start", verdict, "attempt_end"];
    assert_eq!(names, [of("first_use"), of("replay")].concat());
}

#[test]
fn a_healthy_lifecycle_without_parent_begins_a_trace_and_links_nowhere() {
    let mut lifecycle = collision();
    lifecycle.api = "stripe".into();
    lifecycle.parent = None;
    lifecycle.marks.clear();
    lifecycle.last_class = None;
    lifecycle.end = at(-5);
    lifecycle.attempts = vec![attempt(
        "a",
        1,
        0,
        Some((500, Class::Success)),
        Verdict::FirstUse,
        1,
    )];
    let (one, two) = (mapped(&lifecycle), mapped(&lifecycle));
    assert!(one.span_context.is_valid() && !one.parent_span_is_remote);
    assert_eq!(one.parent_span_id, SpanId::INVALID);
    assert_ne!(one.span_context.trace_id(), two.span_context.trace_id());
    assert_eq!((one.status, one.links.len()), (Status::Unset, 0));
    assert_eq!(one.end_time, one.start_time);
    let keys = ["oncewatch.verdict", "error.type", "db.system.name"];
    assert_eq!(texts(&one.attributes, &keys), ["first_use", "-", "-"]);
}

#[test]
fn warnings_do_not_make_the_span_an_error() {
    let mut lifecycle = collision();
    lifecycle.marks.clear();
    for verdict in Verdict::ALL {
        lifecycle.attempts[1].verdict = Some(verdict);
        let is_error = matches!(mapped(&lifecycle).status, Status::Error { .. });
        let expected = matches!(verdict.severity(), Severity::Error | Severity::Critical);
        assert_eq!(is_error, expected, "{verdict}");
    }
}

#[test]
fn events_and_links_are_bounded_and_the_rest_is_counted() {
    let mut lifecycle = collision();
    lifecycle.marks = (0..200u8)
        .map(|i| Mark {
            at: at(i64::from(i)),
            verdict: Verdict::Orphaned,
            holder: trace(i + 10),
        })
        .collect();
    let span = mapped(&lifecycle);
    assert_eq!((span.events.len(), span.events.dropped_count), (128, 78));
    assert_eq!((span.links.len(), span.links.dropped_count), (128, 74));
}
