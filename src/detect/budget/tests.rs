//! The accounts are right whatever happens, nothing exceeds its limit, and who has nothing of what is
//! scarce stays.

use super::*;
use crate::detect::event::Event;
use crate::detect::finding::{Gap, Observation};
use crate::detect::journal::{Head, Restore};
use crate::detect::pack::Held;
use crate::detect::time::Timestamp;
use crate::detect::undecided::Undecided;
use crate::detect::verdict::Severity;
use crate::detect::{ConnectionId, Options, Source, Trace, profile};

mod names;
mod tokens;

const APIS: [&str; 3] = ["dynamodb.TransactWriteItems", "http", "other"];

fn profiles(capacity: usize) -> Vec<Profile> {
    profile::profiles(&toml::Table::new(), Some(capacity)).unwrap()
}

fn options(trace: Trace) -> Options {
    Options {
        detail: Severity::Warning,
        trace,
        hash_key: [7; 16],
    }
}

fn detector(capacity: usize, trace: Trace) -> Detector {
    Detector::new(profiles(capacity), options(trace))
}

/// Judges a line at a time in milliseconds; adds what is said to `out`.
fn judge(detector: &mut Detector, line: &str, at: i64, out: &mut Verdicts) {
    let event = Event::decode(line.as_bytes()).unwrap();
    let source = Source {
        connection: Some(ConnectionId(at as u64 % 3)),
        identity: None,
    };
    detector.handle_event(&event, source, Timestamp::from_micros(at * 1000), out);
}

fn gaps(out: &Verdicts) -> usize {
    let gap = |observation: &&Observation| matches!(observation, Observation::Gap(Gap::Evicted));
    out.observations.iter().filter(gap).count()
}

/// What tokens hold is what is accounted, and within the limits.
fn check(detector: &Detector, what: &str) {
    let mut sum = Held::default();
    for table in detector.tables.iter().flatten() {
        assert_eq!(table.held(), table.recount(), "{what}");
        sum += table.held();
        table.check_hands(what);
        for burden in Burden::ALL {
            // Whichever table is asked for a token that has what is scarce has one.
            let oldest = table.first_with(burden);
            assert_eq!(oldest.is_some(), table.burden(burden) > 0, "{what}");
        }
    }
    let held = detector.packer.held();
    let undecided = std::mem::take(&mut sum.placed);
    assert_eq!(held, sum, "{what}");
    let (limits, leases) = (detector.limits, &detector.context.leases);
    assert_eq!(leases.len(), leases.iter().count(), "{what}");
    let places = detector.undecided.recount();
    assert_eq!(detector.undecided.len(), places, "{what}");
    assert_eq!(places, undecided, "{what}");
    assert!(places <= limits.undecided, "{what}");
    assert!(detector.undecided.several_len() <= limits.several, "{what}");
    assert!(leases.len() <= limits.leases, "{what}");
    assert!(sum.long <= limits.long, "{what}: {sum:?}");
    assert!(sum.whole <= limits.whole, "{what}: {sum:?}");
    let names = &detector.context.names;
    assert_eq!(names.bytes(), names.recount(), "{what}");
    assert!(names.bytes() <= limits.names, "{what}");
    for queue in &detector.settling {
        assert!(queue.len() <= limits.settling, "{what}");
    }
    for token in detector
        .tables
        .iter()
        .flatten()
        .flat_map(|table| table.some(0, u32::MAX))
    {
        token.look(&detector.packer, |token| {
            token.mark_names(&mut |name| assert!(names.holds(name), "{what}"));
        });
    }
}

fn random_line(random: &mut impl FnMut(u64) -> u64, step: usize) -> String {
    let api = APIS[random(3) as usize];
    let token = format!("{:0>1$}", random(60), [4, 36][random(2) as usize]);
    let end = random(2) == 0;
    let kind = match (end, random(8)) {
        (true, 0) => "call_end",
        (true, _) => "attempt_end",
        (false, _) => "attempt_start",
    };
    let mut line = format!("{{\"v\":1,\"type\":\"{kind}\",\"api\":\"{api}\",\"token\":\"{token}\"");
    if end {
        let outcome = ["ok", "no_response", "error", "error"][random(4) as usize];
        line += &format!(",\"outcome\":\"{outcome}\"");
        if outcome == "error" {
            let code = ["TransactionCanceledException", "ThrottlingException", "Odd"];
            line += &format!(",\"error\":\"{}\"", code[random(3) as usize]);
        }
    }
    if random(4) > 0 {
        line += &format!(
            ",\"call\":\"{:0>1$}\"",
            random(12),
            [2, 60][random(2) as usize]
        );
        line += &format!(",\"attempt\":{}", 1 + random(12));
    }
    let client = if random(20) == 0 {
        step as u64
    } else {
        random(3)
    };
    line += &format!(
        ",\"client\":\"client-{client}\",\"scope\":\"{}\"",
        random(2)
    );
    if random(3) > 0 {
        line += &format!(",\"fp\":\"{}\"", random(5));
    }
    line + "}"
}

#[test]
fn the_accounts_are_right_after_each_of_many_random_events() {
    for (seed, trace) in [Trace::Off, Trace::Misuse, Trace::All]
        .into_iter()
        .enumerate()
    {
        let mut detector = detector(40, trace);
        detector.limits = Limits {
            leases: 30,
            undecided: 20,
            several: 8,
            long: 4000,
            whole: 60_000,
            names: detector.limits.names,
            settling: 4,
        };
        detector.undecided = Undecided::new(20, 8);
        let mut state = 0x5eed_0000 + seed as u64;
        let mut random = |end: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % end
        };
        let mut out = Verdicts::default();
        let mut most = Held::default();
        let mut now = 1_000_000;
        for step in 0..6000 {
            now += random(200) as i64;
            // Leases end, now and then nearly all tokens with them.
            now += if random(400) == 0 { 61_000 } else { 0 };
            judge(
                &mut detector,
                &random_line(&mut random, step),
                now,
                &mut out,
            );
            if random(300) == 0 {
                let at = Timestamp::from_micros(now * 1000);
                detector.handle_disconnect(ConnectionId(random(3)), at, &mut out);
            }
            check(&detector, &format!("{trace:?}, step {step}"));
            let held = detector.packer.held();
            most.long = most.long.max(held.long);
            most.whole = most.whole.max(held.whole);
        }
        assert!(most.long > 3000, "{trace:?}: {most:?} meets no limit");
        assert!(
            trace != Trace::All || most.whole > 50_000,
            "{trace:?}: {most:?}"
        );
        assert!(gaps(&out) > 100, "{trace:?}");
        // A month later all is over.
        let end = Timestamp::from_micros((now + 30 * 86_400_000) * 1000);
        for _ in 0..200 {
            detector.handle_timeout(end, &mut out);
            check(&detector, "the end");
        }
        assert_eq!(detector.token_count(), 0);
        assert_eq!(detector.packer.held(), Held::default());
        assert_eq!(
            (detector.context.leases.len(), detector.undecided.len()),
            (0, 0)
        );
    }
}

/// The lines of the largest token that there can be.
fn largest(n: usize) -> impl Iterator<Item = String> {
    (0..64).map(move |at| {
        let (call, attempt) = (at / 8, at % 8 + 1);
        format!(
            "{{\"v\":1,\"type\":\"attempt_start\",\"api\":\"http\",\"token\":\"{n:0>255}\",\
             \"call\":\"{call:0>64}\",\"attempt\":{attempt},\"client\":\"{n:0>120}-{call}\",\
             \"fp\":\"{at}\"}}"
        )
    })
}

fn small(n: usize, api: &str) -> String {
    format!(
        "{{\"v\":1,\"type\":\"attempt_end\",\"api\":\"{api}\",\"token\":\"small-{n}\",\
         \"call\":\"1\",\"outcome\":\"ok\",\"client\":\"honest\"}}"
    )
}

#[test]
fn large_tokens_push_out_each_other_and_no_small_one() {
    let mut detector = detector(2000, Trace::Off);
    let mut out = Verdicts::default();
    for n in 0..800 {
        judge(&mut detector, &small(n, APIS[n % 3]), n as i64, &mut out);
    }
    assert_eq!(detector.token_count(), 800);
    for n in 0..500 {
        for line in largest(n) {
            judge(&mut detector, &line, 1000 + n as i64, &mut out);
        }
        check(&detector, &format!("token {n}"));
    }
    let counts = detector.token_count();
    assert!((900..1200).contains(&counts), "{counts} tokens");
    // All that went were counted, and nothing but large ones went: those seen longest ago.
    assert_eq!(gaps(&out), 1300 - counts);
    let known = |api, text: &str| {
        let mut found = Vec::new();
        let now = detector.now();
        let mut next = Some(0);
        while let Some(from) = next {
            next = detector.tokens_of((api, text), from, now, &mut found);
        }
        !found.is_empty()
    };
    for n in 0..800 {
        assert!(known(APIS[n % 3], &format!("small-{n}")), "{n}");
    }
    let large: Vec<bool> = (0..500)
        .map(|n| known("http", &format!("{n:0>255}")))
        .collect();
    let first = large.iter().position(|known| *known).unwrap();
    assert!(
        large[first..].iter().all(|known| *known) && large[499],
        "{large:?}"
    );
}

/// As in the table of deploy/README.md.
#[test]
fn two_full_tables_of_tokens_with_eight_calls_meet_no_limit() {
    const CAPACITY: usize = 8192;
    let mut detector = detector(CAPACITY, Trace::Off);
    let mut out = Verdicts::default();
    let mut at = 0;
    for n in 0..2 * CAPACITY {
        let api = ["dynamodb.TransactWriteItems", "dynamodb.ExecuteTransaction"][n % 2];
        for call in 0..8 {
            for (kind, more) in [("start", ""), ("end", ",\"outcome\":\"ok\"")] {
                at += 1;
                let line = format!(
                    "{{\"v\":1,\"type\":\"attempt_{kind}\",\"api\":\"{api}\",\
                     \"token\":\"6b8f0c4e-1d2a-4f3b-9c5d-{n:012x}\",\
                     \"call\":\"7c9a0c4e-1d2a-4f3b-{call:04x}-{n:012x}\",\
                     \"client\":\"{:0>105}\",\"fp\":\"{n:032x}\",\"fp_raw\":\"{n:032x}\"{more}}}",
                    call % 3
                );
                judge(&mut detector, &line, at, &mut out);
                out.findings.clear();
            }
        }
    }
    assert_eq!((detector.token_count(), gaps(&out)), (2 * CAPACITY, 0));
    let held = detector.packer.held().long;
    assert!(held > detector.limits.long / 2, "{held}");
    check(&detector, "full");
}

#[test]
fn what_is_restored_is_within_the_limits() {
    let mut before = detector(100_000, Trace::Off);
    let mut out = Verdicts::default();
    for n in 0..800 {
        judge(&mut before, &small(n, "http"), 1 + n as i64, &mut out);
        for line in largest(n).take(if n % 2 == 0 { 64 } else { 5 }) {
            judge(&mut before, &line, 1 + n as i64, &mut out);
        }
    }
    assert_eq!((before.token_count(), gaps(&out)), (1600, 0));
    let mut records = Vec::new();
    let head = Head {
        observation_start: Timestamp::from_micros(1),
        connection: 1,
    };
    let mut progress = before.begin_journal(head, &mut records);
    while before.write_some(&mut progress, 1, 1 << 16, &mut records) {}
    let mut restore = Restore::new(profiles(2000), options(Trace::Off));
    restore.apply(&records).unwrap();
    let (after, restored) = restore.finish().unwrap();
    check(&after, "restored");
    assert!(restored.tokens < 1550, "{} tokens", restored.tokens);
    assert_eq!(restored.lost.without_room as usize, 1600 - restored.tokens);
    // Those that take nothing are all there.
    assert!(after.packer.held().whole > after.limits.whole / 2);
    assert!(restored.tokens >= 800);
}
