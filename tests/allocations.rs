//! Judging an event of a healthy token allocates nothing, once the tables are as full as they get.
//!
//! A test binary of its own: it replaces the allocator, and nothing else may allocate meanwhile.

#[path = "support/counting.rs"]
mod counting;

use counting::allocated;
use oncewatch::detect::event::Event;
use oncewatch::detect::finding::{Observation, Removal, Verdicts};
use oncewatch::detect::profile::profiles;
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{ConnectionId, Detector, Options, Source, Trace};

const CAPACITY: usize = 5_000;
/// Tokens in flight at once.
const OPEN: usize = 100;

/// A detector and what it needs to judge lines.
struct Bench {
    detector: Detector,
    out: Verdicts,
    now: Timestamp,
    evicted: u64,
    /// What is written to the journal, if one is kept.
    journal: Option<Vec<u8>>,
}

impl Bench {
    fn new(journaled: bool) -> Self {
        let profiles = profiles(&toml::Table::new(), Some(CAPACITY)).unwrap();
        let options = Options {
            detail: Severity::Warning,
            trace: Trace::Misuse,
            hash_key: [7; 16],
        };
        let mut detector = Detector::new(profiles, options);
        if journaled {
            detector.keep_journal();
        }
        Self {
            detector,
            journal: journaled.then(Vec::new),
            out: Verdicts::default(),
            now: Timestamp::from_micros(1_700_000_000_000_000),
            evicted: 0,
        }
    }

    /// Judges a line; returns the allocations that it took after decoding.
    fn judge(&mut self, line: &str) -> u64 {
        let event = Event::decode(line.as_bytes()).unwrap();
        let source = Source {
            connection: Some(ConnectionId(1)),
            identity: Some("uid-1000/1"),
        };
        self.now = self.now + std::time::Duration::from_micros(50);
        self.out.clear();
        let before = allocated();
        self.detector
            .handle_event(&event, source, self.now, &mut self.out);
        if let Some(journal) = &mut self.journal {
            journal.clear();
            self.detector.write_changes(1, journal);
        }
        let allocations = allocated() - before;
        let evicted =
            |seen: &&Observation| matches!(seen, Observation::Removed(_, Removal::EvictedInWindow));
        self.evicted += self.out.observations.iter().filter(evicted).count() as u64;
        allocations
    }
}

fn start(token: usize, call: usize, attempt: u64) -> String {
    format!(
        r#"{{"type":"attempt_start","api":"dynamodb.TransactWriteItems","token":"{token:08x}-1d2a-4f3b-9c5d-7e8f90a1b2c3","call":"{call:08x}-0000-4f3b-9c5d-7e8f90a1b2c3","attempt":{attempt},"max_attempts":3,"fp":"{token:032x}","fp_raw":"{token:031x}f","client":"orders-1/77","scope":"1234/eu-west-1"}}"#
    )
}

fn end(token: usize, call: usize, attempt: u64, outcome: &str) -> String {
    format!(
        r#"{{"type":"attempt_end","api":"dynamodb.TransactWriteItems","token":"{token:08x}-1d2a-4f3b-9c5d-7e8f90a1b2c3","call":"{call:08x}-0000-4f3b-9c5d-7e8f90a1b2c3","attempt":{attempt},"outcome":"{outcome}","client":"orders-1/77","scope":"1234/eu-west-1","duration_ms":12.5,"write_units":2}}"#
    )
}

fn call_end(token: usize) -> String {
    end(token, token, 1, "ok").replace("attempt_end", "call_end")
}

/// The lines of one token, of which the first opens it.
type Story = fn(usize) -> Vec<String>;

/// Runs `story` for many tokens, [`OPEN`] at once, and returns the allocations per line after the
/// tables and every list have reached their size.
fn allocations(story: Story, journaled: bool) -> (u64, u64, u64) {
    let mut bench = Bench::new(journaled);
    let (mut lines, mut allocations) = (0, 0);
    let warm = 4 * CAPACITY;
    for token in 0..warm + 2 * CAPACITY {
        let mut due = vec![story(token).swap_remove(0)];
        if let Some(older) = token.checked_sub(OPEN) {
            due.extend(story(older).into_iter().skip(1));
        }
        for line in due {
            let taken = bench.judge(&line);
            if token >= warm {
                lines += 1;
                allocations += taken;
            }
        }
    }
    (lines, allocations, bench.evicted)
}

#[test]
fn the_healthy_path_allocates_nothing() {
    let stories: [(&str, Story); 4] = [
        ("healthy", |token| {
            vec![start(token, token, 1), end(token, token, 1, "ok")]
        }),
        ("with call_end", |token| {
            let end = end(token, token, 1, "ok");
            vec![start(token, token, 1), end, call_end(token)]
        }),
        ("retried", |token| {
            let (lost, ok) = (
                end(token, token, 1, "no_response"),
                end(token, token, 2, "ok"),
            );
            vec![start(token, token, 1), lost, start(token, token, 2), ok]
        }),
        ("replayed", |token| {
            let (ok, again) = (end(token, token, 1, "ok"), end(token, token + 1, 1, "ok"));
            // The server had done it: it read what it remembered.
            let again = again.replace("write_units", "read_units");
            vec![
                start(token, token, 1),
                ok,
                start(token, token + 1, 1),
                again,
            ]
        }),
    ];
    let kept = stories.iter().map(|(name, story)| (*name, *story, true));
    let alone = stories.iter().map(|(name, story)| (*name, *story, false));
    for (name, story, journaled) in alone.chain(kept) {
        let (lines, allocations, evicted) = allocations(story, journaled);
        // Full, so that every new token evicts one.
        assert!(evicted > 2 * CAPACITY as u64, "{name}: {evicted} evicted");
        assert!(lines >= 4 * CAPACITY as u64, "{name}: {lines} lines");
        assert_eq!(
            allocations, 0,
            "{name}: in {lines} lines, journal: {journaled}"
        );
    }
}

#[test]
fn the_counter_counts() {
    let before = allocated();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(allocated() - before, 1);
}
