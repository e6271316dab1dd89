//! The vectors that every client passes: the same request has one fingerprint in all languages.

use std::fs;
use std::path::Path;

use oncewatch_client::{canonical, fingerprint};
use serde_json::Value;

const VECTORS: usize = 79;

fn document() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/fingerprints.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Text given whole, as parts with repetitions, or in base64.
fn bytes(vector: &Value, name: &str) -> Option<Vec<u8>> {
    if let Some(text) = vector[name].as_str() {
        return Some(text.as_bytes().to_vec());
    }
    if let Some(parts) = vector[format!("{name}_parts")].as_array() {
        let repeat = |part: &Value| {
            part[0]
                .as_str()
                .unwrap()
                .repeat(part[1].as_u64().unwrap() as usize)
        };
        return Some(parts.iter().map(repeat).collect::<String>().into_bytes());
    }
    vector[format!("{name}_base64")].as_str().map(from_base64)
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<_> = text.chars().map_while(|digit| DIGITS.find(digit)).collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        [bits >> 16, bits >> 8, bits]
            .into_iter()
            .take(group.len() - 1)
            .map(|byte| byte as u8)
    });
    groups.collect()
}

#[test]
fn every_vector_gives_its_fingerprints() {
    let document = document();
    let vectors = document["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), VECTORS);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let body = bytes(vector, "body").unwrap();
        let token_field = vector["token_field"].as_str();
        let ignored: Vec<_> = vector["ignored_fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field.as_str().unwrap())
            .collect();
        let prints = fingerprint(
            vector["api"].as_str().unwrap(),
            &body,
            token_field,
            &ignored,
        );
        assert_eq!(prints.fp.as_deref(), vector["fp"].as_str(), "fp: {name}");
        assert_eq!(
            Some(&*prints.fp_raw),
            vector["fp_raw"].as_str(),
            "fp_raw: {name}"
        );
        assert_eq!(
            prints.token.as_deref(),
            vector["token"].as_str(),
            "token: {name}"
        );
        let written = canonical(&body, token_field, &ignored).map(String::into_bytes);
        // A body over the size limit has a canonical form and no fp.
        if body.len() <= 256 * 1024 {
            assert_eq!(written, bytes(vector, "canonical"), "canonical: {name}");
        }
    }
}

#[test]
fn the_decoder_of_this_test_is_right() {
    let cases: [(&str, &[u8]); 4] = [
        ("", b""),
        ("eA==", b"x"),
        ("eHk=", b"xy"),
        ("/+8iAHo=", b"\xff\xef\"\0z"),
    ];
    for (text, expected) in cases {
        assert_eq!(from_base64(text), expected);
    }
}

#[test]
fn hostile_bodies_are_read_without_a_panic() {
    let deep = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    assert!(canonical::<&str>(&deep(512), None, &[]).is_some());
    assert_eq!(canonical::<&str>(&deep(513), None, &[]), None);
    assert_eq!(canonical::<&str>(&deep(100_000), None, &[]), None);
    let unfinished: [&[u8]; 8] = [
        b"{",
        b"{\"",
        b"[1,",
        b"\"\\",
        b"\"\\u12",
        b"\"\\ud83d\\u",
        b"-",
        b"1e",
    ];
    for body in unfinished {
        assert_eq!(canonical::<&str>(body, None, &[]), None);
    }
    // Every prefix of a document with everything in it.
    let whole = r#"{"a":[1.5e-3,-0,true,false,null,"\u00e9\ud83d\ude00\n"],"b":{"é":{}},"a":""}"#
        .as_bytes();
    for end in 0..whole.len() {
        assert_eq!(canonical::<&str>(&whole[..end], None, &[]), None, "{end}");
    }
    assert_eq!(
        canonical::<&str>(whole, None, &[]).unwrap(),
        r#"{"a":"","b":{"é":{}}}"#
    );
}

#[test]
fn a_lone_surrogate_in_a_dropped_field_does_not_matter() {
    let body = br#"{"a":"\ud800","b":1,"a":2,"t":"\ud800"}"#;
    assert_eq!(
        canonical::<&str>(body, Some("t"), &[]).unwrap(),
        r#"{"a":2,"b":1}"#
    );
    assert_eq!(canonical::<&str>(body, None, &[]), None);
}

#[test]
fn each_lone_surrogate_of_a_token_is_one_replacement_character() {
    let body = br#"{"t":"a\ud800\udbffb\udc00\ud83d\ude00"}"#;
    let token = fingerprint::<&str>("default", body, Some("t"), &[]).token;
    assert_eq!(
        token.as_deref(),
        Some("a\u{fffd}\u{fffd}b\u{fffd}\u{1f600}")
    );
}

#[test]
fn the_token_is_found_where_there_is_no_canonical_form() {
    let deep = format!("{}{}", "[".repeat(600), "]".repeat(600));
    let long = format!("\"{}\"", "x".repeat(300 * 1024));
    for filler in [deep, long] {
        let bodies = ["a", "b"].map(|token| {
            format!(
                r#"{{ "k" : "old", "x":{{"k":"inner","s":"\\\"}},k:"}},"y":{filler}, "\u006b" : "{token}" ,"z":[1,{{}}]}} "#
            )
        });
        let [a, b] =
            bodies.map(|body| fingerprint::<&str>("stripe", body.as_bytes(), Some("k"), &[]));
        assert_eq!((a.fp, a.token.as_deref()), (None, Some("a")));
        assert_eq!(b.token.as_deref(), Some("b"));
        assert_eq!(a.fp_raw, b.fp_raw, "the token does not count");
        for broken in ["", "}", "\"", ",\"k\":1}", ",\"k"] {
            let body = format!(r#"{{"k":"a","y":{filler}{broken}"#);
            let prints = fingerprint::<&str>("stripe", body.as_bytes(), Some("k"), &[]);
            let whole = broken == "}";
            assert_eq!(prints.token.is_some(), whole, "{broken}");
        }
    }
}
