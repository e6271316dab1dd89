//! One line to one event (SPEC §2). Reasons are found in this order: malformed (too_long before it),
//! unsupported_version, unknown_type, invalid_field, missing_field.

use serde_json::{Map, Value};

use super::Reject;

const LINE_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    AttemptStart,
    AttemptEnd,
    CallEnd,
    ClientReport,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OutcomeField {
    Ok,
    Error,
    NoResponse,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub kind: Kind,
    pub at_us: i64,
    pub api: String,
    pub scope: String,
    pub token: String,
    pub client: Option<String>,
    pub call: Option<String>,
    pub attempt: u64,
    pub max_attempts: Option<u64>,
    pub fp: Option<String>,
    pub fp_raw: Option<String>,
    pub outcome: Option<OutcomeField>,
    pub error: Option<String>,
    pub http_status: Option<i64>,
    pub duration_us: i64,
    pub read_units: Option<f64>,
    pub write_units: Option<f64>,
}

type Object = Map<String, Value>;

pub fn decode(line: &str) -> Result<Event, Reject> {
    if line.len() > LINE_BYTES_MAX {
        return Err("too_long");
    }
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) else {
        return Err("malformed");
    };
    if present(&object, "v")
        .and_then(integer)
        .is_some_and(|version| version != 1)
    {
        return Err("unsupported_version");
    }
    let kind = match object.get("type").and_then(Value::as_str) {
        Some("attempt_start") => Some(Kind::AttemptStart),
        Some("attempt_end") => Some(Kind::AttemptEnd),
        Some("call_end") => Some(Kind::CallEnd),
        Some("client_report") => Some(Kind::ClientReport),
        Some("") | None => None,
        Some(_) => return Err("unknown_type"),
    };
    let fields = Fields::read(&object)?;
    fields.into_event(kind)
}

/// All known fields, right in type and value, whichever event they came with.
struct Fields {
    at_us: Option<i64>,
    api: Option<String>,
    scope: Option<String>,
    token: Option<String>,
    client: Option<String>,
    call: Option<String>,
    attempt: Option<u64>,
    max_attempts: Option<u64>,
    fp: Option<String>,
    fp_raw: Option<String>,
    outcome: Option<OutcomeField>,
    error: Option<String>,
    http_status: Option<i64>,
    duration_ms: Option<f64>,
    read_units: Option<f64>,
    write_units: Option<f64>,
    dropped: bool,
}

impl Fields {
    fn read(object: &Object) -> Result<Fields, Reject> {
        let any_integer = |name| match present(object, name) {
            None => Ok(None),
            Some(value) => integer(value).map(Some).ok_or("invalid_field"),
        };
        any_integer("v")?;
        any_integer("attempts")?;
        text(object, "type", usize::MAX)?;
        text(object, "request_id", 128)?;
        amount(object, "read_units")?;
        match text(object, "token_origin", usize::MAX)?.as_deref() {
            None | Some("caller" | "sdk") => {}
            Some(_) => return Err("invalid_field"),
        }
        let outcome = match text(object, "outcome", usize::MAX)?.as_deref() {
            None => None,
            Some("ok") => Some(OutcomeField::Ok),
            Some("error") => Some(OutcomeField::Error),
            Some("no_response") => Some(OutcomeField::NoResponse),
            Some(_) => return Err("invalid_field"),
        };
        let token = match present(object, "token") {
            None => None,
            Some(Value::String(token)) if token.len() <= 512 => Some(token.clone()),
            Some(_) => return Err("invalid_field"),
        };
        Ok(Fields {
            at_us: instant(object)?,
            api: text(object, "api", 128)?,
            scope: text(object, "scope", 256)?,
            token,
            client: text(object, "client", 128)?,
            call: text(object, "call", 64)?,
            attempt: count(object, "attempt")?,
            max_attempts: count(object, "max_attempts")?,
            fp: text(object, "fp", 64)?,
            fp_raw: text(object, "fp_raw", 64)?,
            outcome,
            error: text(object, "error", 128)?,
            http_status: any_integer("http_status")?,
            duration_ms: amount(object, "duration_ms")?,
            read_units: amount(object, "read_units")?,
            write_units: amount(object, "write_units")?,
            dropped: any_integer("dropped")?.is_some(),
        })
    }

    fn into_event(self, kind: Option<Kind>) -> Result<Event, Reject> {
        let kind = kind.ok_or("missing_field")?;
        let at_us = self.at_us.ok_or("missing_field")?;
        let of_a_token = kind != Kind::ClientReport;
        let ends = matches!(kind, Kind::AttemptEnd | Kind::CallEnd);
        let no_reason = self.outcome == Some(OutcomeField::Error)
            && self.error.is_none()
            && self.http_status.is_none();
        if of_a_token && (self.api.is_none() || self.token.is_none())
            || ends && (self.outcome.is_none() || no_reason)
            || kind == Kind::ClientReport && !self.dropped
        {
            return Err("missing_field");
        }
        Ok(Event {
            kind,
            at_us,
            api: self.api.unwrap_or_default(),
            scope: self.scope.unwrap_or_default(),
            token: self.token.unwrap_or_default(),
            client: self.client,
            call: self.call,
            attempt: self.attempt.unwrap_or(1),
            max_attempts: self.max_attempts,
            fp: self.fp,
            fp_raw: self.fp_raw,
            outcome: self.outcome,
            error: self.error,
            http_status: self.http_status,
            duration_us: (self.duration_ms.unwrap_or(0.0) * 1e3).round() as i64,
            read_units: self.read_units,
            write_units: self.write_units,
        })
    }
}

/// `null` is absent.
fn present<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// An integer as written, so not `1.0`.
fn integer(value: &Value) -> Option<i64> {
    match (value.as_i64(), value.as_u64()) {
        (Some(number), _) => Some(number),
        (None, Some(_)) => Some(i64::MAX),
        (None, None) => None,
    }
}

fn text(object: &Object, name: &str, bytes_max: usize) -> Result<Option<String>, Reject> {
    match present(object, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text.len() <= bytes_max => Ok(Some(text.clone())),
        Some(_) => Err("invalid_field"),
    }
}

fn count(object: &Object, name: &str) -> Result<Option<u64>, Reject> {
    match present(object, name) {
        None => Ok(None),
        Some(value) => value
            .as_u64()
            .filter(|&number| number >= 1)
            .map(Some)
            .ok_or("invalid_field"),
    }
}

fn amount(object: &Object, name: &str) -> Result<Option<f64>, Reject> {
    match present(object, name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .filter(|&number| number >= 0.0)
            .map(Some)
            .ok_or("invalid_field"),
    }
}

/// `at`, from the year 1 to the year 9999.
fn instant(object: &Object) -> Result<Option<i64>, Reject> {
    let at_us = match present(object, "at") {
        None => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => rfc3339(text),
        Some(value) => value
            .as_f64()
            .map(|seconds| seconds * 1e6)
            .filter(|us| us.abs() < 3e17)
            .map(|us| us.round() as i64),
    };
    at_us.map(Some).ok_or("invalid_field")
}

/// `2026-11-05T10:00:00[.fraction](Z|±hh:mm)`.
fn rfc3339(text: &str) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let mark = |index: usize, marks: &str| {
        text.get(index..index + 1)
            .is_some_and(|found| marks.contains(found))
    };
    if !(mark(4, "-") && mark(7, "-") && mark(10, "Tt ") && mark(13, ":") && mark(16, ":")) {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let rest = text.get(19..)?;
    let split = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(split);
    let fraction_us = match fraction.strip_prefix('.') {
        Some(part) if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) => {
            (format!("0.{part}").parse::<f64>().ok()? * 1e6).round() as i64
        }
        None if fraction.is_empty() => 0,
        _ => return None,
    };
    let offset = zone_minutes(zone)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = days_since_epoch(year, month, day) * 1440 + hour * 60 + minute - offset;
    Some((minutes * 60 + second) * 1_000_000 + fraction_us)
}

fn zone_minutes(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let bytes = zone.as_bytes();
    if bytes.len() != 6 || bytes[3] != b':' || !zone.is_ascii() {
        return None;
    }
    let hours: i64 = zone[1..3].parse().ok()?;
    let minutes: i64 = zone[4..6].parse().ok()?;
    let sign = if bytes[0] == b'-' { -1 } else { 1 };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Days from 1970-01-01, counted year by year and month by month.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut days = day - 1;
    for earlier in 1970..year {
        days += 365 + i64::from(leap(earlier));
    }
    for later in year..1970 {
        days -= 365 + i64::from(leap(later));
    }
    for earlier in 1..month {
        days += match earlier {
            2 => 28 + i64::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
    }
    days
}
