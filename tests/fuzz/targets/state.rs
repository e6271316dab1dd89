//! Records of a state file behind their checksum: whatever they say, the detector that is made of them
//! works, and can be written and read again.

use std::time::Duration;

use oncewatch::detect::event::Event;
use oncewatch::detect::finding::Verdicts;
use oncewatch::detect::journal::{Head, Restore};
use oncewatch::detect::profile;
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{ConnectionId, Detector, Options, Source, Trace};

const CAPACITY: usize = 5;
/// Used by the seeds, and by the events that follow.
const TOKENS: [&str; 3] = ["a", "6b8f0c4e-1d2a-4f3b-9c5d-7e8f90a1b2c3", "b"];

/// The input is the records of one batch, or of two that 0xff 0x00 parts.
pub fn check(data: &[u8]) {
    let mut restore = restore();
    let parts = data.windows(2).position(|pair| pair == [0xff, 0]);
    let (first, second) = parts.map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    if !restore.continues(first) || restore.apply(first).is_err() {
        return;
    }
    let _ = restore.apply(second);
    let Some((mut detector, restored)) = restore.finish() else {
        return;
    };
    assert_eq!(detector.token_count(), restored.tokens);
    let records = written(&mut detector);
    let mut again = self::restore();
    assert!(again.continues(&records));
    again.apply(&records).expect("what it writes can be read");
    let (mut same, told) = again.finish().expect("it begins with a head");
    assert_eq!(told.tokens, restored.tokens);
    // As a restart does: deadlines wait, but those that these events need.
    same.hold_deadlines(told.now + Duration::from_secs(1));
    go_on(same, told.now);
    go_on(detector, restored.now);
}

fn restore() -> Restore {
    let profiles = profile::profiles(&toml::Table::new(), Some(CAPACITY)).expect("built in");
    let options = Options {
        detail: Severity::Info,
        trace: Trace::All,
        hash_key: [7; 16],
    };
    Restore::new(profiles, options)
}

fn written(detector: &mut Detector) -> Vec<u8> {
    let head = Head {
        observation_start: Timestamp::from_micros(1),
        connection: 1,
    };
    let mut records = Vec::new();
    detector.keep_journal();
    let mut progress = detector.begin_journal(head, &mut records);
    while detector.write_some(&mut progress, 1, 1 << 16, &mut records) {}
    records
}

/// Uses of the tokens that may be known, then the end of everything.
fn go_on(mut detector: Detector, now: Timestamp) {
    let mut out = Verdicts::default();
    let connection = ConnectionId(3);
    for token in TOKENS {
        for kind in ["attempt_start\"", "attempt_end\",\"outcome\":\"ok\""] {
            let line = format!(
                "{{\"type\":\"{kind},\"api\":\"stripe\",\"token\":\"{token}\",\"call\":\"c\",\"fp\":\"f\"}}"
            );
            let event = Event::decode(line.as_bytes()).expect("it is well formed");
            let source = Source {
                connection: Some(connection),
                ..Source::default()
            };
            detector.handle_event(&event, source, now, &mut out);
        }
    }
    detector.handle_disconnect(connection, now, &mut out);
    for hours in [1, 100] {
        let later = now + Duration::from_secs(hours * 3600);
        detector.handle_timeout(later, &mut out);
    }
    detector.handle_shutdown(now, &mut out);
}
