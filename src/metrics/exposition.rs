//! The page of metrics in the two text formats that Prometheus reads.

use std::fmt::Write as _;

use prometheus::TextEncoder;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::Metrics;
use super::exemplar::{Exemplar, Snapshot};

/// Content type of the classic text format, the default.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of OpenMetrics text, which carries exemplars.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Renders all series and the `extra` families, as an `Accept` header (empty: none was sent) prefers:
/// content type and body. Anything but a wish for OpenMetrics 1.0 gets the classic format.
///
/// Both formats write a bucket's bound the way the classic encoder does (`le="5"`), so that a series
/// keeps its identity when a scraper changes format; OpenMetrics recommends, not demands, `5.0`.
pub fn render(
    metrics: &Metrics,
    extra: Vec<MetricFamily>,
    accept: &str,
) -> (&'static str, Vec<u8>) {
    let mut families = metrics.registry.gather();
    families.extend(extra);
    if wants_openmetrics(accept) {
        let exemplars = metrics.exemplars.snapshot(&metrics.names);
        return (OPENMETRICS, openmetrics(&families, &exemplars).into_bytes());
    }
    let mut text = String::new();
    // An error means an empty or unnamed family; what precedes it is still a valid page.
    let _ = TextEncoder::new().encode_utf8(&families, &mut text);
    (CLASSIC, text.into_bytes())
}

/// Whether an `Accept` header (RFC 9110 §12.5.1) names OpenMetrics 1.0 and ranks it no lower than
/// the classic format.
fn wants_openmetrics(accept: &str) -> bool {
    let mut open = 0.0f64;
    // By falling specificity: the most specific range that matches decides.
    let mut classic = [("text/plain", None), ("text/*", None), ("*/*", None)];
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = 1.0;
        let mut version = None;
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        if media == "application/openmetrics-text" && version.is_none_or(|v| v == "1.0.0") {
            open = open.max(quality);
        } else if version.is_none_or(|v| v == "0.0.4")
            && let Some((_, kept)) = classic.iter_mut().find(|(name, _)| *name == media)
        {
            *kept = Some(quality.max(kept.unwrap_or(0.0)));
        }
    }
    let classic = classic.into_iter().find_map(|(_, quality)| quality);
    open > 0.0 && open >= classic.unwrap_or(0.0)
}

/// OpenMetrics 1.0 text of gathered families.
fn openmetrics(families: &[MetricFamily], exemplars: &Snapshot) -> String {
    let mut out = String::new();
    for family in families {
        let (kind, name) = match family.get_field_type() {
            MetricType::COUNTER => {
                let name = family.name();
                ("counter", name.strip_suffix("_total").unwrap_or(name))
            }
            MetricType::HISTOGRAM => ("histogram", family.name()),
            _ => ("gauge", family.name()),
        };
        let _ = writeln!(out, "# HELP {name} {}", escaped(family.help()));
        let _ = writeln!(out, "# TYPE {name} {kind}");
        if let Some(unit) = ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.ends_with(unit))
        {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
        for metric in family.get_metric() {
            let label = |wanted: &str| {
                let found = metric.get_label().iter().find(|pair| pair.name() == wanted);
                found.map(|pair| pair.value())
            };
            let last = exemplars.of(family.name(), label);
            match kind {
                "counter" => {
                    let value = metric.get_counter().get_value();
                    sample(
                        &mut out,
                        (name, "_total"),
                        metric,
                        None,
                        value,
                        last.first(),
                    );
                }
                "histogram" => histogram(&mut out, name, metric, last),
                _ => sample(
                    &mut out,
                    (name, ""),
                    metric,
                    None,
                    metric.get_gauge().get_value(),
                    None,
                ),
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

fn histogram(out: &mut String, name: &str, metric: &Metric, exemplars: &[Option<Exemplar>]) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    let finite = histogram.get_bucket().iter();
    let buckets = finite
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .filter(|(bound, _)| bound.is_finite())
        .chain([(f64::INFINITY, count)]);
    for (at, (bound, cumulative)) in buckets.enumerate() {
        let last = exemplars.get(at);
        sample(
            out,
            (name, "_bucket"),
            metric,
            Some(bound),
            cumulative as f64,
            last,
        );
    }
    sample(
        out,
        (name, "_sum"),
        metric,
        None,
        histogram.get_sample_sum(),
        None,
    );
    sample(out, (name, "_count"), metric, None, count as f64, None);
}

/// One line: name, labels, value and, where there is one, the exemplar.
fn sample(
    out: &mut String,
    (name, suffix): (&str, &str),
    metric: &Metric,
    bound: Option<f64>,
    value: f64,
    exemplar: Option<&Option<Exemplar>>,
) {
    out.push_str(name);
    out.push_str(suffix);
    let pairs = metric.get_label().iter();
    let mut labels: Vec<_> = pairs
        .map(|pair| format!("{}=\"{}\"", pair.name(), escaped(pair.value())))
        .collect();
    labels.extend(bound.map(|bound| format!("le=\"{}\"", number(bound))));
    if !labels.is_empty() {
        let _ = write!(out, "{{{}}}", labels.join(","));
    }
    let _ = write!(out, " {}", number(value));
    if let Some(Some(exemplar)) = exemplar {
        let trace_id = u128::from_be_bytes(exemplar.trace_id);
        let value = number(exemplar.value);
        let _ = write!(
            out,
            " # {{trace_id=\"{trace_id:032x}\"}} {value} {}",
            exemplar.at
        );
    }
    out.push('\n');
}

/// A number as both formats read it.
fn number(value: f64) -> String {
    if value.is_infinite() {
        let sign = if value > 0.0 { "+" } else { "-" };
        return format!("{sign}Inf");
    }
    value.to_string()
}

/// Help and label values with backslash, quote and line feed escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
