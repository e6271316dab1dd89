//! `oncewatch analyze` on recordings with known answers.
//!
//! `tests/recordings/NAME.expected.ndjson` was written from SPEC §3 and §4 by hand, not from the
//! program's output; it holds every key of each finding but `age_s`, `message` and `remedy`.

#![allow(clippy::disallowed_methods)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Keys of a finding in their order; those with `false` may be absent.
const KEYS: [(&str, bool); 13] = [
    ("at", true),
    ("verdict", true),
    ("severity", true),
    ("api", true),
    ("token", true),
    ("scope", true),
    ("client", false),
    ("call", false),
    ("attempt", true),
    ("holder", false),
    ("age_s", false),
    ("message", true),
    ("remedy", true),
];

fn analyze(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncewatch"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONCEWATCH_")) {
        command.env_remove(name);
    }
    command.arg("analyze").args(arguments).stdin(Stdio::piped());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read it may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn recording(name: &str) -> String {
    format!("tests/recordings/{name}")
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(recording(name));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(lines: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.lines().map(parse).collect()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Every verdict as JSON; standard output holds nothing else.
fn verdicts(arguments: &[&str], input: &str) -> (Vec<Value>, Output) {
    let all = ["--format", "json", "--min-severity", "info"];
    let output = analyze(&[&all[..], arguments].concat(), input);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for line in stdout(&output).lines() {
        assert_shape(line);
    }
    (parse(stdout(&output)), output)
}

/// Asserts the format of one finding: its keys in order, their types, times with three decimals.
fn assert_shape(line: &str) {
    let finding: Value = serde_json::from_str(line).unwrap();
    let keys = finding.as_object().unwrap();
    assert!(
        keys.keys()
            .all(|key| KEYS.iter().any(|(known, _)| key == known)),
        "{line}"
    );
    let mut rest = line;
    for (key, required) in KEYS {
        let name = format!("\"{key}\":");
        assert!(keys.contains_key(key) || !required, "no {key} in {line}");
        if keys.contains_key(key) {
            let at = rest
                .find(&name)
                .unwrap_or_else(|| panic!("{key} out of order in {line}"));
            rest = &rest[at + name.len()..];
            assert!(!finding[key].is_null(), "{line}");
        }
        if key == "at" || (key == "age_s" && keys.contains_key(key)) {
            assert_three_decimals(rest);
        }
    }
    assert!(finding["attempt"].as_u64().unwrap() >= 1);
    for prose in ["message", "remedy"] {
        let text = finding[prose].as_str().unwrap();
        assert!(text.len() > 10 && !text.contains('\n'), "{line}");
    }
    if let Some(holder) = finding.get("holder") {
        let known = ["client", "call", "since", "token"];
        let holder = holder.as_object().unwrap();
        assert!(
            holder.keys().all(|key| known.contains(&key.as_str())),
            "{line}"
        );
        assert_three_decimals(line.split("\"since\":").nth(1).unwrap());
    }
}

fn assert_three_decimals(rest: &str) {
    let number = rest.split([',', '}']).next().unwrap();
    let decimals = number
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    assert_eq!(decimals, 3, "{number}");
}

/// Judges a recording and compares with its expected findings.
fn check(name: &str, flags: &[&str]) -> Output {
    let file = recording(&format!("{name}.ndjson"));
    let (found, output) = verdicts(&[flags, &[file.as_str()]].concat(), "");
    let expected = parse(&read(&format!("{name}.expected.ndjson")));
    let stripped = found.into_iter().map(|mut finding| {
        for key in ["age_s", "message", "remedy"] {
            finding.as_object_mut().unwrap().remove(key);
        }
        finding
    });
    // Numbers are compared as numbers: 100 is 100.000.
    let canonical = |mut finding: Value| {
        finding["at"] = json!(finding["at"].as_f64());
        if let Some(holder) = finding.get_mut("holder") {
            holder["since"] = json!(holder["since"].as_f64());
        }
        finding.to_string()
    };
    let found: Vec<_> = stripped.map(canonical).collect();
    let expected: Vec<_> = expected.into_iter().map(canonical).collect();
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "{name}: finding {}", at + 1);
    }
    assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
    output
}

fn assert_summary(output: &Output, parts: &[&str]) {
    let summary = stderr(output);
    for part in parts {
        assert!(summary.contains(part), "{part}\n--- in ---\n{summary}");
    }
}

#[test]
fn retries() {
    let output = check("retries", &[]);
    assert_summary(&output, &["8 applied, 2 not_applied"]);
}

#[test]
fn collisions() {
    let output = check("collisions", &[]);
    assert_summary(&output, &["1 predictions came true"]);
}

#[test]
fn mismatch() {
    let output = check("mismatch", &[]);
    assert_summary(&output, &["4 predictions came true"]);
}

#[test]
fn windows() {
    // One is the reuse that wrote again, one the mismatch at the edge.
    let output = check("windows", &[]);
    assert_summary(&output, &["2 predictions came true"]);
}

#[test]
fn fresh_token() {
    check("fresh_token", &[]);
}

#[test]
fn calls() {
    let output = check("calls", &[]);
    let counts = "5 applied, 1 not_applied, 3 unknown";
    // The second end of a call, and the second end of an attempt.
    let duplicate = "1 duplicate, first at tests/recordings/calls.ndjson:13";
    assert_summary(&output, &[counts, duplicate]);
}

#[test]
fn time() {
    let output = check("time", &[]);
    assert_summary(
        &output,
        &[
            "2 malformed, first at tests/recordings/time.ndjson:11",
            // The second one has no time.
            "2 missing_field, first at tests/recordings/time.ndjson:12",
            "tests/recordings/time.ndjson:16 is 25 h after the event before it",
            "1, started and not ended, not judged",
            "token t6",
        ],
    );
}

#[test]
fn profiles_of_a_configuration_file() {
    check("profiles", &["--config", &recording("profiles.toml")]);
    // Without the file the same events are judged by `default`, whose lease is a minute.
    let (found, _) = verdicts(&[&recording("profiles.ndjson")], "");
    assert!(
        found
            .iter()
            .all(|finding| finding["verdict"] != "stuck_in_flight")
    );
}

#[test]
fn the_recordings_reach_every_verdict_that_a_recording_can() {
    let names = [
        "retries",
        "collisions",
        "mismatch",
        "windows",
        "fresh_token",
        "calls",
        "time",
    ];
    let expected = names
        .map(|name| read(&format!("{name}.expected.ndjson")))
        .concat();
    let seen: Vec<_> = parse(&expected)
        .iter()
        .map(|f| f["verdict"].to_string())
        .collect();
    for verdict in oncewatch::detect::verdict::Verdict::ALL {
        let name = json!(verdict.as_str()).to_string();
        // A recording has no connections that could close.
        assert_eq!(
            seen.contains(&name),
            verdict.as_str() != "orphaned",
            "{name}"
        );
    }
}

#[test]
fn files_are_merged_by_time_and_equal_times_by_their_order() {
    let (a, b) = (recording("merge_a.ndjson"), recording("merge_b.ndjson"));
    let told = |found: &[Value]| -> Vec<String> {
        let tell =
            |f: &Value| format!("{} {} {}", f["at"], f["verdict"], f["call"]).replace('"', "");
        found.iter().map(tell).collect()
    };
    let (found, output) = verdicts(&[&a, &b], "");
    assert_eq!(
        told(&found),
        [
            "100.0 first_use c1",
            "102.0 cross_client_collision c2",
            "110.0 first_use a1",
            "110.0 cross_client_collision b1",
        ]
    );
    assert_summary(&output, &["1 predictions came true"]);
    let (found, _) = verdicts(&[&b, &a], "");
    assert_eq!(
        told(&found)[2..],
        ["110.0 first_use b1", "110.0 cross_client_collision a1"]
    );
    // Standard input is one of them.
    let (mixed, _) = verdicts(&["-", &b], &read("merge_a.ndjson"));
    let (files, _) = verdicts(&[&a, &b], "");
    assert_eq!(mixed, files);
}

#[test]
fn standard_output_holds_findings_only_and_of_the_severity_asked_for() {
    let file = recording("mismatch.ndjson");
    let expected = parse(&read("mismatch.expected.ndjson"));
    let order = ["info", "warning", "error", "critical"];
    let rank = |name: &str| order.iter().position(|other| *other == name).unwrap();
    for least in order {
        let asked = ["--min-severity", least];
        // The default is warning.
        let asked = if least == "warning" { &[][..] } else { &asked };
        let output = analyze(&[&["--format=json", file.as_str()], asked].concat(), "");
        let at_least =
            |finding: &&Value| rank(finding["severity"].as_str().unwrap()) >= rank(least);
        let wanted: Vec<_> = expected
            .iter()
            .filter(at_least)
            .map(|f| &f["verdict"])
            .collect();
        let found = parse(stdout(&output));
        let found: Vec<_> = found.iter().map(|finding| &finding["verdict"]).collect();
        assert_eq!(found, wanted, "{least}");
        assert!(!stderr(&output).is_empty());
    }
    let nothing = analyze(&["--format=json", "-"], "");
    assert_eq!((nothing.status.code(), stdout(&nothing)), (Some(0), ""));
    let garbage = analyze(&["--format=json", "-"], "\u{0}\n{}\nx");
    assert_eq!((garbage.status.code(), stdout(&garbage)), (Some(0), ""));
    assert_summary(
        &garbage,
        &["2 malformed, first at -:1", "1 missing_field, first at -:2"],
    );
}

#[test]
fn fail_on_is_exit_code_three_whatever_is_printed() {
    let (windows, retries) = (recording("windows.ndjson"), recording("retries.ndjson"));
    for (file, severity, code) in [
        (&windows, "critical", 3),
        (&windows, "info", 3),
        (&retries, "warning", 0),
        (&retries, "info", 3),
    ] {
        let arguments = [
            "--format=json",
            "--fail-on",
            severity,
            "--min-severity=critical",
            file,
        ];
        let output = analyze(&arguments, "");
        assert_eq!(output.status.code(), Some(code), "{file} {severity}");
        assert_eq!(
            stderr(&output).contains("--fail-on"),
            code == 3,
            "{}",
            stderr(&output)
        );
    }
    // A file that cannot be read is worse than a finding.
    let output = analyze(&["--fail-on=info", &windows, "no/such.ndjson"], "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn ages_are_told_from_first_start_or_from_success() {
    let (found, _) = verdicts(&[&recording("windows.ndjson")], "");
    let age = |at: f64| {
        let found = found
            .iter()
            .find(|finding| finding["at"] == json!(at))
            .unwrap();
        found.get("age_s").and_then(Value::as_f64)
    };
    assert_eq!(age(1000.0), None);
    assert_eq!(age(1620.0), Some(600.0));
    assert_eq!(age(3600.0), Some(600.0));
    let reuse = found
        .iter()
        .find(|finding| finding["at"] == json!(1620.0))
        .unwrap();
    let message = reuse["message"].as_str().unwrap();
    assert!(message.contains("10 min"), "{message}");
}
