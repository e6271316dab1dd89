use prometheus::{CounterVec, Gauge, Histogram, HistogramOpts, IntCounter, Opts, Registry};

use super::*;
use crate::detect::time::Timestamp;
use crate::metrics::exemplar::{Exemplars, Kept};

#[test]
fn openmetrics_text_of_a_small_registry() {
    let registry = Registry::new();
    let orders = CounterVec::new(
        Opts::new("orders_total", "A \"help\"\\ of\ntwo lines"),
        &["kind"],
    )
    .unwrap();
    orders.with_label_values(&["a \"b\"\\\nc"]).inc_by(2.5);
    let age = Gauge::new("age_seconds", "Age").unwrap();
    age.set(f64::INFINITY);
    let plain = IntCounter::new("plain", "No suffix").unwrap();
    let bounds = HistogramOpts::new("oncewatch_reuse_age_seconds", "h").const_label("api", "other");
    let sizes = Histogram::with_opts(bounds.buckets(super::super::REUSE_AGE_BUCKETS[..2].to_vec()))
        .unwrap();
    sizes.observe(1.0);
    sizes.observe(100.0);
    for family in [
        Box::new(orders) as Box<dyn prometheus::core::Collector>,
        Box::new(age),
        Box::new(plain),
        Box::new(sizes),
    ] {
        registry.register(family).unwrap();
    }
    let exemplars = Exemplars::new(1);
    let at = Timestamp::from_micros(1_500_000);
    exemplars.put(
        0,
        Kept::ReuseAge,
        Exemplar {
            trace_id: [0xab; 16],
            value: 1.0,
            at,
        },
    );
    let text = openmetrics(&registry.gather(), &exemplars.snapshot(&["other".into()]));
    let expected = r##"# HELP age_seconds Age
# TYPE age_seconds gauge
# UNIT age_seconds seconds
age_seconds +Inf
# HELP oncewatch_reuse_age_seconds h
# TYPE oncewatch_reuse_age_seconds histogram
# UNIT oncewatch_reuse_age_seconds seconds
oncewatch_reuse_age_seconds_bucket{api="other",le="0.5"} 0
oncewatch_reuse_age_seconds_bucket{api="other",le="2.5"} 1 # {trace_id="abababababababababababababababab"} 1 1.500
oncewatch_reuse_age_seconds_bucket{api="other",le="+Inf"} 2
oncewatch_reuse_age_seconds_sum{api="other"} 101
oncewatch_reuse_age_seconds_count{api="other"} 2
# HELP orders A \"help\"\\ of\ntwo lines
# TYPE orders counter
orders_total{kind="a \"b\"\\\nc"} 2.5
# HELP plain No suffix
# TYPE plain counter
plain_total 0
# EOF
"##;
    assert_eq!(text, expected);
}

#[test]
fn openmetrics_is_given_only_to_those_who_rank_it_first() {
    let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (accept, expected) in [
        (prometheus_2, true),
        (prometheus_3, true),
        ("application/openmetrics-text", true),
        (
            "Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.2",
            true,
        ),
        ("application/openmetrics-text;q=0.5, text/*;q=0.4", true),
        ("application/openmetrics-text, */*", true),
        (
            "application/openmetrics-text;q=0.5, */*;q=0.9, text/plain;q=0.1",
            true,
        ),
        ("", false),
        ("*/*", false),
        ("application/*", false),
        ("text/html,application/xhtml+xml,*/*;q=0.8", false),
        ("application/openmetrics-text;q=0", false),
        ("application/openmetrics-text;q=nonsense", false),
        ("application/openmetrics-text;version=0.0.1", false),
        ("application/openmetrics-text;version=2.0.0", false),
        (
            "application/openmetrics-text;q=0.3,text/plain;version=0.0.4",
            false,
        ),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.8", false),
        ("application/openmetrics-texts", false),
    ] {
        assert_eq!(wants_openmetrics(accept), expected, "{accept}");
    }
}
