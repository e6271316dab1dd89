//! The fields of an event as they come from the wire, before anybody knows which event it is.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::word::Word;
use super::{DecodeError, Kind, Outcome, Reason, TokenOrigin};
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;

macro_rules! fields {
    ($($variant:ident $name:literal)*) => {
        /// The fields that version 1 knows.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Field { $($variant,)* Unknown }

        impl Field {
            const COUNT: usize = [$($name),*].len();

            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),*];

            pub const fn name(self) -> &'static str {
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

impl Field {
    /// The field of a name.
    fn by_name(name: &str) -> Self {
        Self::by_word(Word::new(name))
    }

    /// The field of a name, found without comparing it with all of them.
    #[inline]
    pub fn by_word(word: Word) -> Self {
        const PLACES: [(Word, Field); 64] = Field::places();
        let (name, field) = PLACES[word.place()];
        if name == word { field } else { Self::Unknown }
    }

    /// Does not compile if two names have the same place, or one is too long.
    const fn places() -> [(Word, Self); 64] {
        let mut places = [(Word::LONG, Self::Unknown); 64];
        let mut index = 0;
        while index < Self::COUNT {
            let field = Self::ALL[index];
            let name = Word::new(field.name());
            assert!(!name.is_long() && places[name.place()].0.is_long());
            places[name.place()] = (name, field);
            index += 1;
        }
        places
    }
}

/// A field's value before it is checked: a wrong type is a fault of the field, not of the line.
#[derive(Default)]
enum Value<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Integer(i64),
    Number(f64),
    Other,
}

pub struct Fields<'a>([Value<'a>; Field::COUNT]);

impl<'a> Fields<'a> {
    fn take(&mut self, field: Field) -> Value<'a> {
        std::mem::take(&mut self.0[field as usize])
    }

    pub fn text(
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
    pub fn token(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        match self.take(Field::Token) {
            Value::Absent => Ok(None),
            Value::Text(text) if text.len() <= 512 => Ok(Some(text)),
            _ => Err(DecodeError::new(Reason::InvalidField, Field::Token)),
        }
    }

    pub fn integer(&mut self, field: Field) -> Result<Option<i64>, DecodeError> {
        match self.take(field) {
            Value::Absent => Ok(None),
            Value::Text(text) if text.is_empty() => Ok(None),
            Value::Integer(n) => Ok(Some(n)),
            _ => Err(DecodeError::new(Reason::InvalidField, field)),
        }
    }

    /// An integer ≥ 1.
    pub fn count(&mut self, field: Field) -> Result<Option<u64>, DecodeError> {
        match self.integer(field)? {
            Some(n) if n < 1 => Err(DecodeError::new(Reason::InvalidField, field)),
            n => Ok(n.map(i64::unsigned_abs)),
        }
    }

    /// Events dropped by the client: an integer ≥ 0, required in a client report.
    pub fn dropped(&mut self, kind: Kind) -> Result<u64, DecodeError> {
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
    pub fn amount(&mut self, field: Field) -> Result<Option<f64>, DecodeError> {
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

    pub fn time(&mut self) -> Result<Option<Timestamp>, DecodeError> {
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

    pub fn token_origin(&mut self) -> Result<Option<TokenOrigin>, DecodeError> {
        match self.text(Field::TokenOrigin, usize::MAX)?.as_deref() {
            None => Ok(None),
            Some("caller") => Ok(Some(TokenOrigin::Caller)),
            Some("sdk") => Ok(Some(TokenOrigin::Sdk)),
            Some(_) => Err(DecodeError::new(Reason::InvalidField, Field::TokenOrigin)),
        }
    }

    pub fn outcome(&mut self) -> Result<Option<Outcome>, DecodeError> {
        match self.text(Field::Outcome, usize::MAX)?.as_deref() {
            None => Ok(None),
            Some("ok") => Ok(Some(Outcome::Ok)),
            Some("error") => Ok(Some(Outcome::Error)),
            Some("no_response") => Ok(Some(Outcome::NoResponse)),
            Some(_) => Err(DecodeError::new(Reason::InvalidField, Field::Outcome)),
        }
    }

    /// The trace context, and whether one was given that cannot be read: never a reason to reject.
    pub fn trace(&mut self) -> (Option<TraceContext>, bool) {
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
                Ok(Value::Integer(n))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Value<'de>, E> {
                // Larger than any integer that a field may have; still a number.
                Ok(i64::try_from(n).map_or(Value::Number(n as f64), Value::Integer))
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

/// Strips what services put around an error code: `namespace#Code:http://…` is `Code`.
pub fn error_code(raw: Cow<'_, str>) -> Cow<'_, str> {
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
pub fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX)
}
