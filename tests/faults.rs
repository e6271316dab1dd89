//! Faults around a running sidecar: what its user sees, and which metric tells. `deploy/faults.md` is
//! the table of them; a test here holds it to the tests that exist.

#![allow(clippy::disallowed_methods)]

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/collector.rs"]
mod collector;
#[path = "faults/limits.rs"]
mod limits;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "faults/socket.rs"]
mod socket;
#[path = "faults/stopped.rs"]
mod stopped;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

use sidecar::{Sidecar, start};

const TRANSACT: &str = "dynamodb.TransactWriteItems";
const STARTS: &str = "oncewatch_events_total{type=\"attempt_start\"}";

/// Sends one start and waits until it is counted.
fn assert_heard(sidecar: &Sidecar, mut client: &UnixStream, token: &str) {
    let before = sidecar.metric(STARTS);
    let line = start(TRANSACT, token, "");
    client.write_all(line.as_bytes()).unwrap();
    sidecar.wait_for_metric(STARTS, before + 1.0);
}

/// Whether a log line says this.
fn says(sidecar: &Sidecar, text: &str) -> bool {
    let lines = sidecar.logged(|line| line.to_string().contains(text));
    !lines.is_empty()
}

/// Names of functions and files below a directory of the repository.
fn names_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let functions = text.split("fn ").skip(1);
            let names = functions.filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

/// The rows of a table: the cells between the bars.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// Everything between back quotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_fault_in_the_table_has_its_test_and_its_metric() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("deploy/faults.md")).unwrap();
    let mut tests = BTreeSet::new();
    names_below(&root.join("tests"), &mut tests);
    names_below(&root.join("src"), &mut tests);
    let sidecar = Sidecar::start(&[]);
    let page = sidecar.page();
    let rows = rows(&table);
    assert!(rows.len() >= 15, "{} rows", rows.len());
    for row in &rows[1..] {
        let [fault, _seen, metric, test] = row[..] else {
            panic!("not four cells: {row:?}");
        };
        assert!(quoted(test).count() > 0, "{fault}: names no test");
        for name in quoted(test) {
            assert!(tests.contains(name), "{fault}: no test is called {name}");
        }
        for name in quoted(metric)
            .filter(|name| name.starts_with("oncewatch_") || name.starts_with("process_"))
        {
            let (name, label) = name.split_once('{').unwrap_or((name, ""));
            let label = label.trim_end_matches('}');
            let is_there = page
                .lines()
                .any(|line| line.starts_with(name) && line.contains(label));
            assert!(is_there, "{fault}: no series {name} {label}");
        }
    }
}
