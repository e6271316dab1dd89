//! Who loses tokens for the names that they use, and who does not.

use super::*;

/// An event with names as long as they may be that no other has.
fn invented(n: usize) -> String {
    format!(
        "{{\"v\":1,\"type\":\"attempt_end\",\"api\":\"api-{n:0>124}\",\"token\":\"t{n}\",\
         \"outcome\":\"error\",\"error\":\"error-{n:0>122}\",\"client\":\"client-{n:0>121}\",\
         \"scope\":\"{n:0>256}\"}}"
    )
}

fn tokens(detector: &Detector, api: &str) -> usize {
    detector.counts(detector.profile_of(api)).iter().sum()
}

/// The success of a token of the first API.
fn success(n: usize, client: &str) -> String {
    format!(
        "{{\"v\":1,\"type\":\"attempt_end\",\"api\":\"{}\",\
         \"token\":\"6b8f0c4e-1d2a-4f3b-9c5d-{n:012x}\",\
         \"call\":\"7c9a0c4e-1d2a-4f3b-0000-{n:012x}\",\"outcome\":\"ok\",\"client\":\"{client}\"}}",
        APIS[0]
    )
}

#[test]
fn a_flood_of_invented_names_costs_nobody_who_shares_names_a_token() {
    const CAPACITY: usize = 65_536;
    let mut detector = detector(CAPACITY, Trace::Off);
    let mut out = Verdicts::default();
    for n in 0..2 * CAPACITY {
        judge(&mut detector, &small(n, APIS[n % 2]), 1, &mut out);
        out.clear();
    }
    let limit = detector.limits.names;
    let (mut most, mut invented_gone) = (0, 0);
    for n in 0..40_000 {
        judge(&mut detector, &invented(n), 2, &mut out);
        // At first the honest are silent, later one is heard now and then.
        if n > 20_000 && n % 1000 == 0 {
            judge(&mut detector, &small(n, APIS[0]), 2, &mut out);
        }
        invented_gone += gaps(&out);
        out.clear();
        most = most.max(detector.context.names.bytes());
        if n % 1000 == 0 {
            let honest = [tokens(&detector, APIS[0]), tokens(&detector, APIS[1])];
            assert_eq!(honest, [CAPACITY; 2], "after {n}");
        }
    }
    assert!(most > limit / 2 && most <= limit, "{most} of {limit}");
    assert!(invented_gone > 10_000, "{invented_gone}");
    let left = tokens(&detector, "another");
    assert_eq!(left, 40_000 - invented_gone);
    check(&detector, "the end");
}

#[test]
fn a_full_table_keeps_its_tokens_though_each_has_a_client_of_its_own() {
    const CAPACITY: usize = 65_536;
    let mut detector = detector(CAPACITY, Trace::Off);
    let mut out = Verdicts::default();
    let mut gone = 0;
    for n in 0..2 * CAPACITY {
        let line = success(n, &format!("{n:0>100}"));
        judge(&mut detector, &line, 1 + n as i64 / 100, &mut out);
        gone += gaps(&out);
        out.clear();
        assert_eq!(gone, (n + 1).saturating_sub(CAPACITY), "token {n}");
    }
    assert_eq!(detector.token_count(), CAPACITY);
    check(&detector, "full");
}

#[test]
fn names_that_nobody_else_uses_go_with_their_tokens() {
    let mut detector = detector(3000, Trace::All);
    let mut out = Verdicts::default();
    let (mut most, mut least) = (0, usize::MAX);
    let mut sent = 0;
    for n in 0..30_000 {
        let (client, scope, error) = (n, n / 2, n / 3);
        let line = format!(
            "{{\"v\":1,\"type\":\"attempt_end\",\"api\":\"api-{n:0>124}\",\"token\":\"{}\",\
             \"outcome\":\"error\",\"error\":\"{error:0>128}\",\"client\":\"{client:0>128}\",\
             \"scope\":\"{scope:0>256}\"}}",
            n % 5000
        );
        judge(&mut detector, &line, n, &mut out);
        if n % 50 == 0 {
            // The last one long before the end.
            if n < 15_000 {
                judge(&mut detector, &small(n as usize, "http"), n, &mut out);
                sent += 1;
            }
        }
        most = most.max(detector.context.names.bytes());
        if n % 500 == 0 {
            check(&detector, &format!("event {n}"));
        }
        if n > 5000 {
            least = least.min(tokens(&detector, "another"));
        }
        out.settled.clear();
    }
    let limit = detector.limits.names;
    assert!(most > limit / 2 && most <= limit, "{most} of {limit}");
    assert_eq!(tokens(&detector, "http"), sent);
    assert!(least < 2800 && least > 1500, "{least}");
    assert!(gaps(&out) > 20_000);
}

/// How many tokens go for these lines.
fn lost(detector: &mut Detector, lines: impl Iterator<Item = String>) -> usize {
    let mut out = Verdicts::default();
    let mut gone = 0;
    for line in lines {
        judge(detector, &line, 1, &mut out);
        gone += gaps(&out);
        out.clear();
    }
    gone
}

#[test]
fn a_recording_meets_no_limit_but_capacity() {
    const CAPACITY: usize = 6000;
    let mut recorded = Detector::for_recordings(profiles(CAPACITY), options(Trace::Off));
    let mut live = detector(CAPACITY, Trace::Off);
    let names = || (0..CAPACITY).map(invented);
    assert_eq!(lost(&mut recorded, names()), 0);
    assert!(lost(&mut live, names()) > 0);
    let of_one_request = || {
        (0..2000).map(|n| {
            format!(
                "{{\"v\":1,\"type\":\"attempt_start\",\"api\":\"{}\",\"token\":\"open-{n}\",\
                 \"call\":\"1\",\"client\":\"a\",\"fp\":\"f\"}}",
                APIS[0]
            )
        })
    };
    assert_eq!(lost(&mut recorded, of_one_request()), 0);
    assert!(lost(&mut live, of_one_request()) > 0);
    let large = || (0..450).flat_map(largest);
    assert_eq!(lost(&mut recorded, large()), 0);
    assert!(lost(&mut live, large()) > 0);
    assert_eq!(recorded.token_count(), CAPACITY + 2000 + 450);
}
