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

/// What `serde_json` and the checks of the fields alone say.
fn oracle(line: &[u8]) -> Result<Event<'_>, DecodeError> {
    let malformed = DecodeError {
        reason: Reason::Malformed,
        field: None,
    };
    let text = std::str::from_utf8(line).map_err(|_| malformed)?;
    Event::from_fields(serde_json::from_str(text).map_err(|_| malformed)?)
}

fn is_plain(text: &str) -> bool {
    let mut event = Event::BLANK;
    scan::scan(text, &mut event).is_some()
}

/// A generator of its own, so that a seed means the same run everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'s>(&mut self, from: &[&'s str]) -> &'s str {
        from[self.below(from.len())]
    }
}

/// Values that are right for some field.
const VALUES: [&str; 34] = [
    r#""attempt_start""#,
    r#""attempt_end""#,
    r#""call_end""#,
    r#""client_report""#,
    r#""ok""#,
    r#""error""#,
    r#""no_response""#,
    r#""caller""#,
    r#""sdk""#,
    r#""a""#,
    r#""12345678""#,
    r#""ns#Code:http://x""#,
    r#""2023-11-14T22:13:20.5Z""#,
    r#""00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#,
    r#""é\u00e9""#,
    r#""tab\tquote\"slash\/back\\""#,
    r#""\ud83d\ude00""#,
    r#""""#,
    "null",
    "0",
    "1",
    "2",
    "500",
    "12.75",
    "0.1",
    "1700000000",
    "1700000000.123456",
    "1e3",
    "2E+2",
    "true",
    "false",
    r#"[1,{"x":[]}]"#,
    r#"{"a":{"b":null}}"#,
    "123456789012345678",
];

/// Values that are wrong for most fields, or no values at all.
const HOSTILE: [&str; 40] = [
    "-1",
    "-0",
    "-0.0",
    "1.0",
    "-1.5",
    "01",
    "00",
    "0.",
    ".5",
    "+1",
    "1e",
    "1e400",
    "-",
    "1.5.5",
    "0x10",
    "NaN",
    "Infinity",
    "9007199254740993",
    "9007199254740993.5",
    "0.30000000000000004",
    "999999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "123456789012345678901234567890.5",
    "0.12345678901234567890",
    "1e-3",
    "4.9e-324",
    "nul",
    "True",
    r#""\ud800""#,
    r#""\udc00x""#,
    r#""\u12""#,
    r#""\x""#,
    r#""open"#,
    "\"\u{1}\"",
    "\"\n\"",
    "",
    "[",
    "{]",
];

/// An event, more or less.
fn random_line(random: &mut Random) -> Vec<u8> {
    // One thing in so many is odd.
    let odd = [1000, 60, 8][random.below(3)];
    let space = |random: &mut Random| match random.below(9) {
        0 if random.one_in(odd) => random.pick(&["\u{b}", "\u{a0}", "x", ","]),
        0 if random.one_in(odd) => random.pick(&["\t", "\r", "\n", "  \n"]),
        0 => random.pick(&[" ", "  "]),
        _ => "",
    };
    let names: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
    let needed = ["type", "api", "token", "outcome", "error", "dropped"];
    let mut keys: Vec<&str> = needed.into_iter().filter(|_| !random.one_in(odd)).collect();
    for _ in 0..random.below(8) {
        let key = match random.below(odd) {
            0 => random.pick(&[
                "unknown",
                "",
                "fq",
                "Type",
                "type ",
                r"t\u0079pe",
                r"\n",
                "é",
            ]),
            _ => random.pick(&names),
        };
        if !keys.contains(&key) || random.one_in(odd) {
            keys.insert(random.below(keys.len() + 1), key);
        }
    }
    let mut line = format!("{}{{{}", space(random), space(random));
    for (index, key) in keys.into_iter().enumerate() {
        let value = match random.below(2 * odd) {
            0 => random.pick(&HOSTILE).to_owned(),
            1 => format!("\"{}\"", "é".repeat(random.below(300))),
            2 => format!("{}.{}", random.below(1 << 40), random.below(1 << 40)),
            3 => random.below(1 << 50).to_string(),
            4 => "null".to_owned(),
            5..8 => random.pick(&VALUES).to_owned(),
            _ => fitting(key, random),
        };
        let comma = if index > 0 { "," } else { "" };
        for part in [comma, space(random), "\"", key, "\"", space(random), ":"] {
            line.push_str(part);
        }
        for part in [space(random), &value, space(random)] {
            line.push_str(part);
        }
    }
    line += &format!("}}{}", space(random));
    let mut line = line.into_bytes();
    while !line.is_empty() && random.one_in(odd) {
        let at = random.below(line.len());
        let byte = b"\"\\{}[]:,0e.\x00\x7f\xff n"[random.below(16)];
        match random.below(4) {
            0 => line.truncate(at + 1),
            1 => drop(line.remove(at)),
            2 => line[at] = byte,
            _ => line.insert(at, byte),
        }
    }
    line
}

/// A value that the field takes.
fn fitting(key: &str, random: &mut Random) -> String {
    let value = match key {
        "v" => "1",
        "type" => random.pick(&VALUES[..4]),
        "outcome" => random.pick(&VALUES[4..7]),
        "token_origin" => random.pick(&VALUES[7..9]),
        "at" => random.pick(&VALUES[25..27]),
        "attempt" | "max_attempts" | "attempts" | "dropped" | "http_status" => {
            random.pick(&VALUES[20..23])
        }
        "duration_ms" | "read_units" | "write_units" => random.pick(&VALUES[19..27]),
        "api" | "token" | "call" | "fp" | "fp_raw" | "client" | "scope" if random.one_in(20) => {
            let limit = [64, 128, 256, 512][random.below(4)];
            return format!("\"é{}\"", "x".repeat(limit - 3 + random.below(3)));
        }
        _ => random.pick(&VALUES[9..14]),
    };
    value.to_owned()
}

#[test]
fn both_readers_say_the_same() {
    let (mut plain, mut slow, mut rejected) = (0, 0, [0; Reason::ALL.len()]);
    for seed in 1..=60_000 {
        let mut random = Random(seed * 0x9E37_79B9);
        random.below(2);
        let line = random_line(&mut random);
        let (got, wanted) = (Event::decode(&line), oracle(&line));
        let text = String::from_utf8_lossy(&line);
        assert_eq!(
            format!("{got:?}"),
            format!("{wanted:?}"),
            "seed {seed}: {text}"
        );
        let by_scan = std::str::from_utf8(&line).is_ok_and(is_plain);
        match wanted {
            Ok(_) if by_scan => plain += 1,
            Ok(_) => slow += 1,
            Err(error) => rejected[error.reason as usize] += 1,
        }
    }
    let enough = |reason: &Reason| {
        rejected[*reason as usize] > 100 || matches!(reason, Reason::TooLong | Reason::Duplicate)
    };
    assert!(plain > 10_000 && slow > 300, "{plain} plain, {slow} slow");
    assert!(Reason::ALL.iter().all(enough), "{rejected:?}");
}

#[test]
fn what_clients_send_is_in_plain_form() {
    for line in [
        r#"{"type":"attempt_start","api":"dynamodb.TransactWriteItems","token":"6b8f","call":"c1","attempt":1,"fp":"9a","fp_raw":"7c","client":"orders-1/77","scope":"1/eu","at":1700000000.123456,"token_origin":"sdk","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        r#"{"v": 1, "type": "attempt_end", "api": "a", "token": "t", "attempt": 2, "max_attempts": 3, "outcome": "error", "error": "x#Code", "http_status": 400, "request_id": "q", "duration_ms": 12.5, "read_units": 2, "write_units": 4.0, "call": null, "extra": true}"#,
        r#"{"type":"call_end","api":"a","token":"é","call":"c","outcome":"ok","attempts":2,"at":"2023-11-14T22:13:20Z"}"#,
        r#"{"type":"client_report","dropped":7,"client":"c"}"#,
    ] {
        assert!(is_plain(line), "{line}");
        assert!(Event::decode(line.as_bytes()).is_ok());
    }
}
