//! From the write of an event to the finding that it causes, as a reader of the server-sent events
//! sees it, while other events come at a given rate.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use super::endpoint::{Address, Endpoint};
use super::load::Pace;
use super::wire::{Protocol, Writer};
use super::workload::{Act, Mix, Workload};

/// Findings may wait in queues of the server's; later ones are missing.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the sidecar takes events, such as unix:PATH
    pub to: Address,
    /// The sidecar's admin address; it must show tokens in full
    #[arg(long)]
    pub admin: String,
    /// Events a second besides the probes
    #[arg(long)]
    pub rate: f64,
    #[arg(long, default_value_t = 1)]
    pub per_write: u64,
    /// Misuses a second
    #[arg(long, default_value_t = 100.0)]
    pub probes_per_second: f64,
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

type Pending = Arc<Mutex<HashMap<String, Instant>>>;

/// # Errors
/// When the sidecar cannot be reached, or fewer than 99 % of the findings came.
pub fn run(options: &Options) -> io::Result<()> {
    std::fs::write("/proc/self/timerslack_ns", "1")?;
    let pending = Pending::default();
    let stream = listen(&options.admin)?;
    let closer = stream.get_ref().try_clone()?;
    let reader = {
        let pending = pending.clone();
        std::thread::spawn(move || receive(stream, &pending))
    };
    let background = {
        let options = options.clone();
        std::thread::spawn(move || background(&options))
    };
    let probes = probe(options, &pending)?;
    let sent = background
        .join()
        .map_err(|_| io::Error::other("the background failed"))??;
    let begun = Instant::now();
    let left = || pending.lock().unwrap_or_else(PoisonError::into_inner).len();
    while left() > 0 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    closer.shutdown(std::net::Shutdown::Both)?;
    let seen = reader
        .join()
        .map_err(|_| io::Error::other("the reader failed"))?;
    if (seen.len() as f64) < 0.99 * probes.misuses as f64 {
        let text = format!("only {} of {} findings came", seen.len(), probes.misuses);
        return Err(io::Error::other(text));
    }
    println!(
        "{{\"events\":{},\"seen\":{},\"p50_ns\":{},\"p99_ns\":{},\"p999_ns\":{},\"max_ns\":{}}}",
        sent + probes.events,
        seen.len(),
        seen.value_at_quantile(0.5),
        seen.value_at_quantile(0.99),
        seen.value_at_quantile(0.999),
        seen.max(),
    );
    Ok(())
}

/// Opens the stream of findings and reads its head.
fn listen(admin: &str) -> io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(admin)?;
    write!(
        stream,
        "GET /api/v1/stream HTTP/1.1\r\nHost: {admin}\r\n\r\n"
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("retry:") {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::Error::other("no stream of findings"));
        }
    }
    Ok(reader)
}

/// Takes findings until the connection closes; returns how long each took.
fn receive(mut stream: BufReader<TcpStream>, pending: &Pending) -> Histogram<u64> {
    let mut seen = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
        let now = Instant::now();
        let token = line
            .split_once("\"token\":\"")
            .and_then(|(_, rest)| rest.split('"').next());
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = token.and_then(|token| pending.remove(token)) {
            seen.saturating_record((now - begun).as_nanos() as u64);
        }
        line.clear();
    }
    seen
}

/// A number that no other process begins with.
fn first_number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_micros() as u64
}

struct Probes {
    misuses: u64,
    events: u64,
}

/// Sends misuses on a connection of its own.
fn probe(options: &Options, pending: &Pending) -> io::Result<Probes> {
    let mut endpoint = Endpoint::connect(&options.to)?;
    let mut workload = Workload::new(Mix::Misused, (1 << 55) + first_number(), 64);
    let writer = Writer::new(Protocol::Oncewatch, 900, "");
    let mut pace = Pace::new(Some(options.probes_per_second));
    let probes = (options.probes_per_second * options.seconds) as u64;
    let mut line = Vec::new();
    let mut sent = Probes {
        misuses: 0,
        events: 0,
    };
    while sent.misuses < probes {
        line.clear();
        let (call, step) = workload.next_event();
        writer.write(call, step, &mut line);
        let is_probe = step.rival && step.act == Act::Start;
        if is_probe {
            pace.wait(1);
            sent.misuses += 1;
            let token = String::from_utf8_lossy(&call.token).into_owned();
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.insert(token, Instant::now());
        }
        endpoint.send_all(&line)?;
        sent.events += 1;
    }
    Ok(sent)
}

/// Sends healthy events at the rate; returns how many.
fn background(options: &Options) -> io::Result<u64> {
    let mut endpoint = Endpoint::connect(&options.to)?;
    let mut workload = Workload::new(Mix::Healthy, first_number(), 1);
    let mut writer = Writer::new(Protocol::Oncewatch, 0, "");
    let mut pace = Pace::new(Some(options.rate));
    let mut buffer = Vec::new();
    let mut sent = 0;
    while (sent as f64) < options.rate * options.seconds {
        buffer.clear();
        writer.read_clock();
        for _ in 0..options.per_write {
            let (call, step) = workload.next_event();
            writer.write(call, step, &mut buffer);
        }
        pace.wait(options.per_write);
        endpoint.send_all(&buffer)?;
        sent += options.per_write;
    }
    Ok(sent)
}
