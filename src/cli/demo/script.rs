//! What the demo's pods send, as a list of steps in time.

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

/// The profile of the demo's own API; its windows are seconds long.
pub const CHECKOUT: &str = "demo.Checkout";
/// The API of the healthy traffic.
pub const TRANSACT: &str = "dynamodb.TransactWriteItems";

/// A process that reports over a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pod {
    /// Takes orders.
    Orders,
    /// Takes orders as well: another replica.
    OrdersReplica,
    /// Charges for them.
    Billing,
    /// Settles them at night.
    Settlement,
    /// Ships them, and is killed in every round.
    Shipping,
}

impl Pod {
    /// All pods.
    pub const ALL: [Self; 5] = [
        Self::Orders,
        Self::OrdersReplica,
        Self::Billing,
        Self::Settlement,
        Self::Shipping,
    ];

    /// Its name in events.
    pub const fn client(self) -> &'static str {
        match self {
            Self::Orders => "orders-7f9c/4711",
            Self::OrdersReplica => "orders-c41b/4698",
            Self::Billing => "billing-5d2e/812",
            Self::Settlement => "settlement-8a6d/27",
            Self::Shipping => "shipping-93be/1",
        }
    }
}

/// What happens at a point in time.
#[derive(Clone, Debug)]
pub struct Step {
    /// Since the beginning of the round.
    pub at: Duration,
    /// Whose connection it concerns.
    pub pod: Pod,
    /// What is done with it.
    pub action: Action,
}

/// What is done with a connection.
#[derive(Clone, Debug)]
pub enum Action {
    /// One event is written, newline included.
    Send(String),
    /// It is closed.
    Close,
}

/// A request's parameters under a token.
#[derive(Clone, Debug)]
pub struct Request {
    /// The profile.
    pub api: &'static str,
    /// The token.
    pub token: String,
    /// Fingerprint of the parameters.
    pub fp: String,
    /// Fingerprint of the bytes.
    pub fp_raw: String,
}

/// One logical call of an SDK.
#[derive(Clone, Debug)]
pub struct Call {
    pod: Pod,
    id: String,
    max_attempts: u64,
    traceparent: String,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// The server wrote; this many units.
    Wrote(u32),
    /// The server had done it before and only read.
    Replayed,
    /// Nothing was heard.
    Lost,
    /// An error code, of HTTP status 400 or, for the server's own fault, 500.
    Error(&'static str),
}

/// The steps of one round, in the making. Times are milliseconds after [`Script::begin_at`].
#[derive(Debug)]
pub struct Script {
    ids: Ids,
    steps: Vec<Step>,
    begins_ms: u64,
}

/// An event as it goes over the wire (SPEC §2).
#[derive(Default, Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fp_raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_units: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_units: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
}

impl Script {
    /// An empty script. Equal seeds give equal ids.
    pub fn new(seed: u64) -> Self {
        Self {
            ids: Ids(seed),
            steps: Vec::new(),
            begins_ms: 0,
        }
    }

    /// Moves the origin of the times that follow.
    pub fn begin_at(&mut self, begins_ms: u64) {
        self.begins_ms = begins_ms;
    }

    /// All steps in order of time; steps of equal time stay in the order in which they were made.
    pub fn into_steps(mut self) -> Vec<Step> {
        self.steps.sort_by_key(|step| step.at);
        self.steps
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.ids.next() % bound
    }

    /// New parameters under a new token.
    pub fn request(&mut self) -> Request {
        Request {
            api: CHECKOUT,
            token: self.ids.uuid(),
            fp: self.ids.hex(32),
            fp_raw: self.ids.hex(32),
        }
    }

    /// New parameters under the same token.
    pub fn changed(&mut self, request: &Request) -> Request {
        Request {
            token: request.token.clone(),
            ..self.request()
        }
    }

    /// A new logical call with a trace of its own.
    pub fn call(&mut self, pod: Pod, max_attempts: u64) -> Call {
        Call {
            pod,
            id: self.ids.uuid(),
            max_attempts,
            traceparent: format!("00-{}-{}-01", self.ids.hex(32), self.ids.hex(16)),
        }
    }

    /// The start of an attempt.
    pub fn start(&mut self, call: &Call, attempt: u64, request: &Request, at_ms: u64) {
        let line = Line {
            kind: "attempt_start",
            max_attempts: Some(call.max_attempts),
            token_origin: Some("caller"),
            fp: Some(&request.fp),
            fp_raw: Some(&request.fp_raw),
            ..about(call, attempt, request)
        };
        self.send(call.pod, at_ms, &line);
    }

    /// An attempt from its start to its end.
    pub fn attempt(
        &mut self,
        call: &Call,
        attempt: u64,
        request: &Request,
        lasts_ms: Range<u64>,
        answer: Answer,
    ) {
        self.start(call, attempt, request, lasts_ms.start);
        let request_id = self.ids.request_id();
        let mut line = Line {
            kind: "attempt_end",
            duration_ms: Some(lasts_ms.end - lasts_ms.start),
            request_id: Some(&request_id),
            ..about(call, attempt, request)
        };
        match answer {
            Answer::Wrote(units) => {
                line.outcome = Some("ok");
                line.write_units = Some(units);
            }
            Answer::Replayed => {
                line.outcome = Some("ok");
                line.read_units = Some(2);
            }
            Answer::Lost => {
                line.outcome = Some("no_response");
                line.request_id = None;
            }
            Answer::Error(code) => {
                let server_fault = code.starts_with("Internal");
                line.outcome = Some("error");
                line.error = Some(code);
                line.http_status = Some(if server_fault { 500 } else { 400 });
            }
        }
        self.send(call.pod, lasts_ms.end, &line);
    }

    /// The SDK returns to its caller, after a success.
    pub fn call_end(
        &mut self,
        call: &Call,
        attempts: u64,
        request: &Request,
        lasts_ms: Range<u64>,
    ) {
        let line = Line {
            kind: "call_end",
            attempt: None,
            attempts: Some(attempts),
            outcome: Some("ok"),
            duration_ms: Some(lasts_ms.end - lasts_ms.start),
            ..about(call, attempts, request)
        };
        self.send(call.pod, lasts_ms.end, &line);
    }

    /// A client's account of what it dropped.
    pub fn report(&mut self, pod: Pod, dropped: u64, at_ms: u64) {
        let line = Line {
            kind: "client_report",
            client: pod.client(),
            dropped: Some(dropped),
            ..Line::default()
        };
        self.send(pod, at_ms, &line);
    }

    /// The end of a pod, and of its connection.
    pub fn close(&mut self, pod: Pod, at_ms: u64) {
        self.step(pod, at_ms, Action::Close);
    }

    fn send(&mut self, pod: Pod, at_ms: u64, line: &Line<'_>) {
        // Texts and numbers always serialize.
        let mut text = serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
        self.step(pod, at_ms, Action::Send(text));
    }

    fn step(&mut self, pod: Pod, at_ms: u64, action: Action) {
        let at = Duration::from_millis(self.begins_ms + at_ms);
        self.steps.push(Step { at, pod, action });
    }
}

fn about<'a>(call: &'a Call, attempt: u64, request: &'a Request) -> Line<'a> {
    Line {
        client: call.pod.client(),
        api: Some(request.api),
        token: Some(&request.token),
        call: Some(&call.id),
        attempt: Some(attempt),
        traceparent: Some(&call.traceparent),
        ..Line::default()
    }
}

/// Ids that look like those of the field, from SplitMix64: they need to differ, not to be secret.
#[derive(Debug)]
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Up to 32 hex digits.
    fn hex(&mut self, digits: usize) -> String {
        let mut hex = format!("{:016x}{:016x}", self.next(), self.next());
        hex.truncate(digits);
        hex
    }

    /// A UUID of version 4.
    fn uuid(&mut self) -> String {
        let hex = self.hex(32);
        let (a, b, c) = (&hex[..8], &hex[8..12], &hex[13..16]);
        format!("{a}-{b}-4{c}-a{}-{}", &hex[17..20], &hex[20..])
    }

    /// A request id of the form that AWS services give.
    fn request_id(&mut self) -> String {
        let digit = |n: u64| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[n as usize % 36]);
        (0..52).map(|_| digit(self.next())).collect()
    }
}
