//! The commands as users run them: the built program, its output and its exit codes.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

/// Runs the program with nothing of this process's environment that it could read as a setting.
fn oncewatch(arguments: &[&str], input: &str) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that ends early does not read all of it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncewatch"));
    let ours = |name: &str| name.starts_with("ONCEWATCH_") || name.starts_with("OTEL_");
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

const ORDERS: &str = "tests/recordings/orders.ndjson";

/// Time and verdict of each JSON line; fails if anything else is on standard output.
fn verdicts(output: &Output) -> Vec<(f64, String)> {
    let parse = |line: &str| {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(finding.get("confirmed").is_none(), "{line}");
        let verdict = finding["verdict"].as_str().unwrap().to_owned();
        (finding["at"].as_f64().unwrap(), verdict)
    };
    stdout(output).lines().map(parse).collect()
}

#[test]
fn analyze_gives_every_verdict_of_a_recording_in_order_of_time() {
    let arguments = [
        "analyze",
        "--format",
        "json",
        "--min-severity",
        "info",
        ORDERS,
    ];
    let output = oncewatch(&arguments, "");
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let base = 1_700_000_000.0;
    let expected = [
        (0.0, "first_use"),
        (1.0, "first_use"),
        (3.0, "sdk_retry"),
        (3.1, "in_progress_local"),
        (4.0, "first_use"),
        (4.0, "fresh_token_after_unknown"),
        (5.0, "parameter_mismatch"),
        (10.0, "first_use"),
        (10.5, "cross_client_collision"),
        (601.0, "reuse_after_window"),
        (601.2, "double_execution"),
        (602.0, "token_invalid"),
        (172_800.0, "first_use"),
    ];
    let verdicts = verdicts(&output);
    let found: Vec<_> = verdicts
        .iter()
        .map(|(at, verdict)| ((at - base) * 10.0, verdict.as_str()))
        .map(|(tenths, verdict)| (tenths.round() / 10.0, verdict))
        .collect();
    assert_eq!(found, expected);
    let summary = stderr(&output);
    for part in [
        "17 judged (10 attempt_start, 7 attempt_end)",
        "1 malformed, first at tests/recordings/orders.ndjson:7",
        "1 duplicate, first at tests/recordings/orders.ndjson:12",
        "1 missing_field, first at tests/recordings/orders.ndjson:19",
        "2 predictions came true",
        "4 applied, 1 not_applied",
        "1, started and not ended, not judged",
        "tests/recordings/orders.ndjson:20 is 47 h after",
        "2023-11-14 22:13:20.000 to 2023-11-16 22:13:20.000 UTC, 48h",
    ] {
        assert!(summary.contains(part), "{part}\n--- in ---\n{summary}");
    }
    assert!(!summary.contains('\u{1b}'), "{summary}");
}

#[test]
fn analyze_prints_findings_only_unless_it_is_asked_for_more() {
    let output = oncewatch(&["analyze", "--format=json", ORDERS], "");
    assert_eq!(verdicts(&output).len(), 6);
    let critical = [
        "analyze",
        "--format=json",
        "--min-severity=critical",
        ORDERS,
    ];
    assert_eq!(verdicts(&oncewatch(&critical, "")).len(), 3);
}

#[test]
fn analyze_as_a_table_has_a_line_for_each_finding_and_no_control_characters() {
    let output = oncewatch(&["analyze", "--min-severity=info", ORDERS], "");
    let table = stdout(&output);
    assert_eq!(table.lines().count(), 1 + 13, "{table}");
    assert!(table.starts_with("TIME "), "{table}");
    assert!(
        table.contains("pay\\u{1b}[2J/1") && !table.contains('\u{1b}'),
        "{table}"
    );
    let column = table.lines().next().unwrap().find("VERDICT").unwrap();
    for line in table.lines().skip(1) {
        let verdict = line[column..].split(' ').next().unwrap();
        let explained = oncewatch(&["explain", verdict], "");
        assert_eq!(code(&explained), Some(0), "{line}");
    }
}

#[test]
fn analyze_merges_files_by_time_and_equal_times_in_order_of_the_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let start = |call: &str, at: f64| {
        format!(
            "{{\"type\":\"attempt_start\",\"api\":\"http\",\"token\":\"{call}\",\"call\":\"{call}\",\"at\":{at}}}\n"
        )
    };
    let write = |name: &str, lines: &[String]| {
        let path = directory.path().join(name);
        std::fs::write(&path, lines.concat()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The second file's clock stays at 5 when its times go back: `b3` waits for `a2`.
    let a = [
        start("a1", 1.0),
        start("a2", 4.0),
        "garbage\n".into(),
        start("a3", 6.0),
    ];
    let b = [
        start("b1", 1.0),
        start("b2", 5.0),
        start("b3", 2.0),
        start("b4", 6.0),
    ];
    let (a, b) = (write("a", &a), write("b", &b));
    let tokens = |files: [&str; 2]| -> Vec<String> {
        let arguments = [
            "analyze",
            "--format=json",
            "--min-severity=info",
            files[0],
            files[1],
        ];
        let output = oncewatch(&arguments, "");
        let token = |line: &str| {
            let finding: serde_json::Value = serde_json::from_str(line).unwrap();
            finding["token"].as_str().unwrap().to_owned()
        };
        stdout(&output).lines().map(token).collect()
    };
    assert_eq!(tokens([&a, &b]), ["a1", "b1", "a2", "b2", "b3", "a3", "b4"]);
    assert_eq!(tokens([&b, &a]), ["b1", "a1", "a2", "b2", "b3", "b4", "a3"]);
}

#[test]
fn analyze_reads_standard_input_and_bounds_its_lines() {
    let event = r#"{"type":"attempt_start","api":"http","token":"","at":"2023-11-14T22:13:20Z"}"#;
    let late = event.replace("2023-11-14T22:13:20Z", "yesterday");
    let long = event.replace("{", &format!("{{\"more\":\"{}\",", "x".repeat(3_000_000)));
    let input = format!("{long}\n\n{event}\n{late}\n{{\"type\":\"attempt_start\"");
    let output = oncewatch(&["analyze", "-", "--format", "json"], &input);
    assert_eq!(
        verdicts(&output),
        [(1_700_000_000.0, "token_invalid".to_owned())]
    );
    let summary = stderr(&output);
    for part in [
        "1 too_long, first at -:1",
        "1 invalid_field, first at -:4",
        "1 malformed, first at -:5",
    ] {
        assert!(summary.contains(part), "{part}\n--- in ---\n{summary}");
    }
}

#[test]
fn analyze_judges_the_rest_when_a_file_cannot_be_read() {
    let arguments = [
        "analyze",
        "--format=json",
        "no/such.ndjson",
        ORDERS,
        "tests",
    ];
    let output = oncewatch(&arguments, "");
    assert_eq!((code(&output), verdicts(&output).len()), (Some(1), 6));
    let text = stderr(&output);
    assert!(
        text.contains("cannot read no/such.ndjson: No such file or directory"),
        "{text}"
    );
    assert!(text.contains("cannot read tests: Is a directory"), "{text}");
}

#[test]
fn analyze_hides_tokens_only_by_flag() {
    let hidden = oncewatch(&["analyze", "--token-display=hash", ORDERS], "");
    assert!(!stdout(&hidden).contains("order-1 ") && !stderr(&hidden).contains("pay-1"));
    let mut shown = command(&["analyze", ORDERS]);
    shown.env("ONCEWATCH_TOKEN_DISPLAY", "hash");
    assert!(stdout(&shown.output().unwrap()).contains("order-1 "));
}

#[test]
fn exit_codes_are_those_of_the_specification() {
    for (arguments, expected) in [
        (&["analyze", ORDERS, "--fail-on", "critical"][..], 3),
        (&["analyze", "/dev/null", "--fail-on", "info"], 0),
        (&["analyze", ORDERS, "--fail-on", "bad"], 2),
        (&["analyze", "-", "-"], 2),
        (&["analyze"], 2),
        (&["analyze", "/dev/null", "--max-line-bytes", "1"], 2),
        (&["no-such-command"], 2),
        (&["explain", "no_such_verdict"], 2),
        (&["check-config"], 0),
        (&["check-config", "--socket-mode", "rw"], 2),
        (&["run", "--admin-addr", "0.0.0.0:1"], 2),
        (&["send", "--socket", "no/such.sock"], 1),
        (
            &[
                "send",
                "--socket",
                "no/such.sock",
                "--type",
                "attempt_start",
            ],
            2,
        ),
        (&["send", "--token", "t"], 2),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        let output = oncewatch(arguments, "");
        assert_eq!(
            code(&output),
            Some(expected),
            "{arguments:?}: {}",
            stderr(&output)
        );
        if expected == 2 {
            assert!(
                stdout(&output).is_empty() && !stderr(&output).is_empty(),
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn help_shows_every_setting_and_where_it_comes_from() {
    let help = stdout(&oncewatch(&["run", "--help"], ""));
    for setting in oncewatch::config::catalogue::SETTINGS {
        let (flag, variable) = (format!("--{} <", setting.name), setting.variable());
        assert!(
            help.contains(&flag) && help.contains(&variable),
            "{}",
            setting.name
        );
    }
    let version = stdout(&oncewatch(&["--version"], ""));
    let expected = concat!("oncewatch ", env!("CARGO_PKG_VERSION"), " (");
    assert!(
        version.starts_with(expected) && version.len() > expected.len() + 3,
        "{version}"
    );
}

#[test]
fn check_config_prints_what_reads_back_and_never_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (path("first.toml"), path("second.toml"));
    let given = "max-line-bytes = \"32KiB\"\nallow-uid = [7]\n\
                 [profiles.\"pay\\\"ments\"]\nextends = \"http\"\nwindow = \"1h\"\n";
    std::fs::write(&first, given).unwrap();
    let mut check = command(&["check-config", "--config", &first, "--max-connections=9"]);
    check.env("ONCEWATCH_TOKEN_HASH_KEY", "correct horse battery staple");
    let output = check.output().unwrap();
    let printed = stdout(&output);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    for part in [
        "max-connections = 9  # flag --max-connections",
        &format!("max-line-bytes = \"32KiB\"  # {first}:1"),
        "token-hash-key is hidden  # environment variable ONCEWATCH_TOKEN_HASH_KEY",
        "metrics-addr = \"127.0.0.1:9464\"  # default",
        "[profiles.\"pay\\\"ments\"]\ntoken_max_len = 255",
    ] {
        assert!(printed.contains(part), "{part}\n--- in ---\n{printed}");
    }
    assert!(!printed.contains("horse"));
    std::fs::write(&second, &printed).unwrap();
    let again = oncewatch(&["check-config", "--config", &second], "");
    assert_eq!(code(&again), Some(0), "{}", stderr(&again));
    let values = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split("  #").next().unwrap().to_owned());
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect()
    };
    assert_eq!(values(&printed), values(&stdout(&again)));
}

#[test]
fn check_config_also_reads_the_variables_of_opentelemetry() {
    let with = |name: &str, value: &str, arguments: &[&str]| {
        let mut check = command(arguments);
        check.env(name, value).output().unwrap()
    };
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let good = with(name, "http://collector:4318", &["check-config"]);
    assert!(stdout(&good).contains("spans are exported to http://collector:4318/"));
    let bad = with(name, "not a url", &["check-config", "--spans=some"]);
    assert_eq!(code(&bad), Some(2));
    let text = stderr(&bad);
    assert!(
        text.contains("spans (from flag --spans)") && text.contains(name),
        "{text}"
    );
}

#[test]
fn send_checks_its_events_sends_the_good_ones_and_names_the_bad() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let mut received = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut received)
            .unwrap();
        received
    });
    let input = "{\"type\":\"attempt_start\",\"api\":\"http\",\"token\":\"t1\"}\n\nnonsense\n\
                 {\"type\":\"attempt_start\",\"api\":\"http\"}\n\
                 {\"type\":\"client_report\",\"dropped\":1,\"at\":5}";
    let output = oncewatch(&["send", "--socket", path.to_str().unwrap()], input);
    let received = server.join().unwrap();
    let lines: Vec<_> = received.lines().collect();
    assert_eq!(lines.len(), 2, "{received}");
    assert!(
        lines[0].contains("\"t1\"") && lines[0].contains(",\"at\":1"),
        "{received}"
    );
    assert_eq!(
        lines[1],
        "{\"type\":\"client_report\",\"dropped\":1,\"at\":5}"
    );
    let text = stderr(&output);
    assert_eq!(code(&output), Some(1), "{text}");
    for part in [
        "line 3: malformed",
        "line 4: missing_field: token",
        "sent 2 events",
        "not sent: 2 unusable lines",
    ] {
        assert!(text.contains(part), "{part}\n--- in ---\n{text}");
    }
}

#[test]
fn send_does_not_wait_for_a_sidecar_that_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.sock");
    // Never accepted, never read: the kernel's buffer fills up.
    let _listener = UnixListener::bind(&path).unwrap();
    let event = "{\"type\":\"attempt_start\",\"api\":\"http\",\"token\":\"t1\",\"at\":5}\n";
    let begun = std::time::Instant::now();
    let arguments = [
        "send",
        "--timeout=200ms",
        "--socket",
        path.to_str().unwrap(),
    ];
    let output = oncewatch(&arguments, &event.repeat(40_000));
    assert_eq!(code(&output), Some(1));
    assert!(
        stderr(&output).contains("does not take any more data"),
        "{}",
        stderr(&output)
    );
    assert!(begun.elapsed().as_secs() < 10);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for arguments in [
        &["explain"][..],
        &["completions", "bash"],
        &["check-config"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(
            (code(&output), stderr(&output)),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
}

#[test]
fn explanations_name_only_metrics_that_exist() {
    use oncewatch::detect::verdict::Verdict;
    let profiles = oncewatch::detect::profile::profiles(&toml::Table::new(), None).unwrap();
    let active = [profiles[0].name.to_string()];
    let metrics = oncewatch::metrics::Metrics::new(&profiles, &active);
    let families = metrics.registry.gather();
    let known: Vec<&str> = families.iter().map(|family| family.name()).collect();
    let mut seen = 0;
    for verdict in Verdict::ALL {
        let e = verdict.explanation();
        let text = [e.remedy, e.what, e.why, e.retry, e.confirm, e.fix].join(" ");
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        for (at, _) in text.match_indices("oncewatch_") {
            let name = text[at..].split(|c| !is_name(c)).next().unwrap();
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(known.contains(&name), "{verdict}: {name}");
            seen += 1;
        }
    }
    assert!(seen > Verdict::ALL.len());
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = oncewatch(&["completions", shell], "");
        assert_eq!(code(&output), Some(0));
        assert!(stdout(&output).contains("max-line-bytes"), "{shell}");
    }
}
