//! Which token goes for what is scarce, how it is found, and what is done before one goes.

use super::*;
use crate::detect::finding::Lifecycle;
use crate::detect::journal::Lost;
use crate::detect::key::Keys;
use crate::detect::verdict::Verdict;

const TRANSACT: &str = "dynamodb.TransactWriteItems";
const OK: &str = ",\"outcome\":\"ok\"";
const LOST: &str = ",\"outcome\":\"no_response\"";

/// An event of an attempt: the first one of its call unless `more` says otherwise.
fn event(kind: &str, api: &str, token: &str, call: usize, more: &str) -> String {
    format!(
        "{{\"v\":1,\"type\":\"attempt_{kind}\",\"api\":\"{api}\",\"token\":\"{token}\",\
         \"call\":\"{call}\",\"client\":\"a\"{more}}}"
    )
}

fn fp(n: usize) -> String {
    format!(",\"fp\":\"{n}\"")
}

fn key(api: &str, text: &str) -> Key {
    Keys::new(&[7; 16], api, "").key(text)
}

fn times(out: &Verdicts, verdict: Verdict) -> usize {
    let given = |observation: &&Observation| matches!(observation, Observation::Verdict(_, given, _) if *given == verdict);
    out.observations.iter().filter(given).count()
}

/// A token whose outcome is unknown, after so many calls.
fn lose(detector: &mut Detector, api: &str, n: usize, calls: usize, more: &str) -> usize {
    let (token, mut out) = (format!("t{n}"), Verdicts::default());
    for call in 0..calls {
        let start = event("start", api, &token, call, more);
        let end = event("end", api, &token, call, LOST);
        judge(detector, &start, 1, &mut out);
        judge(detector, &end, 1, &mut out);
    }
    gaps(&out)
}

/// Only what has a place among the undecided counts there, and goes for it.
#[test]
fn none_goes_for_a_place_that_it_does_not_have() {
    const CAPACITY: usize = 300;
    let mut detector = detector(CAPACITY, Trace::Off);
    detector.limits.undecided = 2 * CAPACITY;
    // Without a fingerprint, short ones and long ones: the table with most tokens, and without a place.
    for n in 0..CAPACITY {
        assert_eq!(lose(&mut detector, TRANSACT, n, 1 + n % 2 * 3, ""), 0);
    }
    assert!(detector.packer.held().long > 0);
    let mut gone = 0;
    for (api, count) in [
        ("http", CAPACITY - 1),
        ("stripe", CAPACITY - 1),
        ("sqs.SendMessage", 20),
    ] {
        for n in 0..count {
            let more = lose(&mut detector, api, n, 1, &fp(n));
            assert!(more <= 1, "{more} for one");
            assert!(detector.undecided.len() <= 2 * CAPACITY);
            gone += more;
        }
        check(&detector, api);
    }
    assert_eq!((detector.undecided.len(), gone), (2 * CAPACITY, 18));
    let id = detector.profile_of(TRANSACT);
    assert_eq!(detector.counts(id).iter().sum::<usize>(), CAPACITY);
}

#[test]
fn what_is_touched_and_has_none_of_what_is_scarce_costs_no_search() {
    let mut detector = detector(1000, Trace::Off);
    detector.limits.undecided = 10;
    let mut out = Verdicts::default();
    for n in 0..500 {
        judge(&mut detector, &small(n, TRANSACT), 1, &mut out);
    }
    let id = detector.profile_of(TRANSACT);
    let hand = |detector: &mut Detector| detector.table(id).hand(Burden::Undecided);
    for n in 0..100 {
        let start = event("start", TRANSACT, &format!("t{n}"), 1, &fp(n));
        judge(&mut detector, &start, 2, &mut out);
        let before = hand(&mut detector);
        // An old one is told again: it is taken out, and put back where it was.
        judge(&mut detector, &small(0, TRANSACT), 2, &mut out);
        assert_eq!(hand(&mut detector), before, "{n}");
        assert_eq!(before.is_some(), n >= 10, "{n}");
        check(&detector, "told again");
    }
    assert_eq!(gaps(&out), 90);
}

/// Many are seen at the same time, so that times alone do not tell which one is older.
#[test]
fn the_oldest_is_the_one_that_a_look_at_all_finds() {
    let traces = [Trace::Off, Trace::Misuse, Trace::All];
    for (seed, trace) in traces.into_iter().enumerate() {
        let mut detector = detector(60, trace);
        let mut state = 0x5eed_1000 + seed as u64;
        let mut random = |end: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % end
        };
        let (mut out, mut now, mut found) = (Verdicts::default(), 1_000_000, [0; 3]);
        for step in 0..6000 {
            if random(20) == 0 {
                now += random(9000) as i64;
            }
            let line = random_line(&mut random, step);
            judge(&mut detector, &line, now, &mut out);
            let what = format!("{trace:?}, step {step}");
            for table in detector.tables.iter_mut().flatten() {
                for burden in Burden::ALL {
                    let oldest = table.first_with(burden);
                    assert_eq!(table.oldest_with(burden), oldest, "{what}, {burden:?}");
                    found[burden as usize] += usize::from(oldest.is_some());
                }
            }
            check(&detector, &what);
            out.clear();
        }
        assert!(found.iter().all(|found| *found > 100), "{found:?}");
    }
}

/// A minute at 200 tokens a second whose outcomes are unknown, and then a while in which all are handed
/// out. Returns these, by token, and how many tokens were pushed out.
fn outage(detector: &mut Detector) -> (Vec<Lifecycle>, usize) {
    let (mut out, mut lifecycles, mut evicted) = (Verdicts::default(), Vec::new(), 0);
    let in_progress = ",\"outcome\":\"error\",\"error\":\"TransactionInProgressException\"";
    for n in 0..12_000 {
        let at = 1_000_000 + n as i64 * 5;
        let token = format!("6b8f0c4e-1d2a-4f3b-9c5d-{n:012x}");
        let start = event("start", TRANSACT, &token, 1, &fp(n));
        let end = event("end", TRANSACT, &token, 1, in_progress);
        judge(detector, &start, at, &mut out);
        judge(detector, &end, at + 1, &mut out);
        evicted += gaps(&out);
        lifecycles.append(&mut out.settled);
        out.clear();
        if n % 1000 == 0 {
            check(detector, &token);
        }
    }
    let end = Timestamp::from_micros(1_200_000_000);
    detector.handle_timeout(end, &mut out);
    lifecycles.append(&mut out.settled);
    lifecycles.sort_unstable_by(|a, b| a.token.cmp(&b.token));
    (lifecycles, evicted + gaps(&out))
}

#[test]
fn lifecycles_that_wait_are_handed_out_before_a_token_goes() {
    for trace in [Trace::Misuse, Trace::All] {
        let mut patient = detector(65_536, trace);
        patient.limits.whole = usize::MAX;
        let (late, _) = outage(&mut patient);
        let mut detector = detector(65_536, trace);
        let (early, evicted) = outage(&mut detector);
        assert_eq!((evicted, early.len()), (0, 12_000), "{trace:?}");
        assert_eq!((detector.token_count(), late.len()), (12_000, 12_000));
        let mut earlier = 0;
        for (early, late) in early.iter().zip(&late) {
            assert!(early.end <= late.end);
            earlier += usize::from(early.end < late.end);
            // But for that, it is the same.
            let end = late.end;
            assert_eq!(
                Lifecycle {
                    end,
                    ..early.clone()
                },
                *late
            );
        }
        assert!((5000..12_000).contains(&earlier), "{trace:?}: {earlier}");
        // The first one is still known, and what comes of it is told as well.
        let mut out = Verdicts::default();
        for (kind, more) in [("start", &*fp(0)), ("end", OK)] {
            let retry = event(kind, TRANSACT, &early[0].token, 2, more);
            judge(&mut detector, &retry, 1_200_001, &mut out);
        }
        assert_eq!(times(&out, Verdict::SafeRetry), 1);
        assert_eq!(out.settled.len(), usize::from(trace == Trace::All));
    }
}

/// The tokens that are looked at for a request, the latest first.
fn candidates(detector: &Detector, request: &str) -> Vec<Key> {
    let latest = detector.undecided.latest(key("http", request));
    latest.map(|(_, token)| token).collect()
}

#[test]
fn of_very_many_tokens_with_one_request_the_latest_have_a_place() {
    let mut detector = detector(1000, Trace::Off);
    (detector.limits.several, detector.undecided) = (8, Undecided::new(1000, 8));
    let mut out = Verdicts::default();
    for n in 0..20 {
        let start = event("start", "http", &format!("t{n}"), 1, &fp(1));
        judge(&mut detector, &start, 1 + n as i64, &mut out);
        let latest = (0..=n).rev().take(4);
        let latest: Vec<Key> = latest.map(|n| key("http", &format!("t{n}"))).collect();
        assert_eq!(candidates(&detector, "1"), latest);
        check(&detector, "one request");
    }
    assert_eq!((detector.undecided.len(), gaps(&out)), (8, 12));
    // Two of another request: for the second there is no room, and none of its own that could go for it.
    for token in ["other", "another"] {
        let start = event("start", "http", token, 1, &fp(2));
        judge(&mut detector, &start, 30, &mut out);
        check(&detector, token);
    }
    assert_eq!(candidates(&detector, "2"), [key("http", "other")]);
    assert_eq!((detector.undecided.len(), gaps(&out)), (9, 13));
    // It is counted once, whatever comes of it, and it is known all the same.
    for (kind, call, more) in [("end", 1, LOST), ("start", 2, &*fp(2))] {
        let line = event(kind, "http", "another", call, more);
        judge(&mut detector, &line, 31, &mut out);
        check(&detector, "another");
    }
    assert_eq!((gaps(&out), times(&out, Verdict::SafeRetry)), (13, 1));
    // Those that lost their places come to their ends like any other.
    for n in 0..20 {
        let end = event("end", "http", &format!("t{n}"), 1, OK);
        judge(&mut detector, &end, 40, &mut out);
        check(&detector, "the end");
    }
    assert_eq!((detector.undecided.len(), gaps(&out)), (1, 13));
}

/// All that a detector knows, as the records of one batch.
fn base(detector: &mut Detector) -> Vec<u8> {
    detector.forget_changes();
    let mut records = Vec::new();
    let head = Head {
        observation_start: Timestamp::from_micros(1),
        connection: 1,
    };
    let mut progress = detector.begin_journal(head, &mut records);
    while detector.write_some(&mut progress, 1, 1 << 16, &mut records) {}
    records
}

fn restored(capacity: usize, trace: Trace, batches: &[Vec<u8>]) -> (Detector, Lost) {
    let mut restore = Restore::new(profiles(capacity), options(trace));
    for batch in batches {
        restore.apply(batch).unwrap();
    }
    let (detector, restored) = restore.finish().unwrap();
    check(&detector, "restored");
    (detector, restored.lost)
}

#[test]
fn what_is_restored_has_its_place_as_far_as_there_is_room() {
    let mut before = detector(40_000, Trace::Off);
    before.keep_journal();
    let mut out = Verdicts::default();
    for n in 0..1500 {
        let start = event("start", "http", &format!("t{n}"), 1, &fp(1));
        judge(&mut before, &start, 1 + n as i64, &mut out);
    }
    assert_eq!((before.undecided.len(), gaps(&out)), (1500, 0));
    let (after, lost) = restored(2000, Trace::Off, &[base(&mut before)]);
    assert_eq!(after.token_count(), 1500);
    assert_eq!(after.undecided.len(), after.limits.several);
    let lost_places = Lost {
        without_place: 1500 - after.limits.several as u64,
        ..Lost::default()
    };
    assert_eq!(lost, lost_places);
    let latest = [1499, 1498, 1497, 1496].map(|n| key("http", &format!("t{n}")));
    assert_eq!(candidates(&after, "1"), latest);
}

/// Within a batch the images of those that take more may come before those of others that take less.
#[test]
fn no_token_goes_for_what_only_a_part_of_a_batch_takes() {
    const CAPACITY: usize = 4000;
    let mut before = detector(CAPACITY, Trace::All);
    before.keep_journal();
    let mut out = Verdicts::default();
    let mut apis = ["http", TRANSACT];
    apis.sort_by_key(|api| before.profile_of(api).0);
    let [first, second] = apis;
    // A large one, seen longest ago, that the batch has no word of.
    for n in 0..64 {
        let attempt = format!(",\"attempt\":{}", 1 + n % 8);
        let start = event("start", second, "large", n / 8, &attempt);
        judge(&mut before, &start, 1, &mut out);
    }
    let near = before.limits.whole - 40_000;
    let mut fill = |detector: &mut Detector, api: &str| {
        let mut count = 0;
        while detector.packer.held().whole < near {
            let start = event("start", api, &format!("t{count}"), 1, &fp(count));
            judge(detector, &start, 2, &mut out);
            count += 1;
        }
        count
    };
    let open = fill(&mut before, second);
    let mut batches = vec![base(&mut before)];
    for n in 0..open {
        let end = event("end", second, &format!("t{n}"), 1, OK);
        judge(&mut before, &end, 3, &mut Verdicts::default());
    }
    let more = fill(&mut before, first);
    let mut changes = Vec::new();
    assert!(!before.write_changes(1, &mut changes));
    batches.push(changes);
    let tokens = 1 + open + more;
    assert_eq!((before.token_count(), gaps(&out)), (tokens, 0));
    let (after, lost) = restored(CAPACITY, Trace::All, &batches);
    assert_eq!((after.token_count(), lost), (tokens, Lost::default()));
}

/// What a connection left open is closed in parts, between which its session may come back.
#[test]
fn what_a_connection_opens_that_came_back_is_not_orphaned() {
    let mut detector = detector(1000, Trace::Off);
    let mut out = Verdicts::default();
    let line = |kind, n: usize, more: &str| event(kind, "http", &format!("t{n}"), 1, more);
    // At times that all are of one connection.
    for n in 0..10 {
        judge(&mut detector, &line("start", n, ""), 3, &mut out);
    }
    let now = Timestamp::from_micros(6000);
    let mut orphans = detector.orphans(ConnectionId(0), now, &mut out);
    assert!(detector.handle_orphans(&mut orphans, 4, &mut out));
    assert_eq!(times(&out, Verdict::Orphaned), 4);
    // The new ones have the leases of those that are closed by now.
    for n in 10..20 {
        judge(&mut detector, &line("start", n, ""), 9, &mut out);
    }
    judge(&mut detector, &line("end", 5, OK), 9, &mut out);
    let retry = line("start", 6, ",\"attempt\":2");
    judge(&mut detector, &retry, 9, &mut out);
    while detector.handle_orphans(&mut orphans, 3, &mut out) {}
    assert_eq!(times(&out, Verdict::Orphaned), 8);
    assert_eq!(detector.context.leases.len(), 11);
    check(&detector, "the end");
}
