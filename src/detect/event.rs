//! Wire events, version 1 (SPEC §2): one JSON object a line, decoded without copying.

mod fields;
mod scan;
#[cfg(test)]
mod tests;
mod word;

use std::borrow::Cow;
use std::time::Duration;

use super::time::Timestamp;
use super::trace::TraceContext;
use fields::{Field, Fields, error_code, millis};

/// What an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request goes out on the wire.
    AttemptStart,
    /// It was answered, or will not be.
    AttemptEnd,
    /// The SDK returned to its caller.
    CallEnd,
    /// A client's own account of what it dropped.
    ClientReport,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::AttemptStart,
        Self::AttemptEnd,
        Self::CallEnd,
        Self::ClientReport,
    ];

    /// The value of the field `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptStart => "attempt_start",
            Self::AttemptEnd => "attempt_end",
            Self::CallEnd => "call_end",
            Self::ClientReport => "client_report",
        }
    }
}

/// How an attempt or call ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A success answer.
    Ok,
    /// An error answer.
    Error,
    /// Timeout, reset, cancelled, process going away.
    NoResponse,
}

/// Who made the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrigin {
    /// The application.
    Caller,
    /// The SDK, because the application gave none.
    Sdk,
}

/// One usable event; texts borrow from the line they were decoded from.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What the event tells.
    pub kind: Kind,
    /// Name of the API profile; empty in a client report.
    pub api: Cow<'a, str>,
    /// The token as sent; may be empty.
    pub token: Cow<'a, str>,
    /// Call id.
    pub call: Option<Cow<'a, str>>,
    /// 1-based number of the attempt within its call.
    pub attempt: u64,
    /// The client's retry limit.
    pub max_attempts: Option<u64>,
    /// Canonical fingerprint.
    pub fp: Option<Cow<'a, str>>,
    /// Fingerprint of the bytes as sent.
    pub fp_raw: Option<Cow<'a, str>>,
    /// Name the client gave itself.
    pub client: Option<Cow<'a, str>>,
    /// Namespace of the token; default empty.
    pub scope: Cow<'a, str>,
    /// When it happened by the client's clock.
    pub at: Option<Timestamp>,
    /// Who made the token.
    pub token_origin: Option<TokenOrigin>,
    /// Given on ends.
    pub outcome: Option<Outcome>,
    /// Error code without its namespace.
    pub error: Option<Cow<'a, str>>,
    /// Status of the answer.
    pub http_status: Option<i64>,
    /// The server's request id.
    pub request_id: Option<Cow<'a, str>>,
    /// How long the attempt or call took.
    pub duration: Option<Duration>,
    /// Consumed read capacity.
    pub read_units: Option<f64>,
    /// Consumed write capacity.
    pub write_units: Option<f64>,
    /// Trace context of the caller.
    pub trace: Option<TraceContext>,
    /// Whether a `traceparent` was given that could not be read.
    pub traceparent_malformed: bool,
    /// Events the client dropped since its last report.
    pub dropped: u64,
}

/// Why a line is not an event: the label of `events_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not one JSON object in UTF-8.
    Malformed,
    /// Longer than `max-line-bytes`.
    TooLong,
    /// `v` is not 1.
    UnsupportedVersion,
    /// `type` is none of [`Kind`].
    UnknownType,
    /// A field that the event's type requires is absent.
    MissingField,
    /// A known field has a wrong type, is out of range or too long.
    InvalidField,
    /// A start or end that was already reported.
    Duplicate,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::TooLong,
        Self::UnsupportedVersion,
        Self::UnknownType,
        Self::MissingField,
        Self::InvalidField,
        Self::Duplicate,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::UnsupportedVersion => "unsupported_version",
            Self::UnknownType => "unknown_type",
            Self::MissingField => "missing_field",
            Self::InvalidField => "invalid_field",
            Self::Duplicate => "duplicate",
        }
    }
}

/// A line that cannot be used. The sender's fault, always; it never carries the line's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}", .reason.as_str(), if .field.is_some() { ": " } else { "" }, .field.unwrap_or(""))]
pub struct DecodeError {
    /// Why.
    pub reason: Reason,
    /// The field at fault, if it is one field's.
    pub field: Option<&'static str>,
}

impl DecodeError {
    fn new(reason: Reason, field: Field) -> Self {
        Self {
            reason,
            field: Some(field.name()),
        }
    }
}

impl<'a> Event<'a> {
    const BLANK: Self = Self {
        kind: Kind::ClientReport,
        api: Cow::Borrowed(""),
        token: Cow::Borrowed(""),
        call: None,
        attempt: 1,
        max_attempts: None,
        fp: None,
        fp_raw: None,
        client: None,
        scope: Cow::Borrowed(""),
        at: None,
        token_origin: None,
        outcome: None,
        error: None,
        http_status: None,
        request_id: None,
        duration: None,
        read_units: None,
        write_units: None,
        trace: None,
        traceparent_malformed: false,
        dropped: 0,
    };

    /// Decodes one line without its newline.
    ///
    /// Of several faults the first of this order is reported: not JSON, version, type, a field
    /// with a wrong value, a missing field. If a key occurs twice, the last one counts.
    pub fn decode(line: &'a [u8]) -> Result<Self, DecodeError> {
        let malformed = DecodeError {
            reason: Reason::Malformed,
            field: None,
        };
        let text = std::str::from_utf8(line).map_err(|_| malformed)?;
        let mut event = Self::BLANK;
        if scan::scan(text, &mut event).is_some() {
            return Ok(event);
        }
        let fields = serde_json::from_str(text).map_err(|_| malformed)?;
        Self::from_fields(fields)
    }

    /// Checks the fields of an object, whatever form it had, and finds out what is wrong with them.
    fn from_fields(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        if fields.integer(Field::V)?.is_some_and(|v| v != 1) {
            return Err(DecodeError::new(Reason::UnsupportedVersion, Field::V));
        }
        let kind = match fields.text(Field::Type, usize::MAX)? {
            None => return Err(DecodeError::new(Reason::MissingField, Field::Type)),
            Some(name) => {
                let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
                known.ok_or(DecodeError::new(Reason::UnknownType, Field::Type))?
            }
        };
        let (trace, traceparent_malformed) = fields.trace();
        let token = fields.token()?;
        let has_token = token.is_some();
        let event = Self {
            kind,
            api: fields.text(Field::Api, 128)?.unwrap_or_default(),
            token: token.unwrap_or_default(),
            call: fields.text(Field::Call, 64)?,
            attempt: fields.count(Field::Attempt)?.unwrap_or(1),
            max_attempts: fields.count(Field::MaxAttempts)?,
            fp: fields.text(Field::Fp, 64)?,
            fp_raw: fields.text(Field::FpRaw, 64)?,
            client: fields.text(Field::Client, 128)?,
            scope: fields.text(Field::Scope, 256)?.unwrap_or_default(),
            at: fields.time()?,
            token_origin: fields.token_origin()?,
            outcome: fields.outcome()?,
            error: fields.text(Field::Error, 128)?.map(error_code),
            http_status: fields.integer(Field::HttpStatus)?,
            request_id: fields.text(Field::RequestId, 128)?,
            duration: fields.amount(Field::DurationMs)?.map(millis),
            read_units: fields.amount(Field::ReadUnits)?,
            write_units: fields.amount(Field::WriteUnits)?,
            trace,
            traceparent_malformed,
            dropped: fields.dropped(kind)?,
        };
        fields.integer(Field::Attempts)?;
        event.require(has_token)?;
        Ok(event)
    }

    /// Checks that the fields which the event's type needs are there.
    fn require(&self, has_token: bool) -> Result<(), DecodeError> {
        let ends = matches!(self.kind, Kind::AttemptEnd | Kind::CallEnd);
        let about_a_token = self.kind != Kind::ClientReport;
        let unexplained = self.outcome == Some(Outcome::Error)
            && self.error.is_none()
            && self.http_status.is_none();
        let missing = [
            (about_a_token && self.api.is_empty(), Field::Api),
            (about_a_token && !has_token, Field::Token),
            (ends && self.outcome.is_none(), Field::Outcome),
            (ends && unexplained, Field::Error),
        ];
        match missing.into_iter().find(|(missing, _)| *missing) {
            Some((_, field)) => Err(DecodeError::new(Reason::MissingField, field)),
            None => Ok(()),
        }
    }
}
