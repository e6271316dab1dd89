use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::SystemTime;

use tempfile::{TempDir, tempdir};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use super::reader::{Peer, Reader};
use super::*;
use crate::detect::{Detector, Options, Trace, verdict::Severity};
use crate::metrics::Metrics;
use crate::pipeline::Sinks;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A line of which the recording pipeline dies.
const DEADLY: &[u8] = b"deadly";

fn clock() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_micros(since.as_micros().try_into().unwrap())
}

/// The real pipeline, with a note of everything that goes in and what it refused.
pub(super) struct Record {
    pipeline: Pipeline,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Identity of the source, line, arrival.
    lines: Vec<(String, Vec<u8>, Timestamp)>,
    rejected: Vec<Reason>,
    refused: Vec<Refused>,
    disconnected: Vec<u64>,
}

impl Record {
    fn new() -> Arc<Self> {
        let profiles = crate::detect::profile::profiles(&toml::Table::new(), None).unwrap();
        let metrics = Arc::new(Metrics::new(&profiles, &[]));
        let options = Options {
            detail: Severity::Warning,
            trace: Trace::Off,
            hash_key: [7; 16],
        };
        let findings = mpsc::channel(1).0;
        let sinks = Sinks {
            findings,
            spans: None,
        };
        Arc::new(Self {
            pipeline: Pipeline::new(Detector::new(profiles, options), metrics, sinks),
            seen: Mutex::default(),
        })
    }

    pub(super) fn process(
        &self,
        lines: &mut Lines<'_>,
        source: Source<'_>,
        now: Timestamp,
        mut rejected: impl FnMut(DecodeError),
    ) {
        let name = source.identity.unwrap().to_owned();
        let noted = lines.inspect(|line| {
            assert_ne!(*line, DEADLY);
            let mut seen = self.seen.lock().unwrap();
            seen.lines.push((name.clone(), line.to_vec(), now));
        });
        self.pipeline.process(noted, source, now, |error| {
            self.seen.lock().unwrap().rejected.push(error.reason);
            rejected(error);
        });
    }

    pub(super) fn process_numbered<'a>(
        &self,
        lines: impl Iterator<Item = (u64, Result<&'a [u8], DecodeError>)>,
        source: Source<'_>,
        thread: &Thread,
        now: Timestamp,
        mut rejected: impl FnMut(DecodeError),
    ) -> u64 {
        let name = source.identity.unwrap().to_owned();
        let noted = lines.inspect(|(number, line)| {
            let line = format!("{number} {}", String::from_utf8_lossy(line.unwrap_or(b"-")));
            let mut seen = self.seen.lock().unwrap();
            seen.lines.push((name.clone(), line.into_bytes(), now));
        });
        let pipeline = &self.pipeline;
        pipeline.process_numbered(noted, source, thread, now, |error| {
            self.seen.lock().unwrap().rejected.push(error.reason);
            rejected(error);
        })
    }

    pub(super) fn join(
        &self,
        session: Session,
        first: u64,
        own: ConnectionId,
        now: Timestamp,
    ) -> Thread {
        self.pipeline.join(session, first, own, now)
    }

    pub(super) fn part(&self, thread: &Thread, now: Timestamp) {
        self.seen.lock().unwrap().disconnected.push(thread.own.0);
        self.pipeline.part(thread, now);
    }

    pub(super) fn reject(&self, reason: Reason) {
        self.seen.lock().unwrap().rejected.push(reason);
        self.pipeline.reject(reason);
    }

    pub(super) fn refuse(&self, reason: Refused) {
        self.seen.lock().unwrap().refused.push(reason);
    }

    pub(super) fn disconnect(&self, connection: ConnectionId) {
        self.seen.lock().unwrap().disconnected.push(connection.0);
        self.pipeline.disconnect(connection, clock());
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().lines.len()
    }

    fn texts(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        seen.lines.iter().map(|(_, line, _)| text(line)).collect()
    }
}

struct Running {
    directory: TempDir,
    record: Arc<Record>,
    open: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn limits() -> Limits {
    Limits {
        line_bytes_max: NonZeroUsize::new(1000).unwrap(),
        connections_max: NonZeroUsize::new(100).unwrap(),
        allowed_uids: Vec::new(),
    }
}

impl Running {
    fn start(limits: Limits) -> Self {
        let directory = tempdir().unwrap();
        let at = |setting, name| Place::chosen(setting, directory.path().join(name));
        let datagram = at("--datagram-socket", "d.sock");
        let sockets = Sockets::bind(&at("--socket", "s.sock"), Some(&datagram), 0o666).unwrap();
        let (record, open) = (Record::new(), Arc::new(AtomicUsize::new(0)));
        let gauge = open.clone();
        let connected: Connected = Box::new(move || {
            gauge.fetch_add(1, SeqCst);
            Box::new(Open(gauge.clone()))
        });
        let sink = Sink::Record(record.clone());
        let readers = NonZeroUsize::new(2).unwrap();
        let ingest = Ingest::with_sink(sockets, limits, readers, sink, clock, connected);
        let shutdown = CancellationToken::new();
        Self {
            directory,
            record,
            open,
            task: tokio::spawn(ingest.run(shutdown.clone())),
            shutdown,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.path().join("s.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        let holds = async {
            while !condition(&self.record.seen.lock().unwrap()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let held = tokio::time::timeout(PATIENCE, holds).await;
        assert!(held.is_ok(), "never: {what}");
    }

    async fn stop(self) -> Arc<Record> {
        self.shutdown.cancel();
        let stopped = tokio::time::timeout(PATIENCE, self.task).await;
        stopped.unwrap().unwrap().unwrap();
        assert_eq!(self.open.load(SeqCst), 0);
        assert_eq!(self.directory.path().read_dir().unwrap().count(), 0);
        self.record
    }
}

fn event(number: usize) -> String {
    format!(r#"{{"type":"attempt_start","api":"a","token":"t{number}"}}"#)
}

/// Whether the peer closed the connection; waits for it.
fn closed(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(0) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_arrive_in_order_with_their_source() {
    let ingest = Running::start(limits());
    let (mut one, mut two) = (ingest.connect(), ingest.connect());
    let uid = rustix::process::geteuid().as_raw();
    for number in 0..50 {
        writeln!(one, "{}", event(number)).unwrap();
        // In two halves, the newline in the second.
        let text = event(1000 + number);
        two.write_all(&text.as_bytes()[..20]).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        two.write_all(&text.as_bytes()[20..]).unwrap();
        two.write_all(b"\n").unwrap();
    }
    ingest
        .until("100 lines", |seen| seen.lines.len() == 100)
        .await;
    {
        let seen = ingest.record.seen.lock().unwrap();
        for (connection, first) in [(1, 0), (2, 1000)] {
            let name = format!("uid:{uid}/connection:{connection}");
            let mine = seen.lines.iter().filter(|(source, ..)| *source == name);
            let wanted: Vec<_> = (first..first + 50).map(|n| event(n).into_bytes()).collect();
            assert_eq!(
                mine.map(|(_, line, _)| line.clone()).collect::<Vec<_>>(),
                wanted
            );
        }
        assert!(seen.rejected.is_empty() && seen.disconnected.is_empty());
    }
    assert_eq!(ingest.open.load(SeqCst), 2);
    drop(two);
    ingest
        .until("disconnect", |seen| seen.disconnected == [2])
        .await;
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_line_without_newline_counts_if_it_parses() {
    let ingest = Running::start(limits());
    write!(ingest.connect(), "{}\n{}", event(1), event(2)).unwrap();
    ingest
        .until("first end", |seen| seen.disconnected == [1])
        .await;
    assert_eq!(ingest.record.texts(), [event(1), event(2)]);
    assert!(ingest.record.seen.lock().unwrap().rejected.is_empty());
    write!(ingest.connect(), "{}\n{{\"type", event(3)).unwrap();
    write!(ingest.connect(), "{}\n \n\n ", event(4)).unwrap();
    ingest
        .until("all ends", |seen| seen.disconnected.len() == 3)
        .await;
    let record = ingest.stop().await;
    assert_eq!(record.seen.lock().unwrap().rejected, [Reason::Malformed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_counted_and_the_connection_goes_on() {
    let ingest = Running::start(limits());
    let mut client = ingest.connect();
    let long = vec![b'x'; 300_000];
    client.write_all(&long).unwrap();
    client
        .write_all(b"\n\xff\xfe\0\x01binary\n[[[[\n{\"type\":5}\n{\"v\":2}\n")
        .unwrap();
    writeln!(client, "{}", event(1)).unwrap();
    ingest
        .until("the good line", |seen| seen.lines.len() == 5)
        .await;
    let record = ingest.stop().await;
    let mut rejected = record.seen.lock().unwrap().rejected.clone();
    rejected.sort_by_key(|reason| reason.as_str());
    let wanted = [
        Reason::InvalidField,
        Reason::Malformed,
        Reason::Malformed,
        Reason::TooLong,
        Reason::UnsupportedVersion,
    ];
    assert_eq!(rejected, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_sockets_at_the_end_is_read_and_nobody_is_orphaned() {
    for round in 0..20 {
        let ingest = Running::start(limits());
        let mut clients: Vec<_> = (0..4).map(|_| ingest.connect()).collect();
        if round % 2 == 0 {
            let _ = writeln!(clients[0], "{}", event(0));
            ingest
                .until("first line", |seen| seen.lines.len() == 1)
                .await;
        }
        for (client, number) in clients.iter_mut().zip(0..) {
            for line in 0..100 {
                writeln!(client, "{}", event(number * 100 + line)).unwrap();
            }
            client.write_all(b"half").unwrap();
        }
        let datagrams = UnixDatagram::unbound().unwrap();
        let to = ingest.directory.path().join("d.sock");
        datagrams.send_to(event(9999).as_bytes(), to).unwrap();
        let record = ingest.stop().await;
        let seen = record.seen.lock().unwrap();
        let wanted = 401 + usize::from(round % 2 == 0);
        assert_eq!(seen.lines.len(), wanted, "round {round}");
        assert!(seen.disconnected.is_empty() && seen.rejected.is_empty());
        clients
            .iter_mut()
            .for_each(|client| assert!(closed(client)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_never_stops_does_not_hold_up_the_end() {
    let ingest = Running::start(limits());
    let mut client = ingest.connect();
    let sender = std::thread::spawn(move || while client.write_all(&[b'\n'; 50_000]).is_ok() {});
    ingest
        .until("a flood", |seen| seen.lines.len() > 10_000)
        .await;
    let began = std::time::Instant::now();
    let record = ingest.stop().await;
    assert!(began.elapsed() < DRAIN * 10, "{:?}", began.elapsed());
    assert!(record.seen.lock().unwrap().disconnected.is_empty());
    sender.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_users_are_served() {
    let uid = rustix::process::geteuid().as_raw();
    let with = |uids: &[u32]| Limits {
        allowed_uids: uids.to_vec(),
        ..limits()
    };
    let ingest = Running::start(with(&[uid + 1, uid + 2]));
    let mut client = ingest.connect();
    assert!(closed(&mut client));
    let record = ingest.stop().await;
    assert_eq!(record.count(), 0);
    assert_eq!(record.seen.lock().unwrap().refused, [Refused::Uid]);

    let ingest = Running::start(with(&[uid + 1, uid]));
    writeln!(ingest.connect(), "{}", event(1)).unwrap();
    ingest.until("the line", |seen| seen.lines.len() == 1).await;
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_limit_are_closed_until_there_is_room() {
    let ingest = Running::start(Limits {
        connections_max: NonZeroUsize::new(2).unwrap(),
        ..limits()
    });
    let (mut one, two) = (ingest.connect(), ingest.connect());
    writeln!(one, "{}", event(1)).unwrap();
    assert!(closed(&mut ingest.connect()));
    let refused = ingest.record.seen.lock().unwrap().refused.clone();
    assert_eq!(refused, [Refused::Limit]);
    drop(two);
    ingest.until("room", |seen| seen.disconnected == [2]).await;
    let mut served = false;
    for _ in 0..200 {
        // The place is given back an instant after the disconnect.
        let mut three = ingest.connect();
        let _ = writeln!(three, "{}", event(3));
        tokio::time::sleep(Duration::from_millis(10)).await;
        served = ingest.record.texts().contains(&event(3));
        if served {
            break;
        }
    }
    assert!(served && ingest.record.texts().contains(&event(1)));
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_does_not_starve_a_polite_client() {
    let ingest = Running::start(limits());
    let stop = Arc::new(AtomicBool::new(false));
    // Three, so that the polite one shares its reader with a flood whichever it gets.
    let floods: Vec<_> = (0..3)
        .map(|_| {
            let (mut client, stop) = (ingest.connect(), stop.clone());
            std::thread::spawn(move || {
                // One long line: the flood costs the record no memory.
                while !stop.load(SeqCst) {
                    client.write_all(&[b'x'; 60_000]).unwrap();
                }
            })
        })
        .collect();
    let mut polite = ingest.connect();
    for number in 0..50 {
        writeln!(polite, "{}", event(number)).unwrap();
        let began = std::time::Instant::now();
        ingest
            .until("a polite line", |seen| seen.lines.len() == number + 1)
            .await;
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
    }
    stop.store(true, SeqCst);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_panics_takes_no_other_with_it() {
    let ingest = Running::start(limits());
    let mut others: Vec<_> = (0..2).map(|_| ingest.connect()).collect();
    for victim in [ingest.connect(), ingest.connect()].iter_mut() {
        victim.write_all(DEADLY).unwrap();
        victim.write_all(b"\n").unwrap();
        assert!(closed(victim));
    }
    others.push(ingest.connect());
    for (other, number) in others.iter_mut().zip(0..) {
        writeln!(other, "{}", event(number)).unwrap();
    }
    ingest
        .until("the others", |seen| seen.lines.len() == 3)
        .await;
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_hold_whole_events() {
    let ingest = Running::start(limits());
    let socket = UnixDatagram::unbound().unwrap();
    socket
        .connect(ingest.directory.path().join("d.sock"))
        .unwrap();
    socket.send(event(1).as_bytes()).unwrap();
    socket
        .send(format!("{}\n{}\n", event(2), event(3)).as_bytes())
        .unwrap();
    socket.send(b"").unwrap();
    socket.send(&[b'x'; 2000]).unwrap();
    ingest
        .until("three lines", |seen| {
            seen.lines.len() == 3 && seen.rejected.len() == 1
        })
        .await;
    // Longer than the buffer: the whole line in it counts, the one that was cut is too long.
    socket
        .send(format!("{}\n{}", event(4), "x".repeat(70_000)).as_bytes())
        .unwrap();
    ingest
        .until("four lines", |seen| {
            seen.lines.len() == 4 && seen.rejected.len() == 2
        })
        .await;
    // The begin of an event that was cut is not taken for a line.
    let cut = "\n".repeat(64 * 1024 - 10) + &event(5);
    socket.send(cut.as_bytes()).unwrap();
    ingest
        .until("the cut event", |seen| seen.rejected.len() == 3)
        .await;
    assert!(!ingest.record.texts().contains(&event(5)[..10].to_owned()));
    let record = ingest.stop().await;
    let seen = record.seen.lock().unwrap();
    assert!(
        seen.rejected
            .iter()
            .all(|reason| *reason == Reason::TooLong)
    );
    assert!(seen.lines.iter().all(|(source, ..)| source == "datagram"));
}

const PEER: Peer = Peer { uid: 7, number: 3 };

/// `Shared` without sockets.
fn shared(record: &Arc<Record>) -> Shared {
    Shared {
        sink: Sink::Record(record.clone()),
        clock,
        connected: Box::new(|| Box::new(())),
        permits: Arc::new(Semaphore::new(1)),
        limits: limits(),
        notices: Notices::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn all_lines_of_one_read_have_one_time() {
    let record = Record::new();
    let shared = shared(&record);
    let (mut client, stream) = tokio::io::duplex(100_000);
    let text = (0..500).map(|n| event(n) + "\n").collect::<String>();
    client.write_all(text.as_bytes()).await.unwrap();
    drop(client);
    Reader::new(stream, &shared, None, PEER).run().await;
    let seen = record.seen.lock().unwrap();
    assert_eq!(seen.lines.len(), 500);
    assert_eq!(seen.lines[0].2, seen.lines[499].2);
}

#[tokio::test]
async fn a_drain_takes_what_is_there_and_does_not_wait() {
    let record = Record::new();
    let shared = shared(&record);
    let (mut client, stream) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::UnixStream::from_std(stream).unwrap();
    let mut reader = Reader::new(stream, &shared, None, PEER);
    // No await between: the runtime cannot have heard of it.
    write!(client, "{}\nhalf", event(1)).unwrap();
    let began = std::time::Instant::now();
    assert!(!reader.drain().await, "the client is still there");
    assert!(began.elapsed() < DRAIN);
    drop(client);
    assert!(reader.drain().await, "the client left");
    assert_eq!(record.texts(), [event(1), "half".to_owned()]);
}

/// What a client reads until the other end closes.
fn acks_of(client: &mut UnixStream) -> Vec<u64> {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text.lines().map(seq_of).collect()
}

fn seq_of(line: &str) -> u64 {
    let seq = line
        .strip_prefix("{\"type\":\"ack\",\"seq\":")
        .and_then(|rest| rest.strip_suffix('}'));
    seq.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
}

const HELLO: &str = r#"{"type":"hello","session":"s","seq":5}"#;

#[tokio::test]
async fn lines_after_a_hello_are_numbered_wherever_reads_cut() {
    let long = "x".repeat(limits().line_bytes_max.get() + 1);
    let text = format!(
        "\n \n{HELLO}\n{}\n\n{long}\nnonsense\n{}\n{HELLO}\n{long}\n{}\n",
        event(1),
        event(2),
        event(3)
    );
    let wanted = [
        format!("5 {}", event(1)),
        "6 -".to_owned(),
        "7 nonsense".to_owned(),
        format!("8 {}", event(2)),
        format!("9 {HELLO}"),
        "10 -".to_owned(),
        format!("11 {}", event(3)),
    ];
    let rejected = [
        Reason::TooLong,
        Reason::Malformed,
        Reason::UnknownType,
        Reason::TooLong,
    ];
    for chunk in [1, 2, 3, 7, 38, 500, 999, 1000, 1001, 1002, 1100, 5000] {
        let record = Record::new();
        let shared = shared(&record);
        let (mut client, stream) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        let mut reader = Reader::new(stream, &shared, None, PEER);
        for part in text.as_bytes().chunks(chunk) {
            client.write_all(part).unwrap();
            assert!(!reader.drain().await, "the client is still there");
        }
        let mut texts = record.texts();
        texts.retain(|line| !line.trim_ascii().is_empty());
        assert_eq!(texts, wanted, "in chunks of {chunk}");
        assert_eq!(record.seen.lock().unwrap().rejected, rejected);
        drop(reader);
        let acks = acks_of(&mut client);
        assert!(acks.is_sorted() && acks[0] >= 4, "{acks:?}");
        assert_eq!(acks.last(), Some(&11), "in chunks of {chunk}");
    }
}

#[tokio::test]
async fn the_beginning_of_a_line_is_not_acknowledged_but_all_of_it_without_newline_is() {
    for (last, acked, rejected) in [
        (event(2), 6, vec![]),
        (event(2)[..20].to_owned(), 5, vec![Reason::Malformed]),
        ("{\"type\":\"x\"}".to_owned(), 6, vec![Reason::UnknownType]),
        ("  ".to_owned(), 5, vec![]),
    ] {
        let record = Record::new();
        let shared = shared(&record);
        let (mut client, stream) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        write!(client, "{HELLO}\n{}\n{last}", event(1)).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reader = Reader::new(stream, &shared, None, PEER);
        reader.run().await;
        drop(reader);
        assert_eq!(acks_of(&mut client).last(), Some(&acked), "{last:?}");
        assert_eq!(record.seen.lock().unwrap().rejected, rejected, "{last:?}");
    }
}

#[tokio::test]
async fn nothing_is_written_to_a_client_that_did_not_ask() {
    for first in [
        event(1),
        "nonsense".to_owned(),
        r#"{"type":"hello","session":"s","seq":0}"#.to_owned(),
        "x".repeat(2000),
    ] {
        let record = Record::new();
        let shared = shared(&record);
        let (mut client, stream) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        write!(client, "{first}\n{HELLO}\n{}\n", event(2)).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reader = Reader::new(stream, &shared, None, PEER);
        reader.run().await;
        drop(reader);
        assert_eq!(acks_of(&mut client), Vec::<u64>::new(), "{first}");
        assert!(record.texts().contains(&event(2)), "{first}");
        let unknown = |reason: &&Reason| **reason == Reason::UnknownType;
        let seen = record.seen.lock().unwrap();
        assert_eq!(seen.rejected.iter().filter(unknown).count(), 1, "{first}");
    }
}
