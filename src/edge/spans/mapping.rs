//! One lifecycle as one span (SPEC §9).

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use crate::detect::finding::{AttemptRecord, Lifecycle};
use crate::detect::profile::Class;
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;
use crate::detect::verdict::{Severity, Verdict};

/// Events and links of a span at most, as the SDK limits them.
const EVENTS_MAX: usize = 128;
const LINKS_MAX: usize = 128;

/// The span of a lifecycle. It belongs to the first caller's trace, else begins one, and is always
/// sampled: the choice of what is worth a span was made when the lifecycle was handed out.
pub(super) fn span(
    lifecycle: &Lifecycle,
    scope: &InstrumentationScope,
    show: &dyn Fn(&str) -> String,
) -> SpanData {
    let ids = RandomIdGenerator::default();
    let parent = lifecycle.parent;
    let trace_id = parent.map_or_else(
        || ids.new_trace_id(),
        |parent| TraceId::from_bytes(parent.trace_id),
    );
    let judged = judged(lifecycle);
    let worst = worst(&judged);
    let status = match worst {
        Some(verdict) if verdict.severity() >= Severity::Error => Status::error(verdict.as_str()),
        _ => Status::Unset,
    };
    SpanData {
        span_context: SpanContext::new(
            trace_id,
            ids.new_span_id(),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span_id)),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Internal,
        name: format!("idempotency_token {}", lifecycle.api).into(),
        start_time: system_time(lifecycle.start),
        end_time: system_time(lifecycle.end.max(lifecycle.start)),
        attributes: attributes(lifecycle, worst, show),
        dropped_attributes_count: 0,
        events: events(lifecycle, &judged),
        links: links(lifecycle, &judged),
        status,
        instrumentation_scope: scope.clone(),
    }
}

/// A verdict of the lifecycle, on a start or beyond.
struct Judged<'a> {
    at: Timestamp,
    verdict: Verdict,
    /// The attempt whose start was judged.
    attempt: Option<&'a AttemptRecord>,
    holder: Option<TraceContext>,
}

/// All verdicts. One on a start can be told twice, by its attempt and by a mark that knows the
/// holder; it is the same verdict then.
fn judged(lifecycle: &Lifecycle) -> Vec<Judged<'_>> {
    let mut marks: Vec<_> = lifecycle.marks.iter().collect();
    let mut judged = Vec::new();
    for attempt in &lifecycle.attempts {
        let Some(verdict) = attempt.verdict else {
            continue;
        };
        let twin = marks
            .iter()
            .position(|mark| mark.verdict == verdict && mark.at == attempt.start);
        let holder = twin.and_then(|twin| marks.remove(twin).holder);
        judged.push(Judged {
            at: attempt.start,
            verdict,
            attempt: Some(attempt),
            holder,
        });
    }
    judged.extend(marks.into_iter().map(|mark| Judged {
        at: mark.at,
        verdict: mark.verdict,
        attempt: None,
        holder: mark.holder,
    }));
    judged
}

/// The first of the worst severity.
fn worst(judged: &[Judged<'_>]) -> Option<Verdict> {
    let severity = judged
        .iter()
        .map(|judged| judged.verdict.severity())
        .max()?;
    let mut verdicts: Vec<_> = judged.iter().collect();
    verdicts.sort_by_key(|judged| judged.at);
    let first = verdicts
        .into_iter()
        .find(|judged| judged.verdict.severity() == severity);
    first.map(|judged| judged.verdict)
}

fn attributes(
    lifecycle: &Lifecycle,
    worst: Option<Verdict>,
    show: &dyn Fn(&str) -> String,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("oncewatch.api", lifecycle.api.to_string()),
        KeyValue::new("oncewatch.token.hash", show(&lifecycle.token)),
        KeyValue::new(
            "oncewatch.attempts",
            i64::try_from(lifecycle.attempts.len()).unwrap_or(i64::MAX),
        ),
    ];
    let client = lifecycle
        .attempts
        .iter()
        .find_map(|attempt| attempt.client.as_deref());
    attributes.extend(client.map(|client| KeyValue::new("oncewatch.client", client.to_owned())));
    attributes.extend(worst.map(|verdict| KeyValue::new("oncewatch.verdict", verdict.as_str())));
    let failure = lifecycle
        .last_class
        .filter(|class| *class != Class::Success);
    let code = lifecycle.last_error.as_deref().map(str::to_owned);
    attributes.extend(failure.map(|class| {
        KeyValue::new(
            "error.type",
            code.unwrap_or_else(|| class.as_str().to_owned()),
        )
    }));
    if let Some(operation) = lifecycle.api.strip_prefix("dynamodb.") {
        attributes.push(KeyValue::new("db.system.name", "aws.dynamodb"));
        attributes.push(KeyValue::new("db.operation.name", operation.to_owned()));
    }
    attributes
}

/// Starts, ends and verdicts in order of time. At equal times, which one read brings, attempts keep
/// their order, and each its own: start, verdict, end.
fn events(lifecycle: &Lifecycle, judged: &[Judged<'_>]) -> SpanEvents {
    let mut events = Vec::new();
    for (place, attempt) in lifecycle.attempts.iter().enumerate() {
        let mut of_attempt = vec![KeyValue::new(
            "oncewatch.attempt",
            i64::try_from(attempt.number).unwrap_or(i64::MAX),
        )];
        let texts = [
            ("oncewatch.client", &attempt.client),
            ("oncewatch.call", &attempt.call),
        ];
        of_attempt.extend(
            texts
                .into_iter()
                .filter_map(|(key, text)| Some(KeyValue::new(key, text.as_deref()?.to_owned()))),
        );
        events.push((
            attempt.start,
            (place, 0),
            "attempt_start",
            of_attempt.clone(),
        ));
        if let Some((end, class)) = attempt.end {
            of_attempt.push(KeyValue::new("oncewatch.result", class.as_str()));
            events.push((end, (place, 2), "attempt_end", of_attempt));
        }
    }
    for judged in judged {
        let mut of_verdict = vec![
            KeyValue::new("oncewatch.verdict", judged.verdict.as_str()),
            KeyValue::new("oncewatch.severity", judged.verdict.severity().as_str()),
        ];
        let number = judged
            .attempt
            .and_then(|attempt| i64::try_from(attempt.number).ok());
        of_verdict.extend(number.map(|number| KeyValue::new("oncewatch.attempt", number)));
        let of = |attempt: &AttemptRecord| {
            lifecycle
                .attempts
                .iter()
                .position(|a| std::ptr::eq(a, attempt))
        };
        let place = judged.attempt.and_then(of).unwrap_or(usize::MAX);
        events.push((judged.at, (place, 1), judged.verdict.as_str(), of_verdict));
    }
    events.sort_by_key(|(at, place, ..)| (*at, *place));
    let mut kept = SpanEvents::default();
    kept.dropped_count = u32::try_from(events.len().saturating_sub(EVENTS_MAX)).unwrap_or(u32::MAX);
    kept.events = events
        .into_iter()
        .take(EVENTS_MAX)
        .map(|(at, _, name, attributes)| Event::new(name, system_time(at), attributes, 0))
        .collect();
    kept
}

/// For each finding: the holder's trace, the first attempt's and that of the attempt it is about.
/// A span is linked once, with the first role it was found in.
fn links(lifecycle: &Lifecycle, judged: &[Judged<'_>]) -> SpanLinks {
    let first = lifecycle.attempts.first().and_then(|attempt| attempt.trace);
    let mut found: Vec<(TraceContext, &str, Verdict)> = Vec::new();
    for judged in judged.iter().filter(|judged| judged.verdict.is_finding()) {
        let own = judged.attempt.and_then(|attempt| attempt.trace);
        let roles = [
            ("holder", judged.holder),
            ("first_attempt", first),
            ("attempt", own),
        ];
        for (role, trace) in roles {
            let Some(trace) = trace else {
                continue;
            };
            if !found.iter().any(|(known, ..)| {
                (known.trace_id, known.span_id) == (trace.trace_id, trace.span_id)
            }) {
                found.push((trace, role, judged.verdict));
            }
        }
    }
    let mut kept = SpanLinks::default();
    kept.dropped_count = u32::try_from(found.len().saturating_sub(LINKS_MAX)).unwrap_or(u32::MAX);
    kept.links = found
        .into_iter()
        .take(LINKS_MAX)
        .map(|(trace, role, verdict)| {
            let attributes = vec![
                KeyValue::new("oncewatch.link", role),
                KeyValue::new("oncewatch.verdict", verdict.as_str()),
            ];
            Link::new(remote(trace), attributes, 0)
        })
        .collect();
    kept
}

fn remote(trace: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id),
        SpanId::from_bytes(trace.span_id),
        TraceFlags::new(trace.flags),
        true,
        TraceState::default(),
    )
}

/// Times before 1970, which no event can carry, become 1970.
fn system_time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests;
