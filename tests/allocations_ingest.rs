//! The healthy path allocates nothing: decoding, the pipeline around the detector, counting, and
//! the loop that reads a socket.

#[path = "support/counting.rs"]
mod counting;

use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use counting::allocated;
use oncewatch::detect::event::Event;
use oncewatch::detect::finding::Verdicts;
use oncewatch::detect::profile::{Profile, profiles};
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{Detector, Options, Source, Trace};
use oncewatch::edge::clock;
use oncewatch::edge::ingest::socket::Place;
use oncewatch::edge::ingest::{Ingest, Limits, Sockets};
use oncewatch::metrics::Metrics;
use oncewatch::pipeline::{Pipeline, Sinks};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = allocated();
    work();
    allocated() - before
}

/// Tokens that are remembered: fewer than are used, so that the table is full and stays so.
const CAPACITY: usize = 256;

fn all_profiles() -> Vec<Profile> {
    let mut profiles = profiles(&toml::Table::new(), None).unwrap();
    for profile in &mut profiles {
        profile.capacity = CAPACITY;
    }
    profiles
}

fn detector() -> Detector {
    let options = Options {
        detail: Severity::Warning,
        trace: Trace::Off,
        hash_key: [7; 16],
    };
    Detector::new(all_profiles(), options)
}

fn pipeline() -> (Pipeline, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(&all_profiles(), &[]));
    let sinks = Sinks {
        findings: mpsc::channel(1).0,
        spans: None,
    };
    (Pipeline::new(detector(), metrics.clone(), sinks), metrics)
}

/// Healthy uses of `tokens` tokens, the first of which is `first`: started, ended, now and then
/// retried, and its call ended.
fn healthy(first: usize, tokens: usize) -> Vec<String> {
    let line = |token: usize, kind: &str, more: &str| {
        format!(
            r#"{{"v":1,"type":"{kind}","api":"dynamodb.TransactWriteItems","token":"6b8f0c1e-77aa-4d5e-9f00-{token:012x}","call":"c0ffee00-1234-4abc-8def-{token:012x}","fp":"{token:032x}","client":"orders-7f9c/4711","scope":"123456789012/eu-central-1"{more}}}"#
        )
    };
    let mut lines = Vec::new();
    for token in first..first + tokens {
        lines.push(line(
            token,
            "attempt_start",
            r#","attempt":1,"max_attempts":4"#,
        ));
        if token % 10 == 0 {
            let throttled = r#","attempt":1,"outcome":"error","error":"ThrottlingException""#;
            lines.push(line(token, "attempt_end", throttled));
            lines.push(line(token, "attempt_start", r#","attempt":2"#));
        }
        let ok = r#","attempt":2,"outcome":"ok","http_status":200,"duration_ms":12.75"#;
        let number = if token % 10 == 0 { "2" } else { "1" };
        lines.push(line(token, "attempt_end", &ok.replace('2', number)));
        lines.push(line(token, "call_end", r#","outcome":"ok","attempts":1"#));
    }
    lines
}

const SOURCE: Source<'static> = Source {
    connection: None,
    identity: Some("test"),
};

#[test]
fn decoding_allocates_nothing() {
    let at = [
        r#","at":1700000000.123456"#,
        r#","at":"2023-11-14T22:13:20.5+01:00""#,
    ];
    let trace = r#","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#;
    let mut lines = healthy(0, 100);
    for index in 0..lines.len() {
        let more = format!("{}{trace}}}", at[index % 2]);
        lines.push(format!("{}{more}", lines[index].strip_suffix('}').unwrap()));
    }
    let allocated = allocations(|| {
        for line in &lines {
            assert!(Event::decode(line.as_bytes()).is_ok());
        }
    });
    assert_eq!(allocated, 0, "in {} events", lines.len());
    let escaped = allocations(|| {
        Event::decode(br#"{"type":"attempt_start","api":"a","token":"\u00e9"}"#).unwrap();
    });
    assert!(escaped > 0, "the counter does not count");
}

#[test]
fn the_pipeline_adds_nothing_to_what_the_detector_allocates() {
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let (warm, lines) = (healthy(0, 4 * CAPACITY), healthy(4 * CAPACITY, CAPACITY));
    let (mut detector, mut out) = (detector(), Verdicts::default());
    let mut judge = |lines: &[String]| {
        for line in lines {
            let event = Event::decode(line.as_bytes()).unwrap();
            detector.handle_event(&event, SOURCE, now, &mut out);
            assert!(out.findings.is_empty(), "not healthy: {line}");
            out.clear();
        }
    };
    judge(&warm);
    let alone = allocations(|| judge(&lines));
    let (pipeline, _) = pipeline();
    let process = |lines: &[String]| {
        for read in lines.chunks(64) {
            let lines = read.iter().map(String::as_bytes);
            pipeline.process(lines, SOURCE, now, |error| panic!("{error}"));
        }
    };
    process(&warm);
    let together = allocations(|| process(&lines));
    assert_eq!((together, alone), (0, 0), "in {} events", lines.len());
}

/// The clock of the reader's thread, which tells how much that thread has allocated.
fn clock_of_reader() -> Timestamp {
    READER.store(allocated(), SeqCst);
    clock::now()
}

static READER: AtomicU64 = AtomicU64::new(0);

/// Set back when the connection closes.
struct Open(Arc<AtomicBool>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

#[test]
fn reading_a_socket_allocates_nothing() {
    read_a_socket("");
    // With numbers and acknowledgements, which the client does not even read.
    read_a_socket("{\"type\":\"hello\",\"session\":\"3f0c\",\"seq\":1}\n");
}

/// Client reports pass through everything but the table.
fn read_a_socket(hello: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let sockets = Sockets::bind(&Place::chosen("socket", &path), None, 0o600).unwrap();
    let (pipeline, metrics) = pipeline();
    let limits = Limits {
        line_bytes_max: NonZeroUsize::new(16384).unwrap(),
        connections_max: NonZeroUsize::MIN,
        allowed_uids: Vec::new(),
    };
    let open = Arc::new(AtomicBool::new(true));
    let guard = open.clone();
    let connected = Box::new(move || Box::new(Open(guard.clone())) as Box<dyn Send>);
    let one = NonZeroUsize::MIN;
    let ingest = Ingest::new(
        sockets,
        limits,
        one,
        Arc::new(pipeline),
        clock_of_reader,
        connected,
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stop = CancellationToken::new();
    let running = runtime.spawn(ingest.run(stop.clone()));

    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(hello.as_bytes()).unwrap();
    let report = format!(
        "{}\n",
        r#"{"type":"client_report","dropped":0,"client":"orders-7f9c/4711"}"#
    );
    let batch = report.repeat(64);
    let mut send = |rounds: usize| {
        for _ in 0..rounds {
            client.write_all(report.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(1));
            // Cut in the middle of a line, and left there.
            client.write_all(&batch.as_bytes()[..1000]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
            client.write_all(&batch.as_bytes()[1000..]).unwrap();
        }
    };
    send(50);
    let warm = READER.load(SeqCst);
    send(300);
    while events(&metrics) < 350 * 65 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Before the connection ends: remembering a session without one takes memory.
    let allocated = READER.load(SeqCst) - warm;
    drop(client);
    while open.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(events(&metrics), 350 * 65);
    assert_eq!(allocated, 0, "in {} events", 300 * 65);
    stop.cancel();
    runtime.block_on(running).unwrap().unwrap();
}

/// Usable events counted.
fn events(metrics: &Metrics) -> u64 {
    let families = metrics.registry.gather();
    let events = families
        .iter()
        .find(|family| family.name() == "oncewatch_events_total");
    let counters = events.unwrap().get_metric().iter();
    counters
        .map(|metric| metric.get_counter().get_value() as u64)
        .sum()
}
