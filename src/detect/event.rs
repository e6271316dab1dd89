//! Wire events, version 1 (SPEC §2): one JSON object a line, decoded without copying.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::time::Timestamp;
use super::trace::TraceContext;

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
        let mut fields: Fields<'a> = serde_json::from_str(text).map_err(|_| malformed)?;
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

/// Strips what services put around an error code: `namespace#Code:http://…` is `Code`.
fn error_code(raw: Cow<'_, str>) -> Cow<'_, str> {
    let strip = |raw: &str| {
        let end = raw.find(':').unwrap_or(raw.len());
        let start = raw[..end].rfind('#').map_or(0, |hash| hash + 1);
        start..end
    };
    match raw {
        Cow::Borrowed(raw) => Cow::Borrowed(&raw[strip(raw)]),
        Cow::Owned(raw) => Cow::Owned(raw[strip(&raw)].to_owned()),
    }
}

/// A duration of `ms` milliseconds; one too long to represent counts as the longest.
fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX)
}

macro_rules! fields {
    ($($variant:ident $name:literal)*) => {
        /// The fields that version 1 knows.
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Field { $($variant,)* Unknown }

        impl Field {
            const COUNT: usize = [$($name),*].len();

            fn by_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Unknown }
            }

            const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Unknown => "unknown" }
            }
        }
    };
}

fields! {
    V "v" Type "type" Api "api" Token "token" Call "call" Attempt "attempt" MaxAttempts "max_attempts"
    Fp "fp" FpRaw "fp_raw" Client "client" Scope "scope" At "at" TokenOrigin "token_origin" Outcome "outcome"
    Error "error" HttpStatus "http_status" RequestId "request_id" DurationMs "duration_ms"
    ReadUnits "read_units" WriteUnits "write_units" Traceparent "traceparent" Attempts "attempts" Dropped "dropped"
}

/// A field's value before it is checked: a wrong type is a fault of the field, not of the line.
#[derive(Default)]
enum Value<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Integer(i128),
    Number(f64),
    Other,
}

struct Fields<'a>([Value<'a>; Field::COUNT]);

impl<'a> Fields<'a> {
    fn take(&mut self, field: Field) -> Value<'a> {
        std::mem::take(&mut self.0[field as usize])
    }

    fn text(
        &mut self,
        field: Field,
        bytes_max: usize,
    ) -> Result<Option<Cow<'a, str>>, DecodeError> {
        match self.take(field) {
            Value::Absent => Ok(None),
            Value::Text(text) if text.is_empty() => Ok(None),
            Value::Text(text) if text.len() <= bytes_max => Ok(Some(text)),
            _ => Err(DecodeError::new(Reason::InvalidField, field)),
        }
    }

    /// The token: the only text whose empty value is a value.
    fn token(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        match self.take(Field::Token) {
            Value::Absent => Ok(None),
            Value::Text(text) if text.len() <= 512 => Ok(Some(text)),
            _ => Err(DecodeError::new(Reason::InvalidField, Field::Token)),
        }
    }

    fn integer(&mut self, field: Field) -> Result<Option<i64>, DecodeError> {
        match self.take(field) {
            Value::Absent => Ok(None),
            Value::Text(text) if text.is_empty() => Ok(None),
            Value::Integer(n) => i64::try_from(n)
                .map(Some)
                .map_err(|_| DecodeError::new(Reason::InvalidField, field)),
            _ => Err(DecodeError::new(Reason::InvalidField, field)),
        }
    }

    /// An integer ≥ 1.
    fn count(&mut self, field: Field) -> Result<Option<u64>, DecodeError> {
        match self.integer(field)? {
            Some(n) if n < 1 => Err(DecodeError::new(Reason::InvalidField, field)),
            n => Ok(n.map(i64::unsigned_abs)),
        }
    }

    /// Events dropped by the client: an integer ≥ 0, required in a client report.
    fn dropped(&mut self, kind: Kind) -> Result<u64, DecodeError> {
        match self.integer(Field::Dropped)? {
            Some(n) if n < 0 => Err(DecodeError::new(Reason::InvalidField, Field::Dropped)),
            Some(n) => Ok(n.unsigned_abs()),
            None if kind == Kind::ClientReport => {
                Err(DecodeError::new(Reason::MissingField, Field::Dropped))
            }
            None => Ok(0),
        }
    }

    /// A number ≥ 0.
    fn amount(&mut self, field: Field) -> Result<Option<f64>, DecodeError> {
        let number = match self.take(field) {
            Value::Absent => return Ok(None),
            Value::Text(text) if text.is_empty() => return Ok(None),
            Value::Integer(n) => n as f64,
            Value::Number(n) => n,
            _ => f64::NAN,
        };
        if number >= 0.0 {
            Ok(Some(number))
        } else {
            Err(DecodeError::new(Reason::InvalidField, field))
        }
    }

    fn time(&mut self) -> Result<Option<Timestamp>, DecodeError> {
        let time = match self.take(Field::At) {
            Value::Absent => return Ok(None),
            Value::Text(text) if text.is_empty() => return Ok(None),
            Value::Integer(n) => Timestamp::from_seconds(n as f64),
            Value::Number(n) => Timestamp::from_seconds(n),
            Value::Text(text) => Timestamp::from_rfc3339(&text),
            Value::Other => None,
        };
        time.map(Some)
            .ok_or(DecodeError::new(Reason::InvalidField, Field::At))
    }

    fn token_origin(&mut self) -> Result<Option<TokenOrigin>, DecodeError> {
        match self.text(Field::TokenOrigin, usize::MAX)?.as_deref() {
            None => Ok(None),
            Some("caller") => Ok(Some(TokenOrigin::Caller)),
            Some("sdk") => Ok(Some(TokenOrigin::Sdk)),
            Some(_) => Err(DecodeError::new(Reason::InvalidField, Field::TokenOrigin)),
        }
    }

    fn outcome(&mut self) -> Result<Option<Outcome>, DecodeError> {
        match self.text(Field::Outcome, usize::MAX)?.as_deref() {
            None => Ok(None),
            Some("ok") => Ok(Some(Outcome::Ok)),
            Some("error") => Ok(Some(Outcome::Error)),
            Some("no_response") => Ok(Some(Outcome::NoResponse)),
            Some(_) => Err(DecodeError::new(Reason::InvalidField, Field::Outcome)),
        }
    }

    /// The trace context, and whether one was given that cannot be read: never a reason to reject.
    fn trace(&mut self) -> (Option<TraceContext>, bool) {
        match self.take(Field::Traceparent) {
            Value::Absent => (None, false),
            Value::Text(text) if text.is_empty() => (None, false),
            Value::Text(text) => {
                let trace = TraceContext::parse(&text);
                (trace, trace.is_none())
            }
            _ => (None, true),
        }
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields(Default::default());
                while let Some(field) = map.next_key::<Field>()? {
                    if field == Field::Unknown {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        fields.0[field as usize] = map.next_value()?;
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Field, E> {
                Ok(Field::by_name(name))
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Value<'de>, E> {
                Ok(Value::Absent)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
                Ok(Value::Other)
            }
            fn visit_i64<E>(self, n: i64) -> Result<Value<'de>, E> {
                Ok(Value::Integer(n.into()))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Value<'de>, E> {
                Ok(Value::Integer(n.into()))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Value<'de>, E> {
                Ok(Value::Number(n))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Value<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"type":"attempt_start","api":"a","token":"t""#;

    fn reject(line: &str) -> String {
        Event::decode(line.as_bytes())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    fn start(fields: &str) -> Result<Event<'static>, DecodeError> {
        let line: &'static str = format!("{START}{fields}}}").leak();
        Event::decode(line.as_bytes())
    }

    #[test]
    fn reads_every_field() {
        let event = start(
            r#","v":1,"call":"c","attempt":2,"max_attempts":4,"fp":"f","fp_raw":"r","client":"p/1","scope":"s",
            "at":1700000000.5,"token_origin":"sdk","outcome":"error","error":"ns#Code:http://x","http_status":400,
            "request_id":"q","duration_ms":1.5,"read_units":2,"write_units":0.5,"attempts":3,"dropped":1,
            "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","unknown":[{"deep":[1]}]"#,
        )
        .unwrap();
        assert_eq!(
            (event.call.as_deref(), event.attempt, event.max_attempts),
            (Some("c"), 2, Some(4))
        );
        assert_eq!(
            (event.error.as_deref(), event.http_status),
            (Some("Code"), Some(400))
        );
        assert_eq!(event.at.unwrap().to_string(), "1700000000.500");
        assert_eq!(event.duration, Some(Duration::from_micros(1500)));
        assert_eq!(
            (event.read_units, event.write_units),
            (Some(2.0), Some(0.5))
        );
        assert!(event.trace.is_some() && !event.traceparent_malformed);
        assert!(
            matches!(event.token, Cow::Borrowed("t")),
            "an unescaped text must not be copied"
        );
    }

    #[test]
    fn null_and_empty_are_absent_except_an_empty_token() {
        let event = Event::decode(
            br#"{"type":"attempt_start","api":"a","token":"","call":"","fp":null,"attempt":null}"#,
        );
        let event = event.unwrap();
        assert_eq!(
            (event.call, event.fp, event.attempt, &*event.token),
            (None, None, 1, "")
        );
        assert_eq!(
            reject(r#"{"type":"attempt_start","api":"","token":"t"}"#),
            "missing_field: api"
        );
        assert_eq!(
            reject(r#"{"type":"attempt_start","api":"a","token":null}"#),
            "missing_field: token"
        );
    }

    #[test]
    fn names_the_fault_and_the_field() {
        for line in [
            "",
            "x",
            "[]",
            "5",
            "\"a\"",
            "{",
            "{}x",
            &format!("{START}}}\u{0}"),
            r#"{"type":"\ud800"}"#,
        ] {
            assert_eq!(reject(line), "malformed", "{line}");
        }
        assert_eq!(
            Event::decode(b"{\"type\":\"\xff\"}").unwrap_err().reason,
            Reason::Malformed
        );
        assert_eq!(reject("{}"), "missing_field: type");
        assert_eq!(reject(r#"{"v":2}"#), "unsupported_version: v");
        assert_eq!(reject(r#"{"type":"x"}"#), "unknown_type: type");
        assert_eq!(
            reject(r#"{"type":"client_report"}"#),
            "missing_field: dropped"
        );
        let end = r#"{"type":"attempt_end","api":"a","token":"t""#;
        assert_eq!(reject(&format!("{end}}}")), "missing_field: outcome");
        assert_eq!(
            reject(&format!(r#"{end},"outcome":"error"}}"#)),
            "missing_field: error"
        );
        assert!(
            Event::decode(format!(r#"{end},"outcome":"error","http_status":500}}"#).as_bytes())
                .is_ok()
        );
        for (fields, name) in [
            (r#","attempt":1.0"#, "attempt"),
            (r#","attempt":0"#, "attempt"),
            (r#","attempt":99999999999999999999"#, "attempt"),
            (r#","max_attempts":"4""#, "max_attempts"),
            (r#","v":1.0"#, "v"),
            (r#","call":5"#, "call"),
            (r#","duration_ms":-1"#, "duration_ms"),
            (r#","write_units":true"#, "write_units"),
            (r#","at":"yesterday""#, "at"),
            (r#","outcome":"maybe""#, "outcome"),
            (r#","token_origin":"x""#, "token_origin"),
            (r#","dropped":{}"#, "dropped"),
            (r#","attempts":[1]"#, "attempts"),
            (r#","http_status":4.5"#, "http_status"),
        ] {
            let error = start(fields).map(|_| ()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid_field: {name}"),
                "{fields}"
            );
        }
    }

    #[test]
    fn limits_are_bytes_of_utf8() {
        for (field, bytes_max) in [
            ("api", 128),
            ("token", 512),
            ("call", 64),
            ("fp", 64),
            ("fp_raw", 64),
            ("client", 128),
            ("scope", 256),
            ("error", 128),
            ("request_id", 128),
        ] {
            let of = |bytes: usize| {
                format!(
                    r#","{field}":"{}{}""#,
                    "é".repeat(bytes / 2),
                    "x".repeat(bytes % 2)
                )
            };
            assert!(start(&of(bytes_max)).is_ok(), "{field}");
            assert_eq!(start(&of(bytes_max + 1)).unwrap_err().field, Some(field));
        }
    }

    #[test]
    fn a_bad_traceparent_is_only_counted() {
        for bad in [r#""00-zz""#, "7", "{}"] {
            let event = start(&format!(r#","traceparent":{bad}"#)).unwrap();
            assert!(event.trace.is_none() && event.traceparent_malformed);
        }
    }
}
