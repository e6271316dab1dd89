use super::sweep::Sweep;
use super::*;
use crate::detect::time::Timestamp;

/// Carries a sweep through to its end; `owner` does what is asked for.
fn sweep(names: &mut Names, mut owner: impl FnMut(&mut Names, Work)) {
    for _ in 0..1_000_000 {
        let work = names.sweep_some(&mut 100);
        owner(names, work);
        if matches!(names.sweep, Sweep::Idle) {
            return;
        }
    }
    panic!("it has no end");
}

fn in_use(names: &Names) -> Vec<&str> {
    let all = names.some(Sort::Sender, 0, usize::MAX);
    all.into_iter().flatten().collect()
}

fn length(names: &Names) -> u32 {
    names.sorts[Sort::Sender as usize].entries.len()
}

#[test]
fn a_sweep_keeps_what_is_used_and_reuses_the_rest() {
    let mut names = Names::new(usize::MAX);
    let mut ids = Vec::new();
    while names.bytes() < SWEEP_AT_MIN {
        ids.push(names.intern(Sort::Sender, &format!("client-{}", ids.len())));
    }
    assert_eq!(names.intern(Sort::Sender, "client-7"), ids[7]);
    let mut asked = 0;
    sweep(&mut names, |names, work| {
        let Work::Mark(from) = work else {
            return assert_eq!(work, Work::None);
        };
        asked += 1;
        names.show_next();
        names.mark(ids[7], Timestamp::from_micros(1));
        if from.slot == 2 {
            // Used while the sweep is under way.
            assert_eq!(names.intern(Sort::Sender, "client-3000"), ids[3000]);
        }
        names.go_on((from.slot < 3).then_some(Cursor {
            table: 0,
            slot: from.slot + 1,
        }));
    });
    assert_eq!(asked, 4);
    assert_eq!(in_use(&names), ["client-7", "client-3000"]);
    assert_eq!(names.bytes(), names.recount());
    assert_eq!(names.get(ids[3000]), "client-3000");
    let used = length(&names);
    assert_eq!(used as usize, ids.len());
    for i in 0..used - 2 {
        names.intern(Sort::Sender, &format!("later-{i}"));
    }
    assert_eq!(length(&names), used);
    assert_eq!(names.get(ids[7]), "client-7");
    assert_eq!(names.intern(Sort::Sender, "client-7"), ids[7]);
    assert_eq!(names.bytes(), names.recount());
}

/// Names of eight bytes, as many as bring about a sweep for want of room.
fn full(limit: usize) -> (Names, Vec<NameId>) {
    let mut names = Names::new(limit);
    let mut ids = Vec::new();
    while names.bytes() < limit / 4 * 3 {
        ids.push(names.intern(Sort::Sender, &format!("{:08}", ids.len())));
    }
    (names, ids)
}

#[test]
fn too_many_names_in_use_are_brought_down_the_least_used_first() {
    let (mut names, ids) = full(4096 * name_bytes(8));
    assert_eq!(ids.len(), 3072);
    let mut gone = Vec::new();
    sweep(&mut names, |names, work| match work {
        Work::None => {}
        Work::Mark(_) => {
            // The later ones were seen earlier, and of each token only once counts.
            for (at, id) in ids.iter().enumerate() {
                names.show_next();
                for _ in 0..3 {
                    names.mark(*id, Timestamp::from_micros(5000 - at as i64));
                    names.mark(ids[0], Timestamp::from_micros(0));
                }
            }
            // Two are used by many.
            for (many, id) in [ids[1700], ids[1800]].into_iter().enumerate() {
                for _ in 0..100 {
                    names.show_next();
                    names.mark(id, Timestamp::from_micros(many as i64));
                }
            }
            names.go_on(None);
        }
        Work::Forget(_) => {
            // Named just now: it stays.
            names.intern(Sort::Sender, "00002000");
            let goes = ids.iter().filter(|id| names.has_to_go(**id));
            gone = goes.copied().collect();
            names.go_on(None);
        }
    });
    // Three eighths of 4096: that of all tokens, the two, and the latest; and the one more.
    let latest = (0..1534).map(|at| ids[at]);
    let kept: Vec<_> = latest.chain([ids[1700], ids[1800], ids[2000]]).collect();
    assert_eq!(gone.len(), 3072 - 1537);
    assert!(kept.iter().all(|id| !gone.contains(id)));
    assert_eq!(in_use(&names).len(), 1537);
    assert_eq!(names.bytes(), 1537 * name_bytes(8));
    // Nothing has to go when there is no sweep.
    assert!(!names.has_to_go(ids[0]));
}

/// However many names came meanwhile, what is left of the limit is for those in use.
#[test]
fn names_that_events_use_push_out_none_that_tokens_use() {
    let (mut names, ids) = full(4096 * name_bytes(8));
    sweep(&mut names, |names, work| match work {
        Work::None => {}
        Work::Mark(_) => {
            for _ in 0..3 {
                names.show_next();
                ids[..2048]
                    .iter()
                    .for_each(|id| names.mark(*id, Timestamp::MIN));
            }
            for n in 0..1000 {
                names.intern(Sort::Space, &format!("{n:0>256}"));
            }
            names.go_on(None);
        }
        Work::Forget(_) => panic!("half of the limit is in use"),
    });
    assert_eq!(in_use(&names).len(), 2048);
}

/// Each event brings names as long as they may be, and tokens use all of them.
#[test]
fn a_sweep_ends_before_the_names_exceed_their_limit() {
    const TOKENS: usize = 400_000;
    let limit = 8 << 20;
    let mut names = Names::new(limit);
    let (mut sweeps, mut event, mut most, mut largest) = (0, 0, 0, 0);
    // What was named is what the tokens use.
    let (mut in_use, mut anew) = (Vec::new(), Vec::new());
    while sweeps < 6 {
        let mut left = 0;
        if names.is_sweep_due() {
            left = names.pace(TOKENS);
            largest = largest.max(left);
        }
        while left > 0 {
            match names.sweep_some(&mut left) {
                Work::None => {
                    sweeps += u32::from(matches!(names.sweep, Sweep::Idle));
                    left = 0;
                }
                Work::Mark(from) | Work::Forget(from) if (from.slot as usize) < TOKENS => {
                    let slot = from.slot + left;
                    names.go_on(Some(Cursor { slot, ..from }));
                    left = 0;
                }
                Work::Mark(_) => {
                    in_use.append(&mut anew);
                    for id in &in_use {
                        names.show_next();
                        names.mark(*id, Timestamp::from_micros(event));
                    }
                    names.go_on(None);
                }
                Work::Forget(_) => {
                    in_use.retain(|id| !names.has_to_go(*id));
                    names.go_on(None);
                }
            }
        }
        for (kind, sort, width) in [
            ("api-", Sort::Space, 124),
            ("scope-", Sort::Space, 250),
            ("client-", Sort::Sender, 121),
            ("error-", Sort::Sender, 122),
        ] {
            anew.push(names.intern(sort, &format!("{kind}{event:0>width$}")));
        }
        event += 1;
        most = most.max(names.bytes());
    }
    assert!(most <= limit && most > limit / 4 * 3, "{most} of {limit}");
    // One event does not do much of it.
    assert!(largest < 1000, "{largest}");
}

#[test]
fn kinds_have_numbers_of_their_own() {
    let mut names = Names::new(usize::MAX);
    let client = names.intern(Sort::Sender, "same");
    let scope = names.intern(Sort::Space, "same");
    assert_eq!((client.small(0), scope.small(0)), (Some(0), Some(0)));
    assert_ne!(client, scope);
    assert_eq!(NameId::from_small(Sort::Space, 0), scope);
}
