//! Whole connections into the sidecar's middle: nothing they say may upset it, every line is
//! accounted for, and no table holds more than its capacity.

use std::sync::Arc;
use std::time::Duration;

use oncewatch::detect::profile::{self, Profile};
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{ConnectionId, Detector, Options, Source, Trace};
use oncewatch::edge::ingest::framing::Lines;
use oncewatch::metrics::Metrics;
use oncewatch::pipeline::spans::SpanSink;
use oncewatch::pipeline::{Pipeline, Sinks};
use tokio::sync::mpsc;

const CAPACITY: usize = 5;
const QUEUE: usize = 16;

/// Lines are events, but for those of the script: `!N` lets N milliseconds pass, `@N` goes on with
/// connection N, `~` closes the connection.
pub fn check(data: &[u8]) {
    let profiles = profile::profiles(&toml::Table::new(), Some(CAPACITY)).expect("built in");
    let mut script = Script::new(profiles);
    for line in data.split(|&byte| byte == b'\n') {
        script.step(line);
    }
    script.end();
}

struct Script {
    pipeline: Pipeline,
    metrics: Arc<Metrics>,
    // Held, so that the queues fill and then drop.
    _reports: mpsc::Receiver<oncewatch::pipeline::Report>,
    _lifecycles: mpsc::Receiver<oncewatch::pipeline::spans::Waiting>,
    now: Timestamp,
    connection: u64,
    lines: usize,
}

impl Script {
    fn new(profiles: Vec<Profile>) -> Self {
        let active = ["dynamodb.TransactWriteItems".to_owned()];
        let metrics = Arc::new(Metrics::new(&profiles, &active));
        let options = Options {
            detail: Severity::Info,
            trace: Trace::All,
            hash_key: [7; 16],
        };
        let (findings, reports) = mpsc::channel(QUEUE);
        let (spans, lifecycles) = SpanSink::new(QUEUE, 1 << 20);
        let sinks = Sinks {
            findings,
            spans: Some(spans),
        };
        let detector = Detector::new(profiles, options);
        Self {
            pipeline: Pipeline::new(detector, metrics.clone(), sinks),
            metrics,
            _reports: reports,
            _lifecycles: lifecycles,
            now: Timestamp::from_micros(1_700_000_000_000_000),
            connection: 0,
            lines: 0,
        }
    }

    fn step(&mut self, line: &[u8]) {
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
        match line {
            [b'!', ms @ ..] if number(ms).is_some() => {
                self.now = self.now + Duration::from_millis(number(ms).unwrap_or(0).into());
                self.pipeline.timeout(self.now);
            }
            [b'@', to @ ..] if number(to).is_some() => {
                self.connection = number(to).unwrap_or(0).into();
            }
            b"~" => self
                .pipeline
                .disconnect(ConnectionId(self.connection), self.now),
            line => self.send(line),
        }
    }

    fn send(&mut self, line: &[u8]) {
        let identity = format!("uid:0/connection:{}", self.connection);
        let source = Source {
            connection: Some(ConnectionId(self.connection)),
            identity: Some(&identity),
        };
        self.lines += usize::from(!line.trim_ascii().is_empty());
        let lines = Lines::whole(line, usize::MAX);
        self.pipeline.process(lines, source, self.now, |_| {});
    }

    fn end(self) {
        let profiles = self.pipeline.inspect(|detector| detector.profiles().len());
        for profile in (0..profiles).map(oncewatch::detect::finding::ProfileId) {
            let counts = self.pipeline.inspect(|detector| detector.counts(profile));
            assert!(counts.iter().sum::<usize>() <= CAPACITY, "{counts:?}");
        }
        let mut counted = 0.0;
        for family in self.metrics.registry.gather() {
            if matches!(
                family.name(),
                "oncewatch_events_total" | "oncewatch_events_rejected_total"
            ) {
                counted += family
                    .get_metric()
                    .iter()
                    .map(|m| m.get_counter().get_value())
                    .sum::<f64>();
            }
        }
        assert_eq!(
            counted, self.lines as f64,
            "a line was lost or counted twice"
        );
        self.pipeline.shutdown(self.now);
        // Long after everything has expired, nothing is left.
        let later = self.now + Duration::from_secs(10 * 86400);
        for _ in 0..10 {
            self.pipeline.timeout(later);
        }
        for profile in (0..profiles).map(oncewatch::detect::finding::ProfileId) {
            let counts = self.pipeline.inspect(|detector| detector.counts(profile));
            assert_eq!(counts.iter().sum::<usize>(), 0, "not forgotten");
        }
    }
}
