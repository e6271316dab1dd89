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
        Event::decode(format!(r#"{end},"outcome":"error","http_status":500}}"#).as_bytes()).is_ok()
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
