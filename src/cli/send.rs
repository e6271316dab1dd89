//! `oncewatch send`: events from standard input or flags to a running sidecar.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Map, Value};

use super::terminal::counted;
use super::{Environment, Failure};
use crate::config::LINE_BYTES_MAX;
use crate::detect::event::Event;
use crate::detect::profile::parse_duration;
use crate::detect::time::Timestamp;
use crate::edge::clock;

/// Arguments of `send`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --type, reads events from standard input: one JSON object a line, as applications send them.
Each is checked first; bad ones are named by their line, the others are sent, and the exit code is 1.

Examples:
  oncewatch send < events.ndjson
  oncewatch send --type attempt_start --api dynamodb.TransactWriteItems --token 6b8f --hold 90s
  printf '%s\\n' '{\"type\":\"attempt_start\",\"api\":\"http\",\"token\":\"t1\"}' \\
    '{\"type\":\"attempt_end\",\"api\":\"http\",\"token\":\"t1\",\"outcome\":\"ok\"}' | oncewatch send

An attempt that is open when the connection closes is judged `orphaned`: send its end as well, or use
--hold.")]
pub struct Arguments {
    /// The sidecar's stream socket [default: its own default]
    #[arg(long, value_name = "PATH", help_heading = "Connection")]
    socket: Option<PathBuf>,
    /// Longest wait for the sidecar to take the connection or data
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration, help_heading = "Connection")]
    timeout: Duration,
    /// Keep the connection open this long after the last event
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Connection")]
    hold: Option<Duration>,
    #[command(flatten)]
    event: EventFlags,
}

/// The fields of one event (SPEC §2).
#[derive(Debug, Args)]
#[command(next_help_heading = "One event")]
struct EventFlags {
    /// attempt_start, attempt_end, call_end or client_report
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Name of the API profile
    #[arg(long, requires = "kind")]
    api: Option<String>,
    /// The token as sent
    #[arg(long, requires = "kind", allow_hyphen_values = true)]
    token: Option<String>,
    /// Call id, equal for all attempts of one call
    #[arg(long, requires = "kind")]
    call: Option<String>,
    /// Number of the attempt within its call, from 1
    #[arg(long, requires = "kind")]
    attempt: Option<u64>,
    /// The client's retry limit
    #[arg(long, requires = "kind")]
    max_attempts: Option<u64>,
    /// Canonical fingerprint of the request
    #[arg(long, requires = "kind")]
    fp: Option<String>,
    /// Fingerprint of the request's bytes
    #[arg(long, requires = "kind")]
    fp_raw: Option<String>,
    /// Who sends, such as orders-1/77
    #[arg(long, requires = "kind")]
    client: Option<String>,
    /// Namespace of the token
    #[arg(long, requires = "kind")]
    scope: Option<String>,
    /// When it happened, in RFC 3339 [default: now]
    #[arg(long, requires = "kind")]
    at: Option<String>,
    /// Who made the token: caller or sdk
    #[arg(long, requires = "kind")]
    token_origin: Option<String>,
    /// How it ended: ok, error or no_response
    #[arg(long, requires = "kind")]
    outcome: Option<String>,
    /// Error code
    #[arg(long, requires = "kind")]
    error: Option<String>,
    /// HTTP status of the answer
    #[arg(long, requires = "kind")]
    http_status: Option<i64>,
    /// The server's request id
    #[arg(long, requires = "kind")]
    request_id: Option<String>,
    /// How long it took, in milliseconds
    #[arg(long, requires = "kind")]
    duration_ms: Option<f64>,
    /// Consumed read capacity
    #[arg(long, requires = "kind")]
    read_units: Option<f64>,
    /// Consumed write capacity
    #[arg(long, requires = "kind")]
    write_units: Option<f64>,
    /// W3C trace context of the caller
    #[arg(long, requires = "kind")]
    traceparent: Option<String>,
    /// Events dropped by the client, in a client_report
    #[arg(long, requires = "kind")]
    dropped: Option<u64>,
}

impl EventFlags {
    /// The event as a line; `None` if no event was given.
    fn line(&self) -> Option<String> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        let text = |value: &Option<String>| value.clone().map(Value::from);
        put("type", Some(self.kind.clone()?.into()));
        put("api", text(&self.api));
        put("token", text(&self.token));
        put("call", text(&self.call));
        put("attempt", self.attempt.map(Value::from));
        put("max_attempts", self.max_attempts.map(Value::from));
        put("fp", text(&self.fp));
        put("fp_raw", text(&self.fp_raw));
        put("client", text(&self.client));
        put("scope", text(&self.scope));
        put("at", text(&self.at));
        put("token_origin", text(&self.token_origin));
        put("outcome", text(&self.outcome));
        put("error", text(&self.error));
        put("http_status", self.http_status.map(Value::from));
        put("request_id", text(&self.request_id));
        put("duration_ms", self.duration_ms.map(Value::from));
        put("read_units", self.read_units.map(Value::from));
        put("write_units", self.write_units.map(Value::from));
        put("traceparent", text(&self.traceparent));
        put("dropped", self.dropped.map(Value::from));
        Some(Value::Object(fields).to_string())
    }
}

pub fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let path = arguments.socket.clone();
    let path = path.unwrap_or_else(|| environment.socket());
    let one = arguments.event.line().map(String::into_bytes);
    if let Some(line) = &one {
        Event::decode(line)
            .map_err(|error| Failure::Usage(format!("the event is not usable: {error}")))?;
    }
    let stream = connect(&path, arguments.timeout)
        .map_err(|error| Failure::Failed(format!("no sidecar at {}: {error}", path.display())))?;
    let mut sender = Sender {
        stream: &stream,
        buffer: Vec::new(),
        sent: 0,
        bad: 0,
    };
    let result = match one {
        Some(line) => {
            sender.take(&line, 1);
            sender.flush()
        }
        None => sender.copy(io::stdin().lock()),
    };
    let (sent, bad) = (sender.sent, sender.bad);
    let _ = writeln!(
        io::stderr(),
        "sent {} to {}",
        counted(sent, "event"),
        path.display()
    );
    result.map_err(|error| {
        let error = match error.kind() {
            io::ErrorKind::WouldBlock => "the sidecar does not take any more data".to_owned(),
            io::ErrorKind::BrokenPipe => "the sidecar closed the connection".to_owned(),
            _ => error.to_string(),
        };
        Failure::Failed(format!("stopped after {}: {error}", counted(sent, "event")))
    })?;
    if let Some(hold) = arguments.hold {
        std::thread::sleep(hold);
    }
    match bad {
        0 => Ok(()),
        bad => Err(Failure::Failed(format!(
            "not sent: {}",
            counted(bad, "unusable line")
        ))),
    }
}

/// Connects and limits every wait: a sidecar that hangs with a full backlog must not hang us.
fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let timeout = timeout.max(Duration::from_millis(1));
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// Batches usable lines onto the connection.
struct Sender<'a> {
    stream: &'a UnixStream,
    buffer: Vec<u8>,
    sent: u64,
    bad: u64,
}

impl Sender<'_> {
    /// Sends all lines of `input`; what is complete goes out before the next read may block.
    fn copy(&mut self, input: impl Read) -> io::Result<()> {
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        for number in 1.. {
            if !input.buffer().contains(&b'\n') {
                self.flush()?;
            }
            line.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = input.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if line.len() > LINE_BYTES_MAX {
                input.skip_until(b'\n')?;
            }
            if !line.trim_ascii().is_empty() {
                self.take(&line, number);
            }
            if self.buffer.len() >= 64 * 1024 {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Checks a line and puts it into the buffer, with a time if it has none.
    fn take(&mut self, line: &[u8], number: u64) {
        let event = match Event::decode(line) {
            _ if line.len() > LINE_BYTES_MAX => Err("too_long".to_owned()),
            Ok(event) => Ok(event),
            Err(error) => Err(error.to_string()),
        };
        match event {
            Ok(event) => {
                let time = event.at.is_none().then(clock::now);
                push_with_time(&mut self.buffer, line, time);
                self.sent += 1;
            }
            Err(error) => {
                self.bad += 1;
                let _ = writeln!(io::stderr(), "line {number}: {error}");
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.stream.write_all(&self.buffer);
        if result.is_err() {
            // How much arrived of the batch is not known; nothing of it counts as sent.
            let batch = memchr::memchr_iter(b'\n', &self.buffer).count();
            self.sent -= batch as u64;
        }
        self.buffer.clear();
        result
    }
}

/// Appends the object on `line` to `buffer`, with `at` as its last key: the last one counts.
fn push_with_time(buffer: &mut Vec<u8>, line: &[u8], at: Option<Timestamp>) {
    let line = line.trim_ascii();
    match at {
        None => buffer.extend_from_slice(line),
        Some(at) => {
            buffer.extend_from_slice(line.strip_suffix(b"}").unwrap_or(line));
            buffer.extend_from_slice(format!(",\"at\":{at}}}").as_bytes());
        }
    }
    buffer.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_time_is_filled_in() {
        let at = Timestamp::from_seconds(1_700_000_000.5).unwrap();
        for line in [
            r#"{"type":"client_report","dropped":1}"#,
            r#" {"type":"client_report","dropped":1,"at":null } "#,
        ] {
            let mut buffer = Vec::new();
            push_with_time(&mut buffer, line.as_bytes(), Some(at));
            assert_eq!(buffer.pop(), Some(b'\n'));
            assert_eq!(Event::decode(&buffer).unwrap().at, Some(at));
        }
    }
}
