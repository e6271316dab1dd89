//! One line to one event: the two readers agree, and what they let through is within its limits.

use oncewatch::detect::event::{Event, Kind, Outcome};

pub fn check(line: &[u8]) {
    let fast = Event::decode(line);
    // The fast reader takes no control characters, JSON allows a tab at the end: this goes to the
    // full reader whatever the line is.
    let slow_line = [line, b"\t"].concat();
    let slow = Event::decode(&slow_line);
    assert_eq!(
        format!("{fast:?}"),
        format!("{slow:?}"),
        "the readers differ"
    );
    if let Ok(event) = fast {
        holds_its_limits(&event);
    }
}

/// SPEC §2, the table of fields.
fn holds_its_limits(event: &Event<'_>) {
    let fits = |text: &Option<_>, max: usize| {
        let text: Option<&str> = text.as_deref();
        text.is_none_or(|text| (1..=max).contains(&text.len()))
    };
    assert!(event.api.len() <= 128 && event.token.len() <= 512 && event.scope.len() <= 256);
    assert!(fits(&event.call, 64) && fits(&event.fp, 64) && fits(&event.fp_raw, 64));
    assert!(fits(&event.client, 128) && fits(&event.request_id, 128));
    assert!(event.error.as_ref().is_none_or(|error| error.len() <= 128));
    assert!(event.attempt >= 1 && event.max_attempts.is_none_or(|limit| limit >= 1));
    for units in [event.read_units, event.write_units] {
        assert!(units.is_none_or(|units| units >= 0.0 && units.is_finite()));
    }
    if let Some(error) = &event.error {
        assert!(!error.contains([':', '#']), "{error:?} has a namespace");
    }
    match event.kind {
        Kind::ClientReport => {}
        Kind::AttemptStart => assert!(!event.api.is_empty()),
        Kind::AttemptEnd | Kind::CallEnd => {
            assert!(!event.api.is_empty());
            let outcome = event.outcome.expect("an end has an outcome");
            let explained = event.error.is_some() || event.http_status.is_some();
            assert!(outcome != Outcome::Error || explained);
        }
    }
}
