//! The line with which a client asks for acknowledgements (SPEC §2). Pure.

use serde_json::{Map, Value};

use crate::detect::event::{DecodeError, Event, Reason};
use crate::pipeline::sessions::{FIRST_MAX, Session};

/// A client's word on what will follow on its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// The session that it goes on with.
    pub(super) session: Session,
    /// Number of the next line.
    pub(super) first: u64,
}

/// Reads the first line of a connection of the user `uid`; `None` if it is something else, which
/// then is for the pipeline to judge.
pub(super) fn read(line: &[u8], uid: u32) -> Option<Result<Hello, DecodeError>> {
    // Only what an event's reader calls an unknown type is looked at again: an event costs nothing.
    let unknown = Event::decode(line).is_err_and(|error| error.reason == Reason::UnknownType);
    if !unknown {
        return None;
    }
    let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    (fields.get("type")? == "hello").then(|| check(&fields, uid))
}

/// As for events, a wrong value is reported before a missing one, and an empty text is absent.
fn check(fields: &Map<String, Value>, uid: u32) -> Result<Hello, DecodeError> {
    let of = |name: &str| {
        let value = fields.get(name).unwrap_or(&Value::Null);
        let absent = value.is_null() || value == "";
        (!absent).then_some(value)
    };
    let invalid = |field| DecodeError {
        reason: Reason::InvalidField,
        field: Some(field),
    };
    let missing = |field| DecodeError {
        reason: Reason::MissingField,
        field: Some(field),
    };
    let session = of("session").map(|value| {
        let session = value.as_str().and_then(|name| Session::new(uid, name));
        session.ok_or(invalid("session"))
    });
    let first = of("seq").map(|value| {
        let first = value.as_u64().filter(|seq| (1..=FIRST_MAX).contains(seq));
        first.ok_or(invalid("seq"))
    });
    let (session, first) = (session.transpose()?, first.transpose()?);
    Ok(Hello {
        session: session.ok_or(missing("session"))?,
        first: first.ok_or(missing("seq"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(fields: &str) -> Option<(Reason, &'static str)> {
        let line = format!(r#"{{"type":"hello",{fields}}}"#);
        let read = read(line.as_bytes(), 7).expect("a hello");
        read.err().map(|error| (error.reason, error.field.unwrap()))
    }

    #[test]
    fn a_hello_names_a_session_and_a_number() {
        let longest = "é".repeat(32);
        for (name, seq) in [
            ("s", "1"),
            ("a b\\u0000", "9007199254740991"),
            (&longest, "7"),
        ] {
            let line = format!(
                r#"{{"more":[{{}}],"seq":{seq},"v":1,"session":"{name}","type":"hel\u006co"}}"#
            );
            let hello = read(line.as_bytes(), 7).unwrap().unwrap();
            let name: String = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            assert_eq!(hello.session, Session::new(7, &name).unwrap());
            assert_ne!(hello.session, Session::new(8, &name).unwrap());
            assert_eq!(hello.first, seq.parse::<u64>().unwrap());
        }
    }

    #[test]
    fn a_malformed_hello_is_one_field_s_fault() {
        use Reason::{InvalidField as Invalid, MissingField as Missing};
        let long = format!(r#""seq":1,"session":"{}""#, "s".repeat(65));
        for (fields, wanted) in [
            (r#""session":"s""#, (Missing, "seq")),
            (r#""seq":1"#, (Missing, "session")),
            (r#""seq":1,"session":"""#, (Missing, "session")),
            (r#""seq":null,"session":"s""#, (Missing, "seq")),
            (r#""seq":0,"session":"s""#, (Invalid, "seq")),
            (r#""seq":-1,"session":"s""#, (Invalid, "seq")),
            (r#""seq":1.0,"session":"s""#, (Invalid, "seq")),
            (r#""seq":1e3,"session":"s""#, (Invalid, "seq")),
            (r#""seq":"1","session":"s""#, (Invalid, "seq")),
            (r#""seq":[1],"session":"s""#, (Invalid, "seq")),
            (r#""seq":true,"session":"s""#, (Invalid, "seq")),
            (r#""seq":9007199254740992,"session":"s""#, (Invalid, "seq")),
            (
                r#""seq":18446744073709551615,"session":"s""#,
                (Invalid, "seq"),
            ),
            (
                r#""seq":18446744073709551616,"session":"s""#,
                (Invalid, "seq"),
            ),
            (r#""seq":1,"session":5"#, (Invalid, "session")),
            (&long, (Invalid, "session")),
            (r#""session":5"#, (Invalid, "session")),
        ] {
            assert_eq!(faults(fields), Some(wanted), "{fields}");
        }
    }

    #[test]
    fn other_lines_are_left_to_the_pipeline() {
        for line in [
            r#"{"type":"attempt_start","api":"a","token":"hello"}"#,
            r#"{"type":"attempt_start","api":"a"}"#,
            r#"{"type":"Hello","session":"s","seq":1}"#,
            r#"{"type":"hello","session":"s","seq":1,"v":2}"#,
            r#"{"type":"hello","session":"s","seq":1"#,
            r#"{"type":["hello"],"session":"s","seq":1}"#,
            r#"{"session":"s","seq":1}"#,
            "hello",
            "",
        ] {
            assert_eq!(read(line.as_bytes(), 7), None, "{line}");
        }
    }
}
