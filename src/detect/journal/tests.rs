use super::*;
use crate::detect::event::Event;
use crate::detect::finding::Verdicts;
use crate::detect::profile::profiles;
use crate::detect::verdict::Severity;
use crate::detect::{Options, Source, Trace};

const OPTIONS: Options = Options {
    detail: Severity::Warning,
    trace: Trace::Off,
    hash_key: [7; 16],
};

const HEAD: Head = Head {
    observation_start: Timestamp::from_micros(1_700_000_000_000_000),
    connection: 3,
};

fn detector(capacity: usize) -> Detector {
    let profiles = profiles(&toml::Table::new(), Some(capacity)).unwrap();
    let mut detector = Detector::new(profiles, OPTIONS);
    detector.keep_journal();
    detector
}

fn start(detector: &mut Detector, token: usize) {
    let line = format!(
        r#"{{"type":"attempt_start","api":"http","token":"t-{token}","call":"c","client":"orders-{token}/1"}}"#
    );
    let event = Event::decode(line.as_bytes()).unwrap();
    let now = HEAD.observation_start.max(detector.now()) + std::time::Duration::from_secs(1);
    detector.handle_event(&event, Source::default(), now, &mut Verdicts::default());
}

/// All that there is, in steps of `max` bytes, and how many they were.
fn written(detector: &mut Detector, max: usize) -> (Vec<Vec<u8>>, usize) {
    let mut head = Vec::new();
    let mut progress = detector.begin_journal(HEAD, &mut head);
    let mut frames = vec![head];
    for step in 1.. {
        assert!(step < 1000, "steps of {max} B never end");
        let mut frame = Vec::new();
        let more = detector.write_some(&mut progress, HEAD.connection, max, &mut frame);
        frames.push(frame);
        if !more {
            return (frames, step);
        }
    }
    unreachable!()
}

fn restored(frames: &[Vec<u8>], capacity: usize) -> Restored {
    let profiles = profiles(&toml::Table::new(), Some(capacity)).unwrap();
    let mut restore = Restore::new(profiles, OPTIONS);
    for frame in frames {
        restore.apply(frame).unwrap();
    }
    restore.finish().unwrap().1
}

/// The record of the clock, which begins each step, may be longer than a step.
#[test]
fn steps_of_any_size_come_to_an_end() {
    let mut detector = detector(100);
    (0..20).for_each(|token| start(&mut detector, token));
    detector.forget_changes();
    for (max, least, most) in [(0, 20, 100), (1, 20, 100), (8, 20, 100), (1 << 20, 1, 1)] {
        let (frames, steps) = written(&mut detector, max);
        assert!((least..=most).contains(&steps), "{max}: {steps}");
        assert_eq!(restored(&frames, 100).tokens, 20, "{max}");
    }
}

/// What is said to be forgotten for want of room is what is known with more room, and not with less.
#[test]
fn a_token_that_is_forgotten_for_want_of_room_counts_once_and_only_if_it_stays_so() {
    let mut detector = detector(16);
    (0..10).for_each(|token| start(&mut detector, token));
    detector.forget_changes();
    let (mut frames, _) = written(&mut detector, 1 << 20);
    let mut changes = |detector: &mut Detector| {
        let mut frame = Vec::new();
        assert!(!detector.write_changes(HEAD.connection, &mut frame));
        frames.push(frame);
        let (all, few) = (restored(&frames, 16), restored(&frames, 4));
        assert_eq!(all.lost, Lost::default());
        assert_eq!(few.tokens, 4);
        assert_eq!(few.lost.without_room, (all.tokens - few.tokens) as u64);
        all.tokens
    };
    assert_eq!(changes(&mut detector), 10);
    // Seen again: they come back, and others go.
    (0..3).for_each(|token| start(&mut detector, token));
    assert_eq!(changes(&mut detector), 10);
    // They change without being seen: their leases end.
    let later = detector.now() + std::time::Duration::from_secs(60);
    detector.handle_timeout(later, &mut Verdicts::default());
    assert_eq!(changes(&mut detector), 10);
    // New ones push others out of the larger table as well.
    (20..31).for_each(|token| start(&mut detector, token));
    assert_eq!(changes(&mut detector), 16);
    // Written once more, in the journal that follows.
    detector.forget_changes();
    let (next, _) = written(&mut detector, 64);
    frames.extend(next);
    let few = restored(&frames, 4);
    assert_eq!((few.tokens, few.lost.without_room), (4, 12));
}
