//! Settings of the span export, from OpenTelemetry's standard environment variables.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

/// Looks a variable up; unset and empty are the same, as OpenTelemetry's specification says.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where spans go, and how.
#[derive(Clone, PartialEq)]
pub struct SpanSettings {
    /// Full address of the collector's traces endpoint; its scheme is http.
    pub endpoint: Uri,
    /// Headers sent with each request; their values may be secrets.
    pub headers: HashMap<String, String>,
    /// Limit of one export with its retries (`OTEL_EXPORTER_OTLP_TIMEOUT`, default 10 s).
    pub timeout: Duration,
    /// Attributes of the resource; `service.name` is always there.
    pub resource: BTreeMap<String, String>,
    /// Spans that wait for export at most (`OTEL_BSP_MAX_QUEUE_SIZE`, default 2048).
    pub queue_max: usize,
    /// Spans in one request at most (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, default 512).
    pub batch_max: usize,
    /// Longest time a span waits for company (`OTEL_BSP_SCHEDULE_DELAY`, default 5 s).
    pub schedule_delay: Duration,
    /// Limit of one export as the batching sees it (`OTEL_BSP_EXPORT_TIMEOUT`, default 30 s).
    pub export_timeout: Duration,
}

/// Leaves out the values of headers.
impl fmt::Debug for SpanSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanSettings")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("resource", &self.resource)
            .field("queue_max", &self.queue_max)
            .field("batch_max", &self.batch_max)
            .field("schedule_delay", &self.schedule_delay)
            .field("export_timeout", &self.export_timeout)
            .finish()
    }
}

impl SpanSettings {
    /// Reads the variables; `None` when no endpoint is set, the SDK is disabled or the exporter is
    /// `none`. Compression is not done; a wish for gzip is ignored, since every receiver takes
    /// plain requests.
    ///
    /// # Errors
    ///
    /// One sentence for each variable that cannot be used, beginning with its name.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, Vec<String>> {
        let lookup = &|name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let mut reader = Reader {
            lookup,
            problems: Vec::new(),
        };
        let disabled = lookup("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let exporter = lookup("OTEL_TRACES_EXPORTER").unwrap_or_else(|| "otlp".to_owned());
        let has_endpoint = ENDPOINTS.into_iter().any(|name| lookup(name).is_some());
        if disabled || !has_endpoint || exporter.trim() == "none" {
            return Ok(None);
        }
        if exporter.trim() != "otlp" {
            reader.problem(
                "OTEL_TRACES_EXPORTER",
                &format!("{exporter:?} is not one of otlp, none"),
            );
        }
        reader.protocol();
        let queue_max = reader.integer(&["OTEL_BSP_MAX_QUEUE_SIZE"], 2048, 1..=1_000_000);
        let batch_max = reader.integer(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 512, 1..=1_000_000);
        let settings = Self {
            endpoint: reader.endpoint().unwrap_or_default(),
            headers: reader.headers(),
            timeout: reader.millis(
                &[
                    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
                    "OTEL_EXPORTER_OTLP_TIMEOUT",
                ],
                10_000,
            ),
            resource: reader.resource(),
            queue_max: queue_max as usize,
            batch_max: batch_max.min(queue_max) as usize,
            schedule_delay: reader.millis(&["OTEL_BSP_SCHEDULE_DELAY"], 5000),
            export_timeout: reader.millis(&["OTEL_BSP_EXPORT_TIMEOUT"], 30_000),
        };
        if reader.problems.is_empty() {
            Ok(Some(settings))
        } else {
            Err(reader.problems)
        }
    }
}

/// The variable for traces alone counts before the general one.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

struct Reader<'a> {
    lookup: Lookup<'a>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn problem(&mut self, name: &str, problem: &str) {
        self.problems.push(format!("{name}: {problem}"));
    }

    /// The first of `names` that is set, with its value.
    fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names
            .iter()
            .find_map(|name| Some((*name, (self.lookup)(name)?.trim().to_owned())))
    }

    /// The general endpoint is a base to which the signal's path is added; the other one is used
    /// as it is.
    fn endpoint(&mut self) -> Option<Uri> {
        let (name, value) = self.first(&ENDPOINTS)?;
        let full = if name == ENDPOINTS[0] {
            value.clone()
        } else {
            format!("{}/v1/traces", value.trim_end_matches('/'))
        };
        let uri = full
            .parse::<Uri>()
            .ok()
            .filter(|uri| uri.authority().is_some());
        match uri.as_ref().and_then(Uri::scheme_str) {
            Some("http") => uri,
            Some("https") => {
                self.problem(name, "https is not supported; export over http to a collector in the pod or on the node");
                None
            }
            _ => {
                self.problem(
                    name,
                    &format!("{value:?} is not an address such as \"http://localhost:4318\""),
                );
                None
            }
        }
    }

    fn protocol(&mut self) {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        if let Some((name, value)) = self.first(&names)
            && value != "http/protobuf"
        {
            self.problem(name, &format!("{value:?} is not supported; use http/protobuf, which collectors accept at port 4318"));
        }
    }

    fn headers(&mut self) -> HashMap<String, String> {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ];
        let pairs = self.pairs(&names);
        for (key, value) in &pairs {
            // The value may be a secret, so only the key is told.
            if key.parse::<HeaderName>().is_err() || value.parse::<HeaderValue>().is_err() {
                let name = self.first(&names).map_or(names[1], |(name, _)| name);
                self.problem(name, &format!("{key:?} is not a valid header"));
            }
        }
        pairs.into_iter().collect()
    }

    fn resource(&mut self) -> BTreeMap<String, String> {
        let mut attributes: BTreeMap<_, _> = self
            .pairs(&["OTEL_RESOURCE_ATTRIBUTES"])
            .into_iter()
            .collect();
        if let Some((_, name)) = self.first(&["OTEL_SERVICE_NAME"]) {
            attributes.insert("service.name".to_owned(), name);
        }
        attributes
            .entry("service.name".to_owned())
            .or_insert_with(|| "oncewatch".to_owned());
        attributes
            .entry("service.version".to_owned())
            .or_insert_with(|| env!("CARGO_PKG_VERSION").to_owned());
        attributes
    }

    /// A list `key=value,key=value` with percent-encoded values.
    fn pairs(&mut self, names: &[&str]) -> Vec<(String, String)> {
        let Some((name, list)) = self.first(names) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (i, item) in list
            .split(',')
            .map(str::trim)
            .enumerate()
            .filter(|(_, item)| !item.is_empty())
        {
            let pair = item
                .split_once('=')
                .map(|(key, value)| (key.trim(), percent_decoded(value.trim())));
            match pair {
                Some((key, Some(value))) if !key.is_empty() => pairs.push((key.to_owned(), value)),
                _ => self.problem(name, &format!("entry {} is not key=value", i + 1)),
            }
        }
        pairs
    }

    fn millis(&mut self, names: &[&str], default: u64) -> Duration {
        Duration::from_millis(self.integer(names, default, 1..=3_600_000))
    }

    fn integer(&mut self, names: &[&str], default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some((name, value)) = self.first(names) else {
            return default;
        };
        value
            .parse()
            .ok()
            .filter(|n| range.contains(n))
            .unwrap_or_else(|| {
                let (low, high) = (range.start(), range.end());
                self.problem(
                    name,
                    &format!("{value:?} is not a whole number from {low} to {high}"),
                );
                default
            })
    }
}

/// `None` if a percent sign is not followed by two hex digits, or the result is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Option<SpanSettings>, Vec<String>> {
        let lookup = |name: &str| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        SpanSettings::from_lookup(&lookup)
    }

    #[test]
    fn spans_are_exported_only_if_an_endpoint_is_set() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(
            read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]),
            Ok(None)
        );
        assert!(
            read(&[endpoint, ("OTEL_SDK_DISABLED", "no")])
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn defaults_are_those_of_opentelemetry() {
        let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")])
            .unwrap()
            .unwrap();
        assert_eq!(settings.endpoint, "http://collector:4318/v1/traces");
        assert_eq!((settings.queue_max, settings.batch_max), (2048, 512));
        let times = [
            settings.timeout,
            settings.schedule_delay,
            settings.export_timeout,
        ];
        assert_eq!(times.map(|time| time.as_secs()), [10, 5, 30]);
        assert_eq!(settings.resource["service.name"], "oncewatch");
        assert!(settings.headers.is_empty());
    }

    #[test]
    fn every_variable_is_read() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://ignored:1"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://[::1]:9/custom?tenant=a",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "ignored=1"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                "Authorization=Basic%20c2VjcmV0=, x-a = b ,",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "7"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=other,k8s.pod.name=orders%2D1",
            ),
            ("OTEL_SERVICE_NAME", "orders"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "30"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(settings.endpoint, "http://[::1]:9/custom?tenant=a");
        assert_eq!(settings.headers["Authorization"], "Basic c2VjcmV0=");
        assert_eq!(
            (settings.headers["x-a"].as_str(), settings.headers.len()),
            ("b", 2)
        );
        let times = [
            settings.timeout,
            settings.schedule_delay,
            settings.export_timeout,
        ];
        assert_eq!(times.map(|time| time.as_millis()), [250, 20, 30]);
        assert_eq!((settings.queue_max, settings.batch_max), (100, 100));
        assert_eq!(settings.resource["service.name"], "orders");
        assert_eq!(settings.resource["k8s.pod.name"], "orders-1");
        assert!(
            !format!("{settings:?}").contains("c2VjcmV0"),
            "{settings:?}"
        );
    }

    #[test]
    fn every_problem_is_named() {
        let problems = read(&[
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=1,secretonly,c=%zz"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ])
        .unwrap_err();
        let names = [
            "OTEL_TRACES_EXPORTER: \"zipkin\"",
            "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\"",
            "OTEL_BSP_MAX_QUEUE_SIZE: \"0\" is not a whole number from 1 to 1000000",
            "OTEL_EXPORTER_OTLP_ENDPOINT: https is not supported",
            "OTEL_EXPORTER_OTLP_HEADERS: entry 2 is not key=value",
            "OTEL_EXPORTER_OTLP_HEADERS: entry 3 is not key=value",
            "OTEL_EXPORTER_OTLP_HEADERS: \"a b\" is not a valid header",
            "OTEL_EXPORTER_OTLP_TIMEOUT: \"10s\"",
            "OTEL_RESOURCE_ATTRIBUTES: entry 1",
        ];
        assert_eq!(problems.len(), names.len(), "{problems:#?}");
        for (problem, name) in problems.iter().zip(names) {
            assert!(problem.starts_with(name), "{problem}");
        }
        for endpoint in ["collector:4318", "localhost", "ftp://a", "http://", "/v1"] {
            let problems = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).unwrap_err();
            assert!(
                problems[0].contains("is not an address"),
                "{endpoint}: {problems:?}"
            );
        }
    }
}
