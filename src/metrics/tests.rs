use super::*;
use crate::detect::finding::{CallOutcome, Finding, Removal, fixture};
use crate::detect::profile::{Class, profiles};
use crate::detect::verdict::Verdict;
use exposition::render;

fn fresh(active: &[&str]) -> (Vec<Profile>, Metrics) {
    let profiles = profiles(&toml::Table::new(), None).unwrap();
    let active: Vec<_> = active.iter().map(|name| (*name).to_owned()).collect();
    let metrics = Metrics::new(&profiles, &active);
    (profiles, metrics)
}

const DYNAMODB: [&str; 2] = ["dynamodb.TransactWriteItems", "dynamodb.ExecuteTransaction"];

fn page(metrics: &Metrics) -> String {
    String::from_utf8(render(metrics, Vec::new(), "").1).unwrap()
}

fn record(metrics: &Metrics, out: &Verdicts) {
    let mut tally = metrics.tally();
    metrics.record(out, &mut tally);
    metrics.flush(&mut tally);
    let counted = page(metrics);
    metrics.flush(&mut tally);
    assert_eq!(page(metrics), counted, "a tally that was flushed is empty");
}

/// The value of one series of the classic page.
fn value(metrics: &Metrics, series: &str) -> f64 {
    let page = page(metrics);
    let line = page.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("no series {series} in\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn families_are_those_of_the_specification_and_each_series_exists_at_0() {
    let (_, metrics) = fresh(&DYNAMODB);
    let page = page(&metrics);
    let kinds: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE oncewatch_"))
        .collect();
    let mut expected = vec![
        "attempts_total counter",
        "calls_total counter",
        "verdicts_total counter",
        "attempt_duration_seconds histogram",
        "retry_delay_seconds histogram",
        "reuse_age_seconds histogram",
        "tokens gauge",
        "tokens_capacity gauge",
        "oldest_open_token_timestamp_seconds gauge",
        "observation_start_timestamp_seconds gauge",
        "window_seconds gauge",
        "tracking_gaps_total counter",
        "tokens_removed_total counter",
        "events_total counter",
        "events_rejected_total counter",
        "events_dropped_total counter",
        "clients_connected gauge",
        "last_event_timestamp_seconds gauge",
        "clock_suspect_total counter",
        "socket_rebinds_total counter",
        "spans_total counter",
        "state_bytes gauge",
        "state_replayed_total counter",
        "state_write_failures_total counter",
        "build_info gauge",
        "traceparent_malformed_total counter",
        "connections_refused_total counter",
    ];
    expected.sort_unstable();
    let mut sorted = kinds.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let constant = [
        "oncewatch_build_info{",
        "oncewatch_tokens_capacity{",
        "oncewatch_window_seconds{",
    ];
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let at_zero = line.ends_with(" 0");
        assert_ne!(
            at_zero,
            constant.iter().any(|name| line.starts_with(name)),
            "{line}"
        );
    }
}

#[test]
fn every_label_combination_is_there() {
    let (_, metrics) = fresh(&DYNAMODB);
    let page = page(&metrics);
    for api in DYNAMODB.into_iter().chain([OTHER]) {
        for verdict in Verdict::ALL {
            let (name, severity) = (verdict.as_str(), verdict.severity());
            let series = format!(
                "verdicts_total{{api=\"{api}\",severity=\"{severity}\",verdict=\"{name}\"}} 0"
            );
            assert!(page.contains(&series), "{series}");
        }
    }
    for (family, label, values) in [
        (
            "tracking_gaps_total",
            "reason",
            "evicted open_attempts_overflow calls_overflow sessions_overflow restart",
        ),
        (
            "events_total",
            "type",
            "attempt_start attempt_end call_end client_report",
        ),
        (
            "events_rejected_total",
            "reason",
            "malformed too_long unsupported_version unknown_type missing_field invalid_field duplicate",
        ),
        (
            "events_dropped_total",
            "where",
            "client findings_queue spans_queue",
        ),
        ("spans_total", "outcome", "exported failed dropped"),
    ] {
        for value in values.split(' ') {
            assert!(
                page.contains(&format!("oncewatch_{family}{{{label}=\"{value}\"}} 0")),
                "{family} {value}"
            );
        }
        let prefix = format!("oncewatch_{family}{{");
        assert_eq!(
            page.lines()
                .filter(|line| line.starts_with(&prefix))
                .count(),
            values.split(' ').count()
        );
    }
}

#[test]
fn inactive_profiles_share_the_label_other() {
    let (profiles, metrics) = fresh(&["stripe", "other", "no such profile"]);
    let id = |name: &str| {
        ProfileId(
            profiles
                .iter()
                .position(|profile| &*profile.name == name)
                .unwrap(),
        )
    };
    let mut out = Verdicts::default();
    for profile in [id("stripe"), id("http"), id("default"), ProfileId(99)] {
        out.observations
            .push(Observation::Attempt(profile, Class::Mismatch));
    }
    record(&metrics, &out);
    let attempts = |api| {
        value(
            &metrics,
            &format!("oncewatch_attempts_total{{api=\"{api}\",result=\"mismatch\"}}"),
        )
    };
    assert_eq!((attempts("stripe"), attempts("other")), (1.0, 3.0));
    assert_eq!(
        value(&metrics, "oncewatch_tokens_capacity{api=\"other\"}"),
        5.0 * 65536.0
    );
    assert_eq!(
        value(&metrics, "oncewatch_window_seconds{api=\"stripe\"}"),
        86400.0
    );
    assert!(!page(&metrics).contains("no such profile"));
}

#[test]
fn each_observation_moves_its_own_series() {
    let (_, metrics) = fresh(&DYNAMODB);
    let second = ProfileId(1);
    let ms = Duration::from_millis;
    let observations = vec![
        Observation::Accepted(Kind::CallEnd),
        Observation::Duplicate,
        Observation::DroppedByClient(7),
        Observation::TraceparentMalformed,
        Observation::Verdict(second, Verdict::DoubleExecution, None),
        Observation::Attempt(second, Class::ServerError),
        Observation::AttemptDuration(second, ms(10), None),
        Observation::RetryDelay(second, ms(5000), None),
        Observation::ReuseAge(second, ms(600_000), None),
        Observation::Call(second, CallOutcome::NotApplied),
        Observation::Removed(second, Removal::EvictedInWindow),
        Observation::Gap(Gap::Restart),
    ];
    let out = Verdicts {
        observations,
        ..Verdicts::default()
    };
    record(&metrics, &out);
    metrics.reject(Reason::TooLong);
    metrics.dropped_finding();
    metrics.dropped_span();
    metrics.refuse(Refused::Uid);
    metrics.spans().exported.inc_by(2);
    metrics.saw_event(Timestamp::from_micros(1_500_000));
    metrics.started(Timestamp::from_micros(2_000_000));
    let page = page(&metrics);
    let moved = r#"
        events_total{type="call_end"} 1
        events_rejected_total{reason="duplicate"} 1
        events_rejected_total{reason="too_long"} 1
        events_dropped_total{where="client"} 7
        events_dropped_total{where="findings_queue"} 1
        events_dropped_total{where="spans_queue"} 1
        spans_total{outcome="dropped"} 1
        spans_total{outcome="exported"} 2
        traceparent_malformed_total 1
        connections_refused_total{reason="uid"} 1
        verdicts_total{API,severity="critical",verdict="double_execution"} 1
        attempts_total{API,result="server_error"} 1
        attempt_duration_seconds_bucket{API,le="0.005"} 0
        attempt_duration_seconds_bucket{API,le="0.01"} 1
        retry_delay_seconds_bucket{API,le="2.5"} 0
        retry_delay_seconds_bucket{API,le="5"} 1
        reuse_age_seconds_bucket{API,le="300"} 0
        reuse_age_seconds_bucket{API,le="600"} 1
        calls_total{API,outcome="not_applied"} 1
        tokens_removed_total{API,reason="evicted_in_window"} 1
        tracking_gaps_total{reason="restart"} 1
        last_event_timestamp_seconds 1.5
        observation_start_timestamp_seconds 2"#;
    for line in moved.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.replace("API", "api=\"dynamodb.ExecuteTransaction\"");
        let line = format!("\noncewatch_{line}\n");
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    let others = [
        "_bucket",
        "_sum",
        "_count",
        "build_info",
        "tokens_capacity",
        "window_seconds",
    ];
    let counted = page.lines().filter(|line| {
        !line.starts_with('#')
            && !line.ends_with(" 0")
            && !others.iter().any(|name| line.contains(name))
    });
    assert_eq!(counted.count(), 17, "something else moved in\n{page}");
}

#[test]
fn tokens_are_summed_by_label() {
    let (_, metrics) = fresh(&DYNAMODB);
    metrics.set_tokens(|profile| [profile.0, 0, 0, 0, 10]);
    let tokens = |api: &str, status: &str| {
        value(
            &metrics,
            &format!("oncewatch_tokens{{api=\"{api}\",status=\"{status}\"}}"),
        )
    };
    assert_eq!(tokens(DYNAMODB[1], "in_flight"), 1.0);
    assert_eq!(tokens(OTHER, "in_flight"), 2.0 + 3.0 + 4.0 + 5.0);
    assert_eq!(
        (tokens(OTHER, "rejected"), tokens(OTHER, "unknown")),
        (40.0, 0.0)
    );
    metrics.set_tokens(|_| [0; 5]);
    assert_eq!(tokens(OTHER, "rejected"), 0.0);
}

#[test]
fn enums_are_listed_in_the_order_of_their_numbers() {
    // Children are found by `as usize`; a list in another order would count the wrong series.
    assert!(
        Class::ALL
            .iter()
            .enumerate()
            .all(|(i, class)| *class as usize == i)
    );
    assert!(
        CallOutcome::ALL
            .iter()
            .enumerate()
            .all(|(i, outcome)| *outcome as usize == i)
    );
    assert!(
        Verdict::ALL
            .iter()
            .enumerate()
            .all(|(i, verdict)| *verdict as usize == i)
    );
    assert!(
        Removal::ALL
            .iter()
            .enumerate()
            .all(|(i, removal)| *removal as usize == i)
    );
    assert!(
        Gap::ALL
            .iter()
            .enumerate()
            .all(|(i, gap)| *gap as usize == i)
    );
    assert!(
        Kind::ALL
            .iter()
            .enumerate()
            .all(|(i, kind)| *kind as usize == i)
    );
    assert!(
        Reason::ALL
            .iter()
            .enumerate()
            .all(|(i, reason)| *reason as usize == i)
    );
    assert!(
        Lost::ALL
            .iter()
            .enumerate()
            .all(|(i, lost)| *lost as usize == i)
    );
}

#[test]
fn a_clock_is_suspect_beyond_two_seconds_either_way() {
    let (_, metrics) = fresh(&[]);
    let now = Timestamp::from_micros(10_000_000);
    for at in [
        None,
        Some(8_000_000),
        Some(12_000_000),
        Some(7_999_999),
        Some(12_000_001),
    ] {
        metrics.check_clock(at.map(Timestamp::from_micros), now);
    }
    assert_eq!(value(&metrics, "oncewatch_clock_suspect_total"), 2.0);
}

#[test]
fn a_guard_counts_down_even_on_panic() {
    let (_, metrics) = fresh(&[]);
    let metrics = std::sync::Arc::new(metrics);
    let kept = metrics.connected();
    let inner = metrics.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = inner.connected();
        assert_eq!(value(&inner, "oncewatch_clients_connected"), 2.0);
        std::panic::resume_unwind(Box::new("as planned"));
    });
    assert!(panicked.join().is_err());
    assert_eq!(value(&metrics, "oncewatch_clients_connected"), 1.0);
    drop(kept);
    assert_eq!(value(&metrics, "oncewatch_clients_connected"), 0.0);
}

#[test]
fn exemplars_are_the_last_sampled_traces() {
    let (_, metrics) = fresh(&DYNAMODB);
    let trace = |id, flags| {
        Some(TraceContext {
            trace_id: [id; 16],
            span_id: [1; 8],
            flags,
        })
    };
    let observations = vec![
        Observation::Verdict(ProfileId(0), Verdict::FirstUse, trace(1, 1)),
        Observation::Verdict(ProfileId(0), Verdict::Orphaned, trace(2, 1)),
        Observation::Verdict(ProfileId(0), Verdict::Orphaned, trace(3, 1)),
        Observation::Verdict(ProfileId(0), Verdict::Orphaned, trace(4, 0)),
        Observation::RetryDelay(ProfileId(5), Duration::from_millis(5000), trace(5, 1)),
        Observation::RetryDelay(ProfileId(5), Duration::from_secs(9999), trace(6, 1)),
    ];
    let findings = vec![finding(Timestamp::from_micros(1_700_000_000_250_000))];
    let out = Verdicts {
        observations,
        findings,
        ..Verdicts::default()
    };
    record(&metrics, &out);
    let text =
        String::from_utf8(render(&metrics, Vec::new(), "application/openmetrics-text").1).unwrap();
    let marked: Vec<_> = text.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(
        marked,
        [
            r#"oncewatch_retry_delay_seconds_bucket{api="other",le="5"} 1 # {trace_id="05050505050505050505050505050505"} 5 1700000000.250"#,
            r#"oncewatch_retry_delay_seconds_bucket{api="other",le="+Inf"} 2 # {trace_id="06060606060606060606060606060606"} 9999 1700000000.250"#,
            r#"oncewatch_verdicts_total{api="dynamodb.TransactWriteItems",severity="warning",verdict="orphaned"} 3 # {trace_id="03030303030303030303030303030303"} 1 1700000000.250"#,
        ]
    );
}

fn finding(at: Timestamp) -> Finding {
    Finding {
        at,
        ..fixture::finding(1)
    }
}
