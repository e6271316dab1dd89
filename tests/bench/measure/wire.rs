//! The events as each of the measured programs wants to be told them.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::workload::{API, Act, Call, Step};

/// A protocol; each says the same of an event as far as the protocol can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Lines of JSON, as oncewatch's clients send them.
    Oncewatch,
    /// For each event a counter and a timer with tags.
    Statsd,
    /// For each event a counter with tags.
    StatsdCounter,
    /// `SET token fp NX PX` for each event.
    RedisSet,
    /// The script of [`SCRIPT`] for each event.
    RedisScript,
}

impl Protocol {
    /// Lines that the server answers to an event.
    pub fn answers(self) -> u64 {
        match self {
            Self::Oncewatch | Self::Statsd | Self::StatsdCounter => 0,
            Self::RedisSet | Self::RedisScript => 1,
        }
    }
}

/// What a team would write who wanted collisions and mismatches from Redis: who holds a token, for
/// which request, and whether its attempt is open. It knows no outcome, window, retry or lease.
pub const SCRIPT: &str = "
local held = redis.call('HMGET', KEYS[1], 'call', 'fp', 'open')
if ARGV[1] == 'end' then
  redis.call('HSET', KEYS[1], 'open', '0')
  return 0
end
if not held[1] then
  redis.call('HSET', KEYS[1], 'call', ARGV[2], 'fp', ARGV[3], 'open', '1')
  redis.call('PEXPIRE', KEYS[1], 600000)
  return 0
end
if held[2] ~= ARGV[3] then return 1 end
if held[3] == '1' and held[1] ~= ARGV[2] then return 2 end
redis.call('HSET', KEYS[1], 'call', ARGV[2], 'open', '1')
return 0";

/// Writes events.
pub struct Writer {
    protocol: Protocol,
    client: String,
    /// Hash of the script, as the server gave it.
    script: String,
    at: String,
}

impl Writer {
    pub fn new(protocol: Protocol, connection: u64, script: &str) -> Self {
        let mut writer = Self {
            protocol,
            client: format!("orders-7f9c4d/{}", 4711 + connection),
            script: script.to_owned(),
            at: String::new(),
        };
        writer.read_clock();
        writer
    }

    /// Sets the time that the following events carry.
    pub fn read_clock(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.set_clock_micros(since.unwrap_or_default().as_micros() as u64);
    }

    /// Sets that time, in microseconds since the Unix epoch.
    pub fn set_clock_micros(&mut self, micros: u64) {
        self.at.clear();
        // Writing into a string does not fail.
        let _ = write!(self.at, "{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    }

    /// Appends one event.
    pub fn write(&self, call: &Call, step: Step, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::Oncewatch => self.json(call, step, out),
            Protocol::Statsd => statsd(step, true, out),
            Protocol::StatsdCounter => statsd(step, false, out),
            Protocol::RedisSet => redis(
                &[
                    b"SET",
                    &call.token,
                    &fingerprint(&call.fp, step),
                    b"NX",
                    b"PX",
                    b"600000",
                ],
                out,
            ),
            Protocol::RedisScript => redis(
                &[
                    b"EVALSHA",
                    self.script.as_bytes(),
                    b"1",
                    &call.token,
                    if step.act == Act::Start {
                        b"start"
                    } else {
                        b"end"
                    },
                    &call_id(call, step),
                    &fingerprint(&call.fp, step),
                ],
                out,
            ),
        }
    }

    fn json(&self, call: &Call, step: Step, out: &mut Vec<u8>) {
        let kind: &[u8] = if step.act == Act::Start {
            b"attempt_start"
        } else {
            b"attempt_end"
        };
        put(
            out,
            &[
                b"{\"type\":\"",
                kind,
                b"\",\"api\":\"",
                API.as_bytes(),
                b"\",\"token\":\"",
                &call.token,
                b"\",\"call\":\"",
                &call_id(call, step),
                b"\",\"client\":\"",
                self.client.as_bytes(),
                b"\",\"attempt\":",
                &[b'0' + step.attempt],
            ],
        );
        match step.act {
            Act::Start => put(out, &[b",\"fp\":\"", &fingerprint(&call.fp, step), b"\""]),
            Act::Ok => put(
                out,
                &[b",\"outcome\":\"ok\",\"duration_ms\":12.345,\"write_units\":4"],
            ),
            Act::Error(code) => put(
                out,
                &[
                    b",\"outcome\":\"error\",\"error\":\"",
                    code.as_bytes(),
                    b"\",\"http_status\":400,\"duration_ms\":3.210",
                ],
            ),
        }
        put(out, &[b",\"at\":", self.at.as_bytes(), b"}\n"]);
    }
}

/// A client's own account of what it dropped.
pub fn report(dropped: u64) -> String {
    format!("{{\"type\":\"client_report\",\"dropped\":{dropped}}}\n")
}

fn call_id(call: &Call, step: Step) -> [u8; 36] {
    let mut id = call.call;
    if step.rival {
        id[0] = b'r';
    }
    id
}

fn fingerprint(fp: &[u8; 32], step: Step) -> [u8; 32] {
    let mut fp = *fp;
    if step.rival {
        fp[0] = b'r';
    }
    fp
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn statsd(step: Step, timer: bool, out: &mut Vec<u8>) {
    let (counter, result): (&[u8], &[u8]) = match step.act {
        Act::Start => (b"attempts_started", b"open"),
        Act::Ok => (b"attempts_ended", b"ok"),
        Act::Error(code) => (b"attempts_ended", code.as_bytes()),
    };
    let tags = [b"#api:", API.as_bytes(), b",result:", result, b"\n"];
    put(out, &[counter, b":1|c|"]);
    put(out, &tags);
    if timer {
        let name: &[u8] = if step.act == Act::Start {
            b"retry_delay:1.5|ms|"
        } else {
            b"attempt_duration:12.345|ms|"
        };
        put(out, &[name]);
        put(out, &tags);
    }
}

fn redis(words: &[&[u8]], out: &mut Vec<u8>) {
    put(out, &[b"*", words.len().to_string().as_bytes(), b"\r\n"]);
    for word in words {
        put(
            out,
            &[
                b"$",
                word.len().to_string().as_bytes(),
                b"\r\n",
                word,
                b"\r\n",
            ],
        );
    }
}
