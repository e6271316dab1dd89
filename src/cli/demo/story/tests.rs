use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::cli::demo::script::{Action, CHECKOUT};
use crate::cli::demo::stage::add_profile;
use crate::config::{Flags, Settings};
use crate::detect::event::Event;
use crate::detect::finding::{Observation, Verdicts};
use crate::detect::time::Timestamp;
use crate::detect::{ConnectionId, Detector, Options, Source, Trace};

/// The verdicts of some steps, each `late(i)` behind its time; the order of the steps is kept.
fn judge(steps: &[Step], late: impl Fn(usize) -> Duration) -> HashMap<Verdict, usize> {
    let (mut settings, _) = Settings::load(&Flags::new(), &|_| None, &[]).unwrap();
    add_profile(&mut settings).unwrap();
    let options = Options {
        detail: crate::detect::verdict::Severity::Info,
        trace: Trace::Off,
        hash_key: [7; 16],
    };
    let mut detector = Detector::new(settings.profiles, options);
    let mut out = Verdicts::default();
    let begin = Timestamp::from_micros(1_700_000_000_000_000);
    for (i, step) in steps.iter().enumerate() {
        let now = begin + step.at + late(i);
        let connection = ConnectionId(step.pod as u64);
        match &step.action {
            Action::Close => detector.handle_disconnect(connection, now, &mut out),
            Action::Send(line) => {
                let event = Event::decode(line.trim_end().as_bytes()).unwrap();
                let source = Source {
                    connection: Some(connection),
                    identity: None,
                };
                detector.handle_event(&event, source, now, &mut out);
            }
        }
    }
    detector.handle_timeout(begin + 2 * ROUND, &mut out);
    let mut counts = HashMap::new();
    for observation in &out.observations {
        match observation {
            Observation::Verdict(_, verdict, _) => *counts.entry(*verdict).or_default() += 1,
            Observation::Duplicate => panic!("a step repeats an earlier one"),
            _ => {}
        }
    }
    counts
}

fn punctual(_: usize) -> Duration {
    Duration::ZERO
}

#[test]
fn every_scene_causes_what_it_claims_and_no_other_finding() {
    for scene in &SCENES {
        let counts = judge(&alone(scene, 1), punctual);
        let claimed: BTreeSet<_> = scene.causes.iter().copied().collect();
        let caused: BTreeSet<_> = counts.keys().copied().collect();
        let tells = scene.tells;
        assert!(claimed.is_subset(&caused), "{tells}: {caused:?}");
        let more = caused
            .difference(&claimed)
            .find(|verdict| verdict.is_finding());
        assert_eq!(more, None, "{tells}");
    }
}

#[test]
fn every_verdict_is_claimed_by_a_scene_and_appears_in_a_round() {
    let counts = judge(&round(2), punctual);
    for verdict in Verdict::ALL {
        assert!(scene_of(verdict).is_some(), "{verdict}");
        assert!(counts.contains_key(&verdict), "{verdict}");
    }
    let findings = counts.iter().filter(|(verdict, _)| verdict.is_finding());
    let findings: usize = findings.map(|(_, count)| count).sum();
    let all: usize = counts.values().sum();
    assert!(findings * 5 < all, "{findings} findings of {all} verdicts");
}

#[test]
fn a_slow_machine_sees_the_same() {
    for seed in 0..20 {
        let mut random = seed;
        let delays: Vec<_> = round(seed)
            .iter()
            .map(|_| {
                random = 6_364_136_223_846_793_005_u64
                    .wrapping_mul(random)
                    .wrapping_add(1);
                Duration::from_millis((random >> 33) % 100)
            })
            .collect();
        // Now and then the machine stands still for a while.
        let late = |i: usize| delays[i] + Duration::from_millis(if i % 50 < 10 { 200 } else { 0 });
        let counts = judge(&round(seed), late);
        let missing = Verdict::ALL
            .into_iter()
            .find(|verdict| !counts.contains_key(verdict));
        assert_eq!(missing, None, "seed {seed}");
    }
}

#[test]
fn rounds_are_in_order_and_shorter_than_their_time() {
    for scenes in SCENES.windows(2) {
        assert!(scenes[0].begins_ms < scenes[1].begins_ms);
    }
    let steps = round(3);
    assert!(steps.windows(2).all(|steps| steps[0].at <= steps[1].at));
    assert!(steps.last().unwrap().at < ROUND);
    assert!(scene_at(Duration::ZERO).is_none());
    assert_eq!(scene_at(ROUND).unwrap().tells, SCENES[18].tells);
}

#[test]
fn events_are_complete_and_tokens_are_never_used_in_another_round() {
    let mut tokens: Vec<BTreeSet<String>> = Vec::new();
    for seed in [4, 5] {
        let mut used = BTreeSet::new();
        for step in round(seed) {
            let Action::Send(line) = &step.action else {
                continue;
            };
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            let event = Event::decode(line.trim_end().as_bytes()).unwrap();
            assert_eq!(event.client.as_deref(), Some(step.pod.client()));
            if event.kind == crate::detect::event::Kind::ClientReport {
                continue;
            }
            assert!(
                event.trace.is_some() && !event.traceparent_malformed,
                "{line}"
            );
            assert!([CHECKOUT, TRANSACT].contains(&&*event.api), "{line}");
            used.insert(event.token.into_owned());
        }
        tokens.push(used);
    }
    assert!(tokens[0].is_disjoint(&tokens[1]));
}
