//! Events of wire protocol version 1 (SPEC §2): what the application's threads queue, and the lines it becomes.
//!
//! The sidecar rejects an event for one value that is too long, so values are shortened here instead.

mod limits;

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::fingerprint::{Fingerprint, fingerprint};
use crate::json;

pub(crate) use limits::clipped;
use limits::clipped_unique;

const TOKEN_BYTES_MAX: usize = 512;
const API_BYTES_MAX: usize = 128;
const CALL_BYTES_MAX: usize = 64;
const FINGERPRINT_BYTES_MAX: usize = 64;
pub(crate) const CLIENT_BYTES_MAX: usize = 128;
const SCOPE_BYTES_MAX: usize = 256;
const TRACEPARENT_BYTES_MAX: usize = 128;
const ERROR_BYTES_MAX: usize = 128;
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Larger numbers are not exact in every JSON parser.
const UNITS_MAX: f64 = 9_007_199_254_740_991.0;
/// About what a line has besides the texts that are counted one by one: a start's and an end's.
const START_BYTES: usize = 320;
const END_BYTES: usize = 240;

/// Who made the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenOrigin {
    /// The application.
    #[default]
    Caller,
    /// The SDK, because the application gave none.
    Sdk,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered with success.
    Ok,
    /// The server answered with an error.
    Error,
    /// Nothing is known: timeout, reset, cancelled, an answer that cannot be read.
    NoResponse,
}

/// A call's id: the SDK's, or one of our own that is written as text only by the sender.
pub(crate) enum CallId {
    Given(String),
    Own { process: u64, number: u64 },
}

/// What the events of one call have in common.
pub(crate) struct Call {
    pub(crate) api: Cow<'static, str>,
    /// `None`: the token is in the body.
    pub(crate) token: Option<String>,
    pub(crate) id: CallId,
    pub(crate) scope: Arc<str>,
    pub(crate) origin: TokenOrigin,
    pub(crate) token_field: Option<Cow<'static, str>>,
    pub(crate) ignored_fields: Cow<'static, [Cow<'static, str>]>,
    /// These fields as JSON, made by the sender once the token is known.
    pub(crate) common: OnceLock<Vec<u8>>,
}

/// Where a start's fingerprints come from.
pub(crate) enum Parameters {
    /// The sender computes them.
    Body(Box<[u8]>),
    Known {
        fp: Option<String>,
        fp_raw: Option<String>,
        token: Option<String>,
    },
}

impl Parameters {
    fn kept_bytes(&self) -> usize {
        match self {
            Self::Body(body) => body.len(),
            Self::Known { fp, fp_raw, token } => length(fp) + length(fp_raw) + length(token),
        }
    }
}

impl From<Fingerprint> for Parameters {
    fn from(prints: Fingerprint) -> Self {
        Self::Known {
            fp: prints.fp,
            fp_raw: Some(prints.fp_raw),
            token: prints
                .token
                .map(|token| clipped_unique(&token, TOKEN_BYTES_MAX).into_owned()),
        }
    }
}

/// How an attempt ended, shared by its end and its call's.
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<String>,
    pub(crate) http_status: Option<u16>,
    pub(crate) request_id: Option<String>,
    pub(crate) read_units: Option<f64>,
    pub(crate) write_units: Option<f64>,
}

pub(crate) enum Kind {
    Start {
        parameters: Parameters,
        max_attempts: Option<u32>,
        traceparent: Option<String>,
    },
    End {
        ending: Arc<Ending>,
        duration: Duration,
    },
    CallEnd {
        ending: Arc<Ending>,
        duration: Option<Duration>,
    },
}

pub(crate) struct Event {
    pub(crate) call: Arc<Call>,
    /// The attempt's number; of a call's end, how many attempts it had.
    pub(crate) number: u32,
    pub(crate) at: SystemTime,
    pub(crate) kind: Kind,
}

impl Event {
    /// Bytes that count against the buffer's limit: about those of the line, and the body while it is kept.
    pub(crate) fn size(&self) -> usize {
        let own = match &self.kind {
            Kind::Start {
                parameters,
                traceparent,
                ..
            } => START_BYTES + parameters.kept_bytes() + length(traceparent),
            Kind::End { ending, .. } | Kind::CallEnd { ending, .. } => {
                END_BYTES + length(&ending.error) + length(&ending.request_id)
            }
        };
        own + self.call.size()
    }

    /// The most that an end of the same call can count.
    pub(crate) fn end_size_max(&self) -> usize {
        END_BYTES + ERROR_BYTES_MAX + REQUEST_ID_BYTES_MAX + self.call.size()
    }

    /// Appends the line, newline included; false if the token is not known, without which an event says nothing.
    pub(crate) fn write_line(&self, client: &str, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let written = match &self.kind {
            Kind::Start {
                parameters,
                max_attempts,
                traceparent,
            } => self.write_start(parameters, client, out).map(|()| {
                number_field("max_attempts", max_attempts.filter(|max| *max > 0), out);
                string_field(
                    "traceparent",
                    traceparent.as_deref(),
                    TRACEPARENT_BYTES_MAX,
                    out,
                );
            }),
            Kind::End { ending, duration } => self.write_end(ending, *duration, client, out),
            Kind::CallEnd { ending, duration } => {
                self.write_call_end(ending, *duration, client, out)
            }
        };
        if written.is_none() {
            out.truncate(start);
            return false;
        }
        let at = self
            .at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let _ = writeln!(out, ",\"at\":{}.{:06}}}", at.as_secs(), at.subsec_micros());
        true
    }

    fn write_start(&self, parameters: &Parameters, client: &str, out: &mut Vec<u8>) -> Option<()> {
        let call = &self.call;
        let computed;
        let (fp, fp_raw, token) = match parameters {
            Parameters::Known { fp, fp_raw, token } => (fp.as_deref(), fp_raw.as_deref(), token),
            Parameters::Body(body) => {
                computed = fingerprint(
                    &call.api,
                    body,
                    call.token_field.as_deref(),
                    &call.ignored_fields,
                );
                (
                    computed.fp.as_deref(),
                    Some(computed.fp_raw.as_str()),
                    &computed.token,
                )
            }
        };
        let common = call.common(token.as_deref(), client)?;
        self.write_opening("attempt_start", "attempt", common, out);
        for (name, value) in [("fp", fp), ("fp_raw", fp_raw)] {
            let value = value.map(|value| clipped_unique(value, FINGERPRINT_BYTES_MAX));
            string_field(name, value.as_deref(), FINGERPRINT_BYTES_MAX, out);
        }
        let origin = match call.origin {
            TokenOrigin::Caller => "caller",
            TokenOrigin::Sdk => "sdk",
        };
        string_field("token_origin", Some(origin), origin.len(), out);
        Some(())
    }

    fn write_end(
        &self,
        ending: &Ending,
        duration: Duration,
        client: &str,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let common = self.call.common(None, client)?;
        self.write_opening("attempt_end", "attempt", common, out);
        ending.write(out);
        number_field("read_units", units(ending.read_units), out);
        number_field("write_units", units(ending.write_units), out);
        duration_field(duration, out);
        Some(())
    }

    fn write_call_end(
        &self,
        ending: &Ending,
        duration: Option<Duration>,
        client: &str,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let common = self.call.common(None, client)?;
        self.write_opening("call_end", "attempts", common, out);
        ending.write(out);
        if let Some(duration) = duration {
            duration_field(duration, out);
        }
        Some(())
    }

    fn write_opening(&self, kind: &str, number_name: &str, common: &[u8], out: &mut Vec<u8>) {
        let _ = write!(out, "{{\"type\":\"{kind}\"");
        out.extend_from_slice(common);
        number_field(number_name, Some(self.number), out);
    }
}

impl Call {
    /// What its events keep of it; texts that are part of the program do not count.
    fn size(&self) -> usize {
        let id = match &self.id {
            CallId::Given(id) => id.len(),
            CallId::Own { .. } => 2 * size_of::<u64>(),
        };
        let ignored = match &self.ignored_fields {
            Cow::Borrowed(_) => 0,
            Cow::Owned(fields) => fields
                .iter()
                .map(|field| size_of_val(field) + field.len())
                .sum(),
        };
        let field = match &self.token_field {
            Some(Cow::Owned(field)) => field.len(),
            _ => 0,
        };
        self.api.len() + length(&self.token) + id + self.scope.len() + field + ignored
    }

    /// `None` while the token is not known; `found` is the one of a start's body. An end comes here first if its start
    /// was given up.
    fn common(&self, found: Option<&str>, client: &str) -> Option<&[u8]> {
        if let Some(common) = self.common.get() {
            return Some(common);
        }
        let token = self.token.as_deref().or(found)?;
        Some(self.common.get_or_init(|| self.fields(token, client)))
    }

    fn fields(&self, token: &str, client: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let own_id;
        let id = match &self.id {
            CallId::Given(id) => id,
            CallId::Own { process, number } => {
                own_id = format!("{process:016x}-{number:x}");
                &own_id
            }
        };
        out.extend_from_slice(b",\"api\":");
        json::write_string(clipped(&self.api, API_BYTES_MAX).as_bytes(), &mut out);
        // The one text that may be empty: the sidecar judges it.
        out.extend_from_slice(b",\"token\":");
        json::write_string(clipped_unique(token, TOKEN_BYTES_MAX).as_bytes(), &mut out);
        string_field(
            "call",
            Some(&clipped_unique(id, CALL_BYTES_MAX)),
            CALL_BYTES_MAX,
            &mut out,
        );
        string_field("client", Some(client), CLIENT_BYTES_MAX, &mut out);
        let scope = clipped_unique(&self.scope, SCOPE_BYTES_MAX);
        string_field("scope", Some(&scope), SCOPE_BYTES_MAX, &mut out);
        out
    }
}

impl Ending {
    fn write(&self, out: &mut Vec<u8>) {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::NoResponse => "no_response",
        };
        string_field("outcome", Some(outcome), outcome.len(), out);
        let error = self.error.as_deref().filter(|error| !error.is_empty());
        // The protocol wants one of the two; a code that no profile lists leaves the outcome open.
        let nameless =
            self.outcome == Outcome::Error && error.is_none() && self.http_status.is_none();
        string_field(
            "error",
            if nameless {
                Some("UnknownError")
            } else {
                error
            },
            ERROR_BYTES_MAX,
            out,
        );
        number_field("http_status", self.http_status, out);
        string_field(
            "request_id",
            self.request_id.as_deref(),
            REQUEST_ID_BYTES_MAX,
            out,
        );
    }
}

/// The `client_report` line for `dropped` events.
pub(crate) fn write_report(client: &str, dropped: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"client_report\",\"client\":");
    json::write_string(client.as_bytes(), out);
    let _ = writeln!(out, ",\"dropped\":{dropped}}}");
}

fn units(value: Option<f64>) -> Option<f64> {
    value.filter(|units| (0.0..=UNITS_MAX).contains(units))
}

fn duration_field(duration: Duration, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        ",\"duration_ms\":{}.{:03}",
        duration.as_millis(),
        duration.subsec_micros() % 1000
    );
}

fn number_field(name: &str, value: Option<impl std::fmt::Display>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        let _ = write!(out, ",\"{name}\":{value}");
    }
}

/// `,"name":"value"`, or nothing for a value that is absent or empty.
fn string_field(name: &str, value: Option<&str>, bytes_max: usize, out: &mut Vec<u8>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        let _ = write!(out, ",\"{name}\":");
        json::write_string(clipped(value, bytes_max).as_bytes(), out);
    }
}

fn length(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests;
