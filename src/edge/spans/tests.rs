//! The export against a small collector on loopback that decodes what it gets.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::detect::finding::Lifecycle;
use crate::detect::finding::{AttemptRecord, ProfileId, Status};
use crate::detect::profile::{Class, profiles};
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;
use crate::metrics::Metrics;
use crate::pipeline::spans::SpanSink;

/// How the collector answers its n-th request, counted from 0: status and body, or nothing at all.
type Answer = fn(usize) -> Option<(u16, &'static [u8])>;

struct Collector {
    address: String,
    seen: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    _tasks: JoinSet<()>,
}

impl Collector {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let kept = seen.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, requests) = (kept.clone(), requests.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, n) = (seen.clone(), requests.fetch_add(1, Ordering::Relaxed));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        seen.lock()
                            .unwrap()
                            .push((head.uri.to_string(), head.headers, body));
                        let Some((status, body)) = answer(n) else {
                            return std::future::pending().await;
                        };
                        let response = Response::builder()
                            .status(status)
                            .body(Full::new(Bytes::from_static(body)));
                        Ok::<_, hyper::Error>(response.unwrap())
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                connections.spawn(async move {
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A running export: its channel, its counters, and how it is stopped.
struct Rig {
    sender: SpanSink,
    counters: SpanCounters,
    stop: CancellationToken,
    task: JoinSet<()>,
}

const GRACE: Duration = Duration::from_secs(1);
/// A delay that never ends within a test: only full batches are sent.
const NEVER: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");

impl Rig {
    /// The export alone, and its counters.
    fn export(address: &str, extra: &[(&str, &str)]) -> (SpanExport, SpanCounters) {
        let endpoint = format!("http://{address}");
        let lookup = |name: &str| {
            let defaults = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue"),
                ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=orders-1"),
                ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ];
            let mut all = extra.iter().chain(&defaults);
            all.find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let settings = SpanSettings::from_lookup(&lookup).unwrap().unwrap();
        let metrics = Metrics::new(&profiles(&toml::Table::new(), None).unwrap(), &[]);
        let counters = metrics.spans();
        let export = SpanExport::new(
            settings,
            counters.clone(),
            Arc::new(|_| "hashed".to_owned()),
        )
        .unwrap();
        (export, counters)
    }

    fn start(address: &str, extra: &[(&str, &str)]) -> Self {
        let (export, counters) = Self::export(address, extra);
        let (sender, receiver) = SpanSink::new(100, 1 << 20);
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(export.run(receiver, stop.clone(), GRACE));
        Self {
            sender,
            counters,
            stop,
            task,
        }
    }

    async fn send(&self, lifecycles: usize) {
        for n in 0..lifecycles {
            while !self.sender.put(lifecycle(n as u8)) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Exported, failed, dropped.
    fn counts(&self) -> (u64, u64, u64) {
        (
            self.counters.exported.get(),
            self.counters.failed.get(),
            self.counters.dropped.get(),
        )
    }

    async fn until(&self, settled: u64) {
        let all = || {
            let (exported, failed, dropped) = self.counts();
            exported + failed + dropped
        };
        let waiting = async {
            while all() < settled {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = timeout(Duration::from_secs(10), waiting).await;
        assert!(done.is_ok(), "{:?} of {settled} settled", self.counts());
    }

    /// Stops the export and returns how long that took, with the final counts.
    async fn stop(mut self) -> (Duration, (u64, u64, u64)) {
        let asked = Instant::now();
        self.stop.cancel();
        timeout(Duration::from_secs(10), self.task.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        (asked.elapsed(), self.counts())
    }
}

fn lifecycle(n: u8) -> Lifecycle {
    let trace = |id| {
        Some(TraceContext {
            trace_id: [id; 16],
            span_id: [id; 8],
            flags: 1,
        })
    };
    let attempt = |client: &str, start, end, verdict, traced| AttemptRecord {
        client: Some(client.into()),
        call: None,
        number: 1,
        start: Timestamp::from_micros(start),
        end: Some((Timestamp::from_micros(end), Class::Success)),
        verdict: Some(verdict),
        trace: trace(traced),
    };
    Lifecycle {
        profile: ProfileId(0),
        api: "dynamodb.TransactWriteItems".into(),
        token: format!("token-{n}").into(),
        scope: "".into(),
        start: Timestamp::from_micros(1_700_000_000_000_001),
        end: Timestamp::from_micros(1_700_000_002_000_003),
        status: Status::Succeeded,
        last_class: None,
        last_error: None,
        attempts: vec![
            attempt(
                "a",
                1_700_000_000_000_001,
                1_700_000_001_000_000,
                Verdict::FirstUse,
                5,
            ),
            attempt(
                "b",
                1_700_000_000_500_000,
                1_700_000_002_000_003,
                Verdict::CrossClientCollision,
                6,
            ),
        ],
        marks: Vec::new(),
        parent: trace(5),
    }
}

/// All values of one field, found by the path of field numbers that leads to it; fixed64 as 8 bytes.
fn at_path<'a>(message: &'a [u8], path: &[u64]) -> Vec<&'a [u8]> {
    let Some((wanted, deeper)) = path.split_first() else {
        return vec![message];
    };
    let mut rest = message;
    let varint = |rest: &mut &[u8]| {
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let byte = *rest.split_off_first().unwrap();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        unreachable!()
    };
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let length = match tag & 7 {
            0 => {
                varint(&mut rest);
                continue;
            }
            1 => 8,
            2 => varint(&mut rest) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let value = rest.split_off(..length).unwrap();
        if tag >> 3 == *wanted {
            found.extend(at_path(value, deeper));
        }
    }
    found
}

/// Field numbers of opentelemetry/proto/trace/v1/trace.proto down to a span.
const SPAN: [u64; 3] = [1, 2, 2];

#[tokio::test]
async fn spans_reach_the_collector_as_they_are() {
    let collector = Collector::start(|_| Some((200, b""))).await;
    let rig = Rig::start(
        &collector.address,
        &[NEVER, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3")],
    );
    rig.send(3).await;
    rig.until(3).await;
    let (took, counts) = rig.stop().await;
    assert_eq!(counts, (3, 0, 0));
    assert!(took < GRACE, "{took:?}");

    let seen = collector.seen.lock().unwrap();
    let (path, headers, body) = &seen[0];
    assert_eq!((path.as_str(), seen.len()), ("/v1/traces", 1));
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-tenant"], "blue");
    let spans = at_path(body, &SPAN);
    assert_eq!(spans.len(), 3);
    let one = |path: &[u64]| {
        let found = at_path(spans[0], path);
        assert_eq!(found.len(), 1, "{path:?}");
        found[0].to_vec()
    };
    let nanos = |n: u64| n.to_le_bytes().to_vec();
    assert_eq!(one(&[1]), [5; 16], "trace id");
    assert_eq!(one(&[4]), [5; 8], "parent");
    assert_eq!(one(&[5]), b"idempotency_token dynamodb.TransactWriteItems");
    assert_eq!(one(&[7]), nanos(1_700_000_000_000_001_000), "start");
    assert_eq!(one(&[8]), nanos(1_700_000_002_000_003_000), "end");
    let events: Vec<_> = at_path(spans[0], &[11, 2])
        .into_iter()
        .map(|name| std::str::from_utf8(name).unwrap())
        .collect();
    assert_eq!(
        events,
        [
            "attempt_start",
            "first_use",
            "attempt_start",
            "cross_client_collision",
            "attempt_end",
            "attempt_end"
        ]
    );
    assert_eq!(
        at_path(spans[0], &[11, 1])[4],
        nanos(1_700_000_001_000_000_000),
        "end of the first attempt"
    );
    assert_eq!(at_path(spans[0], &[13, 1]), [[5; 16], [6; 16]], "links");
    assert_eq!(one(&[15, 2]), b"cross_client_collision", "status");
    let resource: Vec<_> = at_path(body, &[1, 1, 1, 1]);
    for key in [
        "service.name",
        "service.version",
        "k8s.pod.name",
        "telemetry.sdk.name",
    ] {
        assert!(resource.contains(&key.as_bytes()), "{key}");
    }
    let text = String::from_utf8_lossy(body);
    assert!(text.contains("hashed") && !text.contains("token-1"));
}

#[tokio::test]
async fn what_waits_is_flushed_at_the_end() {
    let collector = Collector::start(|_| Some((200, b""))).await;
    let long = [NEVER, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")];
    let rig = Rig::start(&collector.address, &long);
    rig.send(10).await;
    let (took, counts) = rig.stop().await;
    assert_eq!(counts, (10, 0, 0));
    assert!(took < GRACE, "{took:?}");
    assert_eq!(collector.requests(), 3);
}

#[tokio::test]
async fn a_dead_collector_costs_counted_failures_and_stops_in_time() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let rig = Rig::start(
        &port,
        &[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
        ],
    );
    rig.send(2).await;
    rig.until(2).await;
    assert_eq!(rig.counts(), (0, 2, 0));
    rig.send(50).await;
    let (took, (exported, failed, dropped)) = rig.stop().await;
    assert_eq!((exported, failed + dropped), (0, 52));
    assert!(failed >= 4, "{failed}");
    assert!(took < GRACE * 2, "{took:?}");
}

#[tokio::test]
async fn a_hanging_collector_costs_a_bounded_queue_and_stops_in_time() {
    let collector = Collector::start(|_| None).await;
    let small = [
        NEVER,
        ("OTEL_BSP_MAX_QUEUE_SIZE", "5"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
    ];
    let rig = Rig::start(&collector.address, &small);
    rig.send(20).await;
    rig.until(13).await;
    let (took, counts) = rig.stop().await;
    assert_eq!(counts.0, 0);
    assert_eq!(counts.1, 2, "the batch that was never answered");
    assert_eq!(counts.2, 18);
    assert!(took >= GRACE && took < GRACE * 2, "{took:?}");
}

#[tokio::test]
async fn an_export_ends_with_its_timeout() {
    let collector = Collector::start(|n| (n > 0).then_some((200, b""))).await;
    let rig = Rig::start(&collector.address, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "100")]);
    rig.send(1).await;
    rig.until(1).await;
    assert_eq!(rig.counts(), (0, 1, 0));
    rig.send(1).await;
    rig.until(2).await;
    assert_eq!(rig.counts(), (1, 1, 0));
}

#[tokio::test]
async fn what_the_protocol_calls_retryable_is_sent_again() {
    let collector = Collector::start(|n| Some((if n == 0 { 503 } else { 200 }, b""))).await;
    let rig = Rig::start(&collector.address, &[]);
    rig.send(1).await;
    rig.until(1).await;
    assert_eq!((rig.counts(), collector.requests()), ((1, 0, 0), 2));
}

#[tokio::test]
async fn a_refusal_is_final_and_counted() {
    let collector = Collector::start(|n| Some((if n == 0 { 400 } else { 200 }, b""))).await;
    let rig = Rig::start(
        &collector.address,
        &[NEVER, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")],
    );
    rig.send(2).await;
    rig.until(2).await;
    assert_eq!((rig.counts(), collector.requests()), ((0, 2, 0), 1));
    rig.send(2).await;
    rig.until(4).await;
    assert_eq!(rig.counts(), (2, 2, 0));
}

#[tokio::test]
async fn spans_refused_in_a_partial_success_are_not_counted_as_exported() {
    // partial_success { rejected_spans: 2 }
    let collector = Collector::start(|_| Some((200, &[10, 2, 8, 2]))).await;
    let rig = Rig::start(
        &collector.address,
        &[NEVER, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3")],
    );
    rig.send(3).await;
    rig.until(3).await;
    assert_eq!(rig.counts(), (1, 2, 0));
}

struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn only_spans_that_wait_wake_the_export() {
    let (export, _) = Rig::export("127.0.0.1:9", &[]);
    let (sender, receiver) = SpanSink::new(100, 1 << 20);
    let mut run = pin!(export.run(receiver, CancellationToken::new(), GRACE));
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = std::task::Waker::from(wakes.clone());
    let mut poll = || {
        let state = run
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker));
        assert!(state.is_pending());
        wakes.0.swap(0, Ordering::Relaxed)
    };
    poll();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(poll(), 0, "nothing waits");
    assert!(sender.put(lifecycle(1)));
    assert_eq!(poll(), 1, "a span came");
    tokio::time::advance(Duration::from_millis(60)).await;
    assert_eq!(poll(), 1, "its time is over");
}
