//! What is not known is not shown as healthy, and what is over is shown as over.

use super::*;

/// The screen of a summary that differs from the usual one.
fn screen_of(change: impl FnOnce(&mut Value)) -> String {
    let mut summary = summary();
    change(&mut summary);
    let mut state = State::new("127.0.0.1:9465".to_owned());
    feed(&mut state, summary, life());
    screen(&mut state)
}

#[test]
fn silence_and_losses_are_not_taken_for_health() {
    let calm = |summary: &mut Value, healthy: u64| {
        for item in summary["severities"].as_array_mut().unwrap() {
            item["recent"] = json!(if item["severity"] == "info" {
                healthy
            } else {
                0
            });
        }
    };
    let screen = screen_of(|summary| calm(summary, 7));
    assert_shows(
        &screen,
        &["No. In the last 2 min every use of a token was a healthy one.\n"],
    );
    let screen = screen_of(|summary| {
        calm(summary, 7);
        summary["dropped"]["client"] = json!(1);
    });
    assert_shows(
        &screen,
        &["was a healthy one.", "Something was", "see Trust."],
    );
    let screen = screen_of(|summary| {
        calm(summary, 0);
        summary["last_event"] = json!(NOW - 100.0);
    });
    assert_shows(
        &screen,
        &["Not known: no token was used in the last 2 min; the last event came 1 min 40 s"],
    );
    let screen = screen_of(|summary| {
        calm(summary, 0);
        summary["events"] = json!({"attempt_start": 0});
    });
    assert_shows(
        &screen,
        &["Not known: 3 events came, and none could be used."],
    );
}

#[test]
fn a_search_that_was_cut_off_says_so_also_if_it_found_nothing() {
    let mut state = after("3/abc\n");
    let query = state.tokens.query.clone();
    let page = json!({"tokens": [], "total": 0, "offset": 0, "complete": false});
    state.answer(Answer::Tokens(query, parse(page)));
    assert_shows(&screen(&mut state), &["among those that were searched"]);
}

#[test]
fn the_window_before_a_reuse_is_drawn_with_its_end() {
    let mut life = life();
    life["lifecycle"] = json!(2);
    life["first_start"] = json!(NOW - 20.0);
    life["first_success"] = json!(NOW - 19.0);
    life["window_s"] = json!(30.0);
    life["attempts"] = json!([
        {"client": "a/1", "number": 1, "start": NOW - 61.0, "end": NOW - 60.0, "class": "success", "verdict": "first_use"},
        {"client": "b/1", "number": 1, "start": NOW - 20.0, "end": NOW - 19.0, "class": "success", "verdict": "reuse_after_window"},
    ]);
    let mut state = after("2\n");
    state.tick(NOW);
    let wanted = state.life_name().cloned().unwrap();
    state.answer(Answer::Life(wanted, Some(parse(life))));
    let screen = screen(&mut state);
    let line = screen.lines().find(|line| line.contains('┫')).unwrap();
    // One window of 31 s from 0, and one of 31 s from 41 s on, with the time between left blank.
    let (first, rest) = line.split_once('┫').unwrap();
    assert!(first.trim_start().chars().all(|c| c == '━'), "{screen}");
    assert!(rest.trim_start().starts_with("━━ window ━"), "{screen}");
    let columns = |seconds: f64| (seconds / (72.0 * 1.03) * 78.0) as usize;
    assert_eq!(first.chars().count(), 2 + columns(31.0), "{screen}");
    let blank = rest.chars().take_while(|c| *c == ' ').count();
    assert_eq!(blank, columns(41.0) - columns(31.0) - 1, "{screen}");
}
