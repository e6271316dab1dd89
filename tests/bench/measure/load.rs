//! The client process: sends a workload as fast as the server takes it, or at a given rate.
//!
//! Talks with its parent on standard input and output: after the warm-up it prints `warm` and waits
//! for a line; after the last event it prints one line of JSON and waits for a line or the end of
//! the input before it closes its connections. So the parent can look at the server in between.

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::cpu;
use super::endpoint::{Address, Endpoint};
use super::wire::{Protocol, SCRIPT, Writer, report};
use super::workload::{Mix, Workload};

/// A sender that is this close to its time does not sleep again.
const SLEEP_MIN: Duration = Duration::from_micros(5);

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// unix:PATH, unixgram:PATH, tcp:ADDRESS or udp:ADDRESS
    pub to: Address,
    #[arg(long, value_enum, default_value = "oncewatch")]
    pub protocol: Protocol,
    #[arg(long, value_enum, default_value = "mixed")]
    pub mix: Mix,
    /// Events to send after the warm-up; calls under way are brought to their end, and count too
    #[arg(long)]
    pub events: u64,
    /// Events to send before anything is measured
    #[arg(long, default_value_t = 0)]
    pub warm_up: u64,
    /// Events in each write or datagram
    #[arg(long, default_value_t = 64)]
    pub per_write: u64,
    #[arg(long, default_value_t = 1)]
    pub connections: u64,
    /// Events a second, evenly spread; without it, as fast as the server takes them
    #[arg(long)]
    pub rate: Option<f64>,
    /// Do as the clients do: never wait for the server, count what finds no room, report it
    #[arg(long)]
    pub nonblocking: bool,
}

/// What was sent, and what it cost the sender.
#[derive(Debug, Serialize)]
struct Account {
    /// Events that the system took over, reports included, warm-up excluded.
    sent: u64,
    /// The same of the warm-up.
    sent_warming: u64,
    /// Events that found no room.
    refused: u64,
    reports: u64,
    bytes: u64,
    wall_ns: u64,
    cpu_ns: u64,
    send_p50_ns: u64,
    send_p99_ns: u64,
    send_p999_ns: u64,
    send_max_ns: u64,
}

pub fn run(options: &Options) -> io::Result<()> {
    // The default slack of 50 µs would turn an even rate into small bursts.
    std::fs::write("/proc/self/timerslack_ns", "1")?;
    let mut sender = Sender::connect(options)?;
    let count = Counts::default();
    let warming = sender.send(options.warm_up, None, count)?;
    println!("warm");
    wait()?;
    let sends = Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)?;
    sender.sends = Some(sends);
    for connection in &sender.connections {
        connection.endpoint.set_nonblocking(options.nonblocking)?;
    }
    let (cpu, begun) = (cpu::of_process(), Instant::now());
    let mut count = sender.send(options.events, options.rate, Counts::default())?;
    sender.finish(options.rate, &mut count)?;
    let (wall, cpu) = (begun.elapsed(), cpu::of_process() - cpu);
    let reports = sender.report(count.refused)?;
    let sends = sender.sends.take().unwrap_or_else(|| unreachable!());
    let account = Account {
        sent: count.sent + reports,
        sent_warming: warming.sent,
        refused: count.refused,
        reports,
        bytes: count.bytes,
        wall_ns: wall.as_nanos() as u64,
        cpu_ns: cpu.as_nanos() as u64,
        send_p50_ns: sends.value_at_quantile(0.5),
        send_p99_ns: sends.value_at_quantile(0.99),
        send_p999_ns: sends.value_at_quantile(0.999),
        send_max_ns: sends.max(),
    };
    println!("{}", serde_json::to_string(&account)?);
    wait()
}

/// Waits for a line of the parent, or for its end.
pub fn wait() -> io::Result<()> {
    io::stdout().flush()?;
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    refused: u64,
    bytes: u64,
}

struct Connection {
    endpoint: Endpoint,
    workload: Workload,
    writer: Writer,
}

struct Sender {
    connections: Vec<Connection>,
    next: usize,
    per_write: u64,
    answers: u64,
    buffer: Vec<u8>,
    /// How long each send took, once it is of interest.
    sends: Option<Histogram<u64>>,
}

impl Sender {
    fn connect(options: &Options) -> io::Result<Self> {
        let connect = |index| {
            let mut endpoint = Endpoint::connect(&options.to)?;
            let script = if options.protocol == Protocol::RedisScript {
                endpoint.load_script(SCRIPT)?
            } else {
                String::new()
            };
            Ok(Connection {
                endpoint,
                workload: Workload::new(options.mix, index, options.connections),
                writer: Writer::new(options.protocol, index, &script),
            })
        };
        Ok(Self {
            connections: (0..options.connections)
                .map(connect)
                .collect::<io::Result<_>>()?,
            next: 0,
            per_write: options.per_write,
            answers: options.protocol.answers(),
            buffer: Vec::new(),
            sends: None,
        })
    }

    /// Sends `events` events, the connections in turn.
    fn send(&mut self, events: u64, rate: Option<f64>, mut count: Counts) -> io::Result<Counts> {
        let mut pace = Pace::new(rate);
        let mut offered = 0;
        while offered < events {
            let size = self.per_write.min(events - offered);
            let index = self.next;
            self.next = (self.next + 1) % self.connections.len();
            self.write(index, size, &mut pace, &mut count)?;
            offered += size;
        }
        Ok(count)
    }

    /// Brings the calls under way to their end.
    fn finish(&mut self, rate: Option<f64>, count: &mut Counts) -> io::Result<()> {
        let mut pace = Pace::new(rate);
        for index in 0..self.connections.len() {
            let workload = &mut self.connections[index].workload;
            workload.finish();
            let mut remaining = workload.remaining();
            while remaining > 0 {
                let size = self.per_write.min(remaining);
                self.write(index, size, &mut pace, count)?;
                remaining -= size;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        index: usize,
        size: u64,
        pace: &mut Pace,
        count: &mut Counts,
    ) -> io::Result<()> {
        let Connection {
            endpoint,
            workload,
            writer,
        } = &mut self.connections[index];
        self.buffer.clear();
        writer.read_clock();
        for _ in 0..size {
            let (call, step) = workload.next_event();
            writer.write(call, step, &mut self.buffer);
        }
        pace.wait(size);
        let begun = Instant::now();
        let taken = endpoint.send_all(&self.buffer)?;
        if let Some(sends) = &mut self.sends {
            sends.saturating_record(begun.elapsed().as_nanos() as u64);
        }
        if taken {
            count.sent += size;
            count.bytes += self.buffer.len() as u64;
            endpoint.read_lines(size * self.answers)?;
        } else {
            count.refused += size;
        }
        Ok(())
    }

    /// Tells the server what was dropped; returns the number of events that took.
    fn report(&mut self, dropped: u64) -> io::Result<u64> {
        if dropped == 0 {
            return Ok(0);
        }
        let endpoint = &mut self.connections[0].endpoint;
        endpoint.set_nonblocking(false)?;
        endpoint.send_all(report(dropped).as_bytes())?;
        Ok(1)
    }
}

/// Says when the next write is due.
pub struct Pace {
    begun: Instant,
    rate: Option<f64>,
    events: u64,
}

impl Pace {
    pub fn new(rate: Option<f64>) -> Self {
        Self {
            begun: Instant::now(),
            rate,
            events: 0,
        }
    }

    /// Waits until the next `events` events are due.
    pub fn wait(&mut self, events: u64) {
        let Some(rate) = self.rate else {
            return;
        };
        let due = self.begun + Duration::from_secs_f64(self.events as f64 / rate);
        self.events += events;
        let left = due.saturating_duration_since(Instant::now());
        if left > SLEEP_MIN {
            std::thread::sleep(left);
        }
    }
}
