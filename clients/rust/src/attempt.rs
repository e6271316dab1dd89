//! Attempts of token-taking calls, for any API.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::event::{Call, CallId, Ending, Event, Kind, Outcome, Parameters, TokenOrigin};
use crate::fingerprint::fingerprint;
use crate::transport::{self, Transport};

/// Larger bodies are hashed by the calling thread: kept for the sender they would fill the buffer.
const DEFERRED_BODY_BYTES_MAX: usize = 64 * 1024;

/// What [`begin`] may be told about a request besides its API and token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The body as sent, from which the fingerprints are computed.
    pub body: Option<&'a [u8]>,
    /// Your own hash of the parameters without the token, at most 64 bytes; instead of `body`.
    pub fp: Option<&'a str>,
    /// Name of the token's member in a JSON body, so that it does not count as a parameter.
    pub token_field: Option<&'a str>,
    /// Members of a JSON body that do not count as parameters, as in the sidecar's profile.
    pub ignored_fields: &'a [&'a str],
    /// Id of the call, the same for all its attempts, at most 64 bytes. Without it this attempt is a call of its own.
    pub call: Option<&'a str>,
    /// Number of this attempt within its call, from 1 (the default, also for 0).
    pub attempt: u32,
    /// How many attempts the call may have, the first included.
    pub max_attempts: Option<u32>,
    /// The namespace in which the token is unique, e.g. an account; at most 256 bytes.
    pub scope: &'a str,
    /// Who made the token.
    pub token_origin: TokenOrigin,
    /// W3C trace context of the caller.
    pub traceparent: Option<&'a str>,
}

/// What [`Attempt::end`] may be told about the server's answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The server's error code.
    pub error: Option<&'a str>,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// The server's id of the request.
    pub request_id: Option<&'a str>,
    /// Consumed capacity units.
    pub read_units: Option<f64>,
    /// Consumed capacity units.
    pub write_units: Option<f64>,
}

/// One request on the wire, begun; [`end`](Self::end) it once.
///
/// Dropped without an end it is reported as `no_response`: whoever waited for the answer has given up. In a forked
/// child the parent's attempts are silent.
#[must_use = "dropping it reports that there was no response"]
pub struct Attempt {
    /// `None`: the start was not sent, so the ends are only counted as dropped.
    call: Option<Arc<Call>>,
    transport: Option<&'static Transport>,
    number: u32,
    own_call: bool,
    started: Instant,
    started_at: SystemTime,
    state: State,
}

enum State {
    Open,
    Ended(Arc<Ending>),
    /// The call's end is reported, too.
    Over,
}

/// What a start says besides what its call has in common.
pub(crate) struct Start {
    pub(crate) number: u32,
    pub(crate) own_call: bool,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) traceparent: Option<String>,
}

/// Reports that a request with `token` is about to be sent.
///
/// `api` names the sidecar's profile, e.g. `stripe`. For several attempts of one call give the same
/// [`call`](Options::call), count [`attempt`](Options::attempt) from 1, and finish with [`Attempt::end_call`].
pub fn begin(api: &str, token: &str, options: Options<'_>) -> Attempt {
    begin_with(transport::current(), api, token, options)
}

pub(crate) fn begin_with(
    transport: Option<&'static Transport>,
    api: &str,
    token: &str,
    options: Options<'_>,
) -> Attempt {
    let given = options.call.filter(|call| !call.is_empty());
    if !transport.is_some_and(Transport::accepts) {
        return Attempt::unobserved(transport, given.is_none());
    }
    let start = Start {
        number: options.attempt.max(1),
        own_call: given.is_none(),
        max_attempts: options.max_attempts,
        traceparent: options.traceparent.map(str::to_owned),
    };
    let ignored = options
        .ignored_fields
        .iter()
        .map(|field| Cow::Owned((*field).to_owned()));
    let call = Call {
        api: Cow::Owned(api.to_owned()),
        token: Some(token.to_owned()),
        id: given.map_or_else(
            || own_call_id(transport),
            |call| CallId::Given(call.to_owned()),
        ),
        scope: options.scope.into(),
        origin: options.token_origin,
        token_field: options
            .token_field
            .map(|field| Cow::Owned(field.to_owned())),
        ignored_fields: Cow::Owned(ignored.collect()),
        common: OnceLock::new(),
    }
    .within_limits();
    let parameters = match (options.fp, options.body) {
        (None, Some(body)) => parameters_of(&call, body),
        (fp, _) => Parameters::Known {
            fp: fp.map(str::to_owned),
            fp_raw: None,
            token: None,
        },
    };
    Attempt::begin(transport, &Arc::new(call), parameters, start)
}

/// The body for the sender, unless it is too large to be kept.
pub(crate) fn parameters_of(call: &Call, bytes: &[u8]) -> Parameters {
    if bytes.len() <= DEFERRED_BODY_BYTES_MAX {
        return Parameters::Body(bytes.into());
    }
    fingerprint(
        &call.api,
        bytes,
        call.token_field.as_deref(),
        &call.ignored_fields,
    )
    .into()
}

/// Unique for the client's name, which holds the process id: ids repeat only if both do.
fn own_call_id(transport: Option<&Transport>) -> CallId {
    static CALLS: AtomicU64 = AtomicU64::new(1);
    CallId::Own {
        process: transport.map_or(0, Transport::salt),
        number: CALLS.fetch_add(1, Ordering::Relaxed),
    }
}

impl Attempt {
    pub(crate) fn begin(
        transport: Option<&'static Transport>,
        call: &Arc<Call>,
        parameters: Parameters,
        start: Start,
    ) -> Self {
        let started_at = SystemTime::now();
        let mut attempt = Self {
            call: Some(Arc::clone(call)),
            transport,
            number: start.number,
            own_call: start.own_call,
            started: Instant::now(),
            started_at,
            state: State::Open,
        };
        let event = Event {
            call: Arc::clone(call),
            number: start.number,
            at: started_at,
            kind: Kind::Start {
                parameters,
                max_attempts: start.max_attempts,
                traceparent: start.traceparent,
            }
            .within_limits(),
        };
        if !transport.is_some_and(|transport| transport.send_start(event)) {
            attempt.call = None;
        }
        attempt
    }

    /// An attempt that the transport does not accept: its start is counted as dropped, and so will be its ends.
    pub(crate) fn unobserved(transport: Option<&'static Transport>, own_call: bool) -> Self {
        if let Some(transport) = transport {
            transport.skip();
        }
        Self {
            call: None,
            transport,
            number: 1,
            own_call,
            started: Instant::now(),
            started_at: SystemTime::UNIX_EPOCH,
            state: State::Open,
        }
    }

    /// Reports how the request ended; only the first end counts. Without a `call` of its own it ends the call, too.
    pub fn end(&mut self, outcome: Outcome, answer: Answer<'_>) {
        if !self.is_open() {
            return;
        }
        self.end_with(Ending {
            outcome,
            error: answer.error.map(str::to_owned),
            http_status: answer.http_status,
            request_id: answer.request_id.map(str::to_owned),
            read_units: answer.read_units,
            write_units: answer.write_units,
        });
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether its start was sent; otherwise its ends are only counted.
    #[cfg(feature = "aws-sdk")]
    pub(crate) fn is_observed(&self) -> bool {
        self.call.is_some()
    }

    pub(crate) fn end_with(&mut self, ending: Ending) {
        let ending = Arc::new(ending.within_limits());
        let duration = self.started.elapsed();
        self.state = State::Ended(Arc::clone(&ending));
        self.send(Kind::End { ending, duration }, duration);
        if self.own_call {
            self.end_call();
        }
    }

    /// Reports that the call is over, with the outcome of this, its last attempt.
    pub fn end_call(&mut self) {
        self.end_call_since(None);
    }

    /// `call_started` is when the call began, if that is known.
    pub(crate) fn end_call_since(&mut self, call_started: Option<Instant>) {
        self.end(Outcome::NoResponse, Answer::default());
        if let State::Ended(ending) = std::mem::replace(&mut self.state, State::Over) {
            let now = Instant::now();
            let duration = call_started.map(|started| now.saturating_duration_since(started));
            let kind = Kind::CallEnd { ending, duration };
            self.send(kind, now.saturating_duration_since(self.started));
        }
    }

    /// An end is `after` its start: one clock for both, and one reading of it.
    fn send(&self, kind: Kind, after: Duration) {
        let Some(transport) = self.transport else {
            return;
        };
        match &self.call {
            None => transport.skip(),
            Some(call) => transport.send_end(Event {
                call: Arc::clone(call),
                number: self.number,
                at: self
                    .started_at
                    .checked_add(after)
                    .unwrap_or(self.started_at),
                kind,
            }),
        }
    }
}

/// Without the token, which can carry personal data.
impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Attempt")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(Outcome::NoResponse, Answer::default());
    }
}

#[cfg(test)]
mod tests;
