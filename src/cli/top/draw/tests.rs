use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::*;
use crate::cli::top::answer::FindingList;
use crate::cli::top::keys::Request;
use crate::cli::top::source::Answer;
use crate::cli::top::wanted::{SeverityFilter, StatusFilter};

mod doubt;

const NOW: f64 = 1_700_000_000.0;
const SIZES: [(u16, u16); 3] = [(80, 24), (40, 12), (200, 50)];

fn summary() -> Value {
    let mut history = vec![0; 90];
    (history[80], history[89]) = (1, 3);
    let verdict = |name: &str, severity: &str, total: u64| json!({"verdict": name, "severity": severity, "summary": "What it is.", "total": total, "recent": total});
    json!({
        "version": "0.1.0", "now": NOW, "observation_start": NOW - 125.0, "uptime_s": 125.0,
        "socket": "/run/oncewatch/events.sock", "token_display": "hash",
        "severities": [
            {"severity": "info", "total": 1234, "recent": 1200},
            {"severity": "warning", "total": 0, "recent": 0},
            {"severity": "error", "total": 2, "recent": 2},
            {"severity": "critical", "total": 4, "recent": 4},
        ],
        "verdicts": [
            verdict("first_use", "info", 1234),
            verdict("parameter_mismatch", "error", 2),
            verdict("fresh_token_after_unknown", "critical", 4),
            verdict("orphaned", "warning", 0),
        ],
        "history": {"step_s": 10, "steps": 90, "verdicts": {"fresh_token_after_unknown": history}},
        "profiles": [{"api": "dynamodb.TransactWriteItems", "active": true, "window_s": 600.0,
            "capacity": 65536, "tokens": {"in_flight": 2, "unknown": 1, "succeeded": 300},
            "lower_bound_until": NOW + 475.0}],
        "last_event": NOW - 0.2, "clients_connected": 5, "streams": 1,
        "events": {"attempt_start": 700, "attempt_end": 690},
        "rejected": {"malformed": 3, "duplicate": 0}, "dropped": {"client": 0},
        "gaps": {"evicted": 0, "calls_overflow": 7}, "refused": {"limit": 0},
    })
}

fn finding(i: u32, verdict: &str, severity: &str) -> Value {
    json!({
        "at": NOW - f64::from(i), "verdict": verdict, "severity": severity,
        "api": "dynamodb.TransactWriteItems", "token": format!("{i:016x}"), "scope": "",
        "client": format!("orders-{i}/77"), "call": "c1", "attempt": 2,
        "holder": {"client": "billing-1/9", "since": NOW - f64::from(i) - 2.5, "token": "00ff"},
        "confirmed": i == 1, "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "message": format!("message {i}"), "remedy": "Retry with the same token.",
    })
}

fn findings(count: u32) -> Vec<crate::cli::top::answer::Finding> {
    let list = (0..count).map(|i| match i % 2 {
        0 => finding(i, "parameter_mismatch", "error"),
        _ => finding(i, "fresh_token_after_unknown", "critical"),
    });
    let list: Vec<_> = list.collect();
    parse::<FindingList>(json!({ "findings": list })).findings
}

fn token(i: usize, status: &str) -> Value {
    json!({
        "api": "dynamodb.TransactWriteItems", "scope": "", "token": format!("{i:016x}"),
        "status": status, "stuck": i == 1, "first_start": NOW - 61.0, "last_seen": NOW - 1.5,
        "expires": NOW + 87_000.0, "lifecycle": 1, "attempt_count": 3,
    })
}

fn life() -> Value {
    let mut life = token(1, "unknown");
    let more = json!({
        "window_s": 600.0, "window_anchor": "first_completed", "lease_s": 60.0,
        "attempts": [
            {"client": "orders-1/77", "call": "c1", "number": 1, "start": NOW - 61.0,
             "end": NOW - 41.0, "class": "no_response", "verdict": "first_use"},
            {"client": "orders-1/77", "call": "c1", "number": 2, "start": NOW - 31.0,
             "verdict": "sdk_retry"},
        ],
        "findings": [finding(1, "orphaned", "warning"), finding(0, "parameter_mismatch", "error")],
    });
    let more = more.as_object().unwrap().clone();
    life.as_object_mut().unwrap().extend(more);
    life
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Answers everything that the state wants to know.
fn feed(state: &mut State, summary: Value, life: Value) {
    state.tick(NOW);
    state.answer(Answer::Summary(parse(summary)));
    state.answer(Answer::Findings(findings(30)));
    let wanted = state.wanted();
    if let Some(query) = wanted.tokens {
        let list: Vec<_> = (0..40)
            .map(|i| token(i, ["in_flight", "unknown"][i % 2]))
            .collect();
        let page = json!({"tokens": list, "total": 140, "offset": query.offset, "complete": true});
        state.answer(Answer::Tokens(query, parse(page)));
    }
    if let Some(name) = wanted.life {
        state.answer(Answer::Life(name, Some(parse(life))));
    }
}

/// A state that has seen a sidecar, after these keys.
fn after(keys: &str) -> State {
    let mut state = State::new("127.0.0.1:9465".to_owned());
    press(&mut state, keys);
    state
}

/// Presses keys as the reader would: what is asked for is there before the next one.
fn press(state: &mut State, keys: &str) {
    feed(state, summary(), life());
    drawn(state, 80, 24);
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            c => KeyCode::Char(c),
        };
        assert_eq!(state.key(KeyEvent::from(code)), None, "{key:?}");
        feed(state, summary(), life());
        drawn(state, 80, 24);
    }
}

fn buffer(state: &mut State, columns: u16, rows: u16, look: Look) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, state, look)).unwrap();
    terminal.backend().buffer().clone()
}

fn drawn(state: &mut State, columns: u16, rows: u16) -> Vec<String> {
    let buffer = buffer(state, columns, rows, Look::new(true, true));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let mut line = String::new();
        let mut taken = 0;
        for (column, cell) in cells.iter().enumerate() {
            // A wide character has the cell behind it, too.
            if column == taken {
                line += cell.symbol();
                taken += width(cell.symbol()).max(1);
            }
        }
        line.trim_end().to_owned()
    };
    buffer
        .content
        .chunks(usize::from(columns))
        .map(row)
        .collect()
}

fn screen(state: &mut State) -> String {
    drawn(state, 80, 24).join("\n")
}

#[track_caller]
fn assert_shows(screen: &str, parts: &[&str]) {
    for part in parts {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
}

#[test]
fn the_first_view_says_what_is_wrong() {
    let lines = drawn(&mut after(""), 80, 24);
    let expected = [
        "oncewatch [1 Now] 2 Findings  3 Tokens  4 Trust                live 22:13:20 UTC",
        "last 15 min: critical 4  error 2  warning 0  healthy 1 200",
        "YES: writes may have been applied twice. 4 critical findings in the last 2 min,",
        "the latest less than 10 s ago: fresh_token_after_unknown.",
        "",
        "            recent    total  last 15 min, 20 s a column",
        "critical         4        4",
        "error            2        2",
        "warning          0        0",
        "healthy      1 200    1 234",
        "",
        "  verdict                   severity  recent   total  last 15 min",
        "> fresh_token_after_unknown critical       4       4",
        "  parameter_mismatch        error          2       2",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(expected),
            "{line:?} is not {expected:?}\n{}",
            lines.join("\n")
        );
    }
    // The bars: blank before the start, then the two moments in which something was found.
    assert!(lines[6].ends_with("··▃···█"), "{}", lines[6]);
    assert_eq!(lines[14], "");
    assert!(lines[15].starts_with("Latest findings ──"));
    assert_eq!(
        lines[16],
        "  22:13:20 error    parameter_mismatch        orders-0/77  message 0"
    );
    let trust = "Trust: lower bounds · up 2 min, window 10 min · gaps 0 · drops 0 · clients 5";
    assert_eq!(lines[22], trust);
    assert_eq!(
        lines[23],
        "? help  tab view  up/down choose  enter explain  a all  q quit"
    );
}

#[test]
fn every_view_is_complete_at_80_by_24() {
    for (keys, parts) in [
        (
            "2",
            &[
                "Latest findings  1-",
                "of 30",
                "> 22:13:20 error",
                "message 0",
                "Do     Retry with the same token.",
                "By     orders-0/77, attempt 2, 0 ms ago at 22:13:20, call c1",
                "Holder billing-1/9 since 22:13:17, 2.5 s before, token 00ff",
                "Token  0000000000000000 of dynamodb.TransactWriteItems",
                "0af7651916cd43dd",
            ][..],
        ),
        (
            "2j",
            &["> 22:13:19 critical", "(critical, confirmed)", "message 1"],
        ),
        (
            "3",
            &[
                "status: open or unknown",
                "*last seen",
                "> 0000000000000000 dynamodb.Transac… open ",
                "unknown, stuck",
                "3   1 min      1.5 s",
                "1 to 17 of 140; n N turn the page",
            ],
        ),
        (
            "2\n",
            &[
                "Token 0000000000000001",
                "unknown, stuck, lifecycle 1 since 22:12:19 (1 min 1 s ago), 2 attempts",
                "window 10 min after the first completion, which has not been seen; lease 1",
                "> orders-1/77 #1 no response after 20 s  first_use  +0 ms  call c1",
                "#2 open  sdk_retry  +30 s, gap 10 s  call c1",
                "░░░",
                "═══",
                "What was found about it",
                "error parameter_mismatch",
                "scale: attempts",
            ],
        ),
        (
            "4",
            &[
                "window has passed: for all APIs in 7 min 55 s",
                "at 22:21:15. 3 events could not",
                "Clients connected     5",
                "dynamodb.TransactWriteItems",
                "in 7 min 55 s",
                "2 open, 300 succeeded, 1 unknown",
                "Tracking gaps        7 calls overflow: a token had",
                "Dropped              none",
                "Events rejected      3 malformed: not one JSON object in UTF-8",
            ],
        ),
        (
            "\n",
            &[
                "fresh_token_after_unknown  critical",
                "What to do",
                "Is it safe to retry?",
                "down shows more",
            ],
        ),
        (
            "?",
            &["Keys", "q, ctrl-c      quit", "/              search"],
        ),
    ] {
        let mut state = after(keys);
        let screen = screen(&mut state);
        assert_shows(&screen, parts);
        assert_shows(&screen, &["oncewatch", "live", "Trust: lower bounds"]);
        for line in screen.lines() {
            assert!(width(line) <= 80);
        }
    }
}

#[test]
fn every_size_is_drawn() {
    for keys in [
        "",
        "a",
        "2",
        "2j\n",
        "3",
        "3\nj",
        "3\njjj",
        "4",
        "\n",
        "?",
        "2/x",
        "3/nothing\n",
    ] {
        for (columns, rows) in SIZES {
            let mut state = after(keys);
            let lines = drawn(&mut state, columns, rows);
            assert_shows(&lines[0], &["live 22:13:20"]);
            assert!(
                lines.iter().filter(|line| !line.is_empty()).count() > 5,
                "{lines:#?}"
            );
        }
        for (columns, rows) in [
            (1, 1),
            (5, 2),
            (20, 4),
            (21, 5),
            (300, 4),
            (20, 100),
            (79, 9),
        ] {
            drawn(&mut after(keys), columns, rows);
        }
    }
}

#[test]
fn a_small_screen_says_the_essential() {
    let lines = drawn(&mut after(""), 40, 12).join("\n");
    assert_shows(
        &lines,
        &[
            "[1 Now] 2  3  4",
            "crit 4  err 2  warn 0  ok 1 200\n",
            "YES: writes may",
            "> C fresh_token_after_unknown       4\n",
            "  E parameter_mismatch              2\n",
            "q quit",
        ],
    );
    let lines = drawn(&mut after("2"), 40, 12).join("\n");
    assert_shows(
        &lines,
        &[
            "> 22:13:20 E parameter_mismatch",
            "message 0",
            "Do     Retry",
        ],
    );
    let lines = drawn(&mut after("3"), 40, 12).join("\n");
    assert_shows(&lines, &["0000000000000001   stuck "]);
    let lines = drawn(&mut after("3\n"), 40, 12).join("\n");
    assert_shows(&lines, &["> orders-… #1 no response", "░░"]);
}

#[test]
fn a_wide_screen_is_used() {
    let lines = drawn(&mut after(""), 200, 50).join("\n");
    assert_shows(&lines, &["What it is.", "message 20"]);
    let lines = drawn(&mut after("2"), 200, 50).join("\n");
    assert_shows(&lines, &["│ parameter_mismatch (error)", "message 29"]);
}

#[test]
fn foreign_names_do_no_harm_anywhere() {
    let evil = "\u{1b}]0;x\u{7}\u{1b}[2J\u{202e}\u{5e9}\u{5dc}\u{200d}\r\n注文\u{301}";
    fn poison(value: &mut Value, evil: &str) {
        match value {
            Value::String(text) => *text = evil.to_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| poison(item, evil)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    // The lists of names are closed; everything else is anyone's.
                    if !["verdict", "severity", "status", "class"].contains(&name.as_str()) {
                        poison(field, evil);
                    }
                }
            }
            _ => {}
        }
    }
    let (mut summary, mut life) = (summary(), life());
    poison(&mut summary, evil);
    poison(&mut life, evil);
    let mut one = finding(0, "orphaned", "warning");
    poison(&mut one, evil);
    let list: FindingList = parse(json!({ "findings": [one] }));
    for view in ["1", "2", "3", "2\n", "4"] {
        for (columns, rows) in SIZES {
            let mut state = after(view);
            state.answer(Answer::Summary(parse(summary.clone())));
            state.answer(Answer::Findings(list.findings.clone()));
            if let Some(query) = state.wanted().tokens {
                let page = json!({"tokens": [life.clone()], "total": 1, "complete": true});
                state.answer(Answer::Tokens(query, parse(page)));
            }
            if let Some(name) = state.wanted().life {
                state.answer(Answer::Life(name, Some(parse(life.clone()))));
            }
            let lines = drawn(&mut state, columns, rows);
            let all: String = lines.concat();
            let bad = |c: char| {
                c.is_control()
                    || matches!(c, '\u{590}'..='\u{6ff}' | '\u{200b}'..='\u{2010}' | '\u{2028}'..='\u{206f}' | '\u{301}')
            };
            assert!(!all.contains(bad), "{all:?}");
            if view != "1" && columns > 40 {
                assert_shows(&all, &["\\u{1b}]0;x\\u{7}"]);
            }
            for line in lines {
                assert!(width(&line) <= usize::from(columns), "{line}");
            }
        }
    }
}

#[test]
fn without_colour_and_unicode_words_carry_the_meaning() {
    for keys in ["", "2", "3", "3\n", "4", "\n"] {
        let plain = buffer(&mut after(keys), 80, 24, Look::new(false, false));
        for cell in &plain.content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
            assert!(
                cell.symbol().is_ascii(),
                "{:?} after {keys:?}",
                cell.symbol()
            );
        }
        let coloured = buffer(&mut after(keys), 80, 24, Look::new(true, true));
        assert!(coloured.content.iter().any(|cell| cell.fg != Color::Reset));
    }
}

#[test]
fn the_reader_hears_that_nobody_answers() {
    let mut state = State::new("127.0.0.1:9465".to_owned());
    assert_shows(
        &screen(&mut state),
        &["asking", "Asking the sidecar at 127.0.0.1:9465."],
    );
    for _ in 0..3 {
        state.answer(Answer::Lost("connection refused".to_owned()));
    }
    let lost = [
        "NO ANSWER",
        "No sidecar answers at 127.0.0.1:9465: connection refused.",
        "3 so far",
        "--admin-addr",
    ];
    assert_shows(&screen(&mut state), &lost);
    feed(&mut state, summary(), life());
    assert_shows(&screen(&mut state), &["live", "YES: writes"]);
    state.tick(NOW + 4.0);
    state.answer(Answer::Lost("connection refused".to_owned()));
    // What was known stays to be read.
    assert_shows(
        &screen(&mut state),
        &[
            "NO ANSWER 22:13:24",
            "! No answer for 1 try, asking on. Shown: 22:13:20. connection refused",
            "YES: writes",
        ],
    );
    state.answer(Answer::Summary(parse(summary())));
    state.answer(Answer::Refused("the sidecar refused: busy".to_owned()));
    assert_shows(
        &screen(&mut state),
        &["live", "! the sidecar refused: busy"],
    );
}

#[test]
fn findings_are_filtered_searched_and_held() {
    let mut state = after("2s");
    assert_eq!(state.findings.severity, SeverityFilter::Critical);
    assert_eq!(state.findings.shown().len(), 15);
    press(&mut state, "/ORDERS-3/\n");
    assert_eq!(state.findings.shown().len(), 1);
    assert_shows(
        &screen(&mut state),
        &["severity critical  search ORDERS-3/  1 of 30", "message 3"],
    );
    press(&mut state, "ss");
    assert_shows(
        &screen(&mut state),
        &["None of the latest 30 findings matches."],
    );
    press(&mut state, "\u{1b}");
    assert_eq!(
        (state.findings.search.as_str(), state.view),
        ("", View::Findings)
    );

    let mut state = after("2p");
    state.answer(Answer::Findings(
        parse::<FindingList>(json!({"findings": [finding(99, "orphaned", "warning")]})).findings,
    ));
    assert_shows(
        &screen(&mut state),
        &["HELD, 1 new: p goes on", "message 0"],
    );
    state.key(KeyEvent::from(KeyCode::Char('p')));
    assert_shows(&screen(&mut state), &["message 99"]);
}

#[test]
fn who_reads_an_older_finding_keeps_it() {
    let mut state = after("2jj");
    assert_eq!(state.findings.chosen().unwrap().message.raw(), "message 2");
    let mut newer = findings(30);
    newer.insert(0, parse(finding(50, "orphaned", "warning")));
    state.answer(Answer::Findings(newer.clone()));
    assert_eq!(state.findings.chosen().unwrap().message.raw(), "message 2");
    state.key(KeyEvent::from(KeyCode::Char('g')));
    newer.insert(0, parse(finding(51, "orphaned", "warning")));
    state.answer(Answer::Findings(newer));
    assert_eq!(state.findings.chosen().unwrap().message.raw(), "message 51");
}

#[test]
fn what_is_kept_has_a_limit() {
    let mut state = after("2");
    state.answer(Answer::Findings(findings(5000)));
    assert_eq!(state.findings.total(), 200);
    press(&mut state, "3/");
    for _ in 0..5000 {
        state.key(KeyEvent::from(KeyCode::Char('é')));
    }
    assert_eq!(state.input.as_ref().unwrap().len(), 512);
    drawn(&mut state, 80, 24);
    for _ in 0..100 {
        press(&mut state, "\n\ne??ee");
    }
    assert!(state.over.len() <= 3);
}

#[test]
fn keys_ask_for_the_tokens_that_are_wanted() {
    let mut state = after("3s");
    let query = |state: &State| state.wanted().tokens.unwrap();
    assert_eq!(query(&state).status, StatusFilter::Open);
    press(&mut state, "Sor/ab c\n");
    let path = "tokens?sort=first_start&order=asc&offset=0&limit=100&q=ab%20c";
    assert_eq!(query(&state).path(), path);
    assert_shows(
        &screen(&mut state),
        &["status: all  search: ab c  API: all  sort: age, up"],
    );
    press(&mut state, "a");
    assert_eq!(
        query(&state).api.unwrap().raw(),
        "dynamodb.TransactWriteItems"
    );
    press(&mut state, "a\u{1b}n");
    assert_eq!((query(&state).api, query(&state).offset), (None, 100));
    // There is no third page; before the first row is the page before.
    press(&mut state, "nk");
    assert_eq!(query(&state).offset, 0);
    // An answer to an older question is not shown for the newer one.
    let old = query(&state);
    state.key(KeyEvent::from(KeyCode::Char('s')));
    state.answer(Answer::Tokens(old, Default::default()));
    assert_shows(&screen(&mut state), &["Asking for the tokens."]);
}

#[test]
fn a_token_that_is_gone_is_said_to_be() {
    let mut state = after("3j\n");
    let name = state.wanted().life.unwrap();
    assert_eq!(name.token.raw(), "0000000000000001");
    state.answer(Answer::Life(name, None));
    assert_shows(
        &screen(&mut state),
        &["The token 0000000000000001 of dynamodb.TransactWriteItems is not known"],
    );
    press(&mut state, "\u{1b}");
    assert_eq!((state.wanted().life, state.tokens.cursor.index), (None, 1));
}

#[test]
fn verdicts_of_a_timeline_are_explained() {
    let mut state = after("3\nz");
    assert_shows(&screen(&mut state), &["scale: whole window", "window"]);
    for verdict in ["first_use", "sdk_retry", "parameter_mismatch", "orphaned"] {
        press(&mut state, "e");
        assert_shows(&screen(&mut state), &[&format!("{verdict}  ")]);
        press(&mut state, "\u{1b}j");
    }
    state
        .over
        .push(Over::Explain("\u{1b}[2J".to_owned(), Cursor::default()));
    assert_shows(
        &screen(&mut state),
        &["\\u{1b}[2J is not a verdict that this version knows"],
    );
}

#[test]
fn keys_lead_out() {
    let key = |code, modifiers| KeyEvent::new(code, modifiers);
    let control = KeyModifiers::CONTROL;
    for keys in ["", "2", "3\n", "?", "\n"] {
        let mut state = after(keys);
        assert_eq!(
            state.key(key(KeyCode::Char('q'), KeyModifiers::NONE)),
            Some(Request::Quit)
        );
        assert_eq!(
            state.key(key(KeyCode::Char('c'), control)),
            Some(Request::Quit)
        );
        assert_eq!(
            state.key(key(KeyCode::Char('z'), control)),
            Some(Request::Suspend)
        );
        assert_eq!(
            state.key(key(KeyCode::Char('l'), control)),
            Some(Request::Redraw)
        );
    }
    // While something is typed, q is a letter; ctrl-c still leads out.
    let mut state = after("2/q");
    assert_eq!(state.input.as_deref(), Some("q"));
    assert_eq!(
        state.key(key(KeyCode::Char('c'), control)),
        Some(Request::Quit)
    );
    let mut state = after("\t\t\t\t");
    assert_eq!(state.view, View::Now);
    state.key(key(KeyCode::BackTab, KeyModifiers::SHIFT));
    assert_eq!(state.view, View::Trust);
}
