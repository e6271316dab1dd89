//! Can I trust this: how long it has been watching, what it has lost, who is connected.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Paper, scrolled};
use crate::cli::top::answer::{Counts, ProfileUse, Summary, one, sum};
use crate::cli::top::state::State;
use crate::cli::top::text::{brief, clock, count, counted, span, words};

/// What the counts of losses mean.
const MEANINGS: [(&str, &str); 17] = [
    ("evicted", "pushed out inside the window: raise --capacity"),
    (
        "open_attempts_overflow",
        "more than 8 attempts of a token open at once",
    ),
    (
        "calls_overflow",
        "a token had more than 8 calls; old ones are forgotten",
    ),
    (
        "sessions_overflow",
        "more than 1024 sessions ended within a minute; what they resend counts twice",
    ),
    ("restart", "the sidecar began without a past"),
    ("malformed", "not one JSON object in UTF-8"),
    ("too_long", "longer than --max-line-bytes"),
    ("unsupported_version", "a protocol version other than 1"),
    ("unknown_type", "a type that is not known"),
    ("missing_field", "a field that is required is missing"),
    ("invalid_field", "a field has a wrong type or value"),
    ("duplicate", "reported or sent twice"),
    ("client", "by clients, as they say themselves"),
    ("findings_queue", "findings, before they were shown"),
    ("spans_queue", "lifecycles, before they were exported"),
    ("limit", "more than --max-connections"),
    ("uid", "a user not in --allow-uid"),
];

/// Losses that make verdicts lower bounds; a forgotten old call does not.
pub fn losses(summary: &Summary) -> (u64, u64) {
    let gaps = sum(&summary.gaps).saturating_sub(one(&summary.gaps, "calls_overflow"));
    let dropped = one(&summary.dropped, "client") + one(&summary.dropped, "findings_queue");
    (gaps, dropped)
}

/// Profiles that matter here: those watched by name, and those with tokens.
fn used(summary: &Summary) -> impl Iterator<Item = &ProfileUse> {
    let all = summary.profiles.iter();
    all.filter(|profile| profile.active || sum(&profile.tokens) > 0)
}

/// When one window has passed for all APIs, if that is still to come.
fn lower_bound_until(summary: &Summary, now: f64) -> Option<f64> {
    let ends = used(summary).map(|profile| profile.lower_bound_until);
    ends.filter(|end| *end > now).reduce(f64::max)
}

/// The answer in one line, below every view.
pub fn line(state: &State, paper: &Paper) -> Option<Line<'static>> {
    let summary = state.summary.as_deref()?;
    let now = state.now();
    let (gaps, dropped) = losses(summary);
    let windows =
        used(summary).map(|profile| profile.lower_bound_until - summary.observation_start);
    let word = match (gaps + dropped, lower_bound_until(summary, now)) {
        (0, None) => "yes, nothing lost".to_owned(),
        (_, None) => "lower bounds, some lost".to_owned(),
        (_, Some(_)) => "lower bounds".to_owned(),
    };
    let is_sure = word.starts_with("yes");
    let dot = paper.look.signs.dot;
    let up = brief(now - summary.observation_start);
    let window = span(windows.fold(0.0, f64::max));
    let text = format!(
        "{word} {dot} up {up}, window {window} {dot} gaps {} {dot} drops {} {dot} clients {}",
        count(gaps),
        count(dropped),
        count(summary.clients_connected)
    );
    let text = paper.left(&text, paper.cells.saturating_sub(7));
    let style = if is_sure {
        paper.look.good()
    } else {
        paper.look.severity("warning")
    };
    Some(Line::from(vec![
        Span::styled("Trust: ", paper.look.head()),
        Span::styled(text, style),
    ]))
}

pub fn body(state: &mut State, paper: &Paper) -> Vec<Line<'static>> {
    let Some(summary) = state.summary.as_deref() else {
        return Vec::new();
    };
    let mut all = lines(summary, state.now(), paper);
    if all.len() > paper.rows {
        // To see all of it is worth more than the blank lines.
        all.retain(|line| line.width() > 0);
    }
    scrolled(all, &mut state.trust, paper)
}

/// Everything, in as many lines as it takes.
pub fn lines(summary: &Summary, now: f64, paper: &Paper) -> Vec<Line<'static>> {
    let text = sentence(summary, now);
    let style = if text.starts_with("Yes") {
        paper.look.good()
    } else {
        paper.look.severity("warning")
    };
    let mut lines = paper.paragraph("", &text, style);
    lines.push(Line::default());
    lines.extend(facts(summary, now, paper));
    lines.push(Line::default());
    lines.extend(profiles(summary, now, paper));
    lines.push(Line::default());
    for (title, counts) in [
        ("Tracking gaps", &summary.gaps),
        ("Dropped", &summary.dropped),
        ("Events rejected", &summary.rejected),
        ("Connections refused", &summary.refused),
    ] {
        lines.extend(named_counts(title, counts, paper));
    }
    lines
}

fn sentence(summary: &Summary, now: f64) -> String {
    let mut parts = Vec::new();
    if let Some(until) = lower_bound_until(summary, now) {
        let since = clock(summary.observation_start, now);
        parts.push(format!(
            "What was sent before {since} is not known, so counts are lower bounds until one window \
             has passed: for all APIs in {}, at {}.",
            span(until - now),
            clock(until, now)
        ));
    }
    let (gaps, dropped) = losses(summary);
    if gaps + dropped > 0 {
        let lost = counted(gaps + dropped, "occasion");
        parts.push(format!(
            "Something was lost on {lost}: there may be more than is shown."
        ));
    }
    let unusable = sum(&summary.rejected);
    if unusable > 0 {
        parts.push(format!("{} could not be used.", counted(unusable, "event")));
    }
    if summary.clients_connected == 0 {
        parts.push("No client is connected now.".to_owned());
    }
    match parts.is_empty() {
        true => "Yes: nothing was lost, and one window has passed since the start.".to_owned(),
        false => parts.join(" "),
    }
}

fn facts(summary: &Summary, now: f64, paper: &Paper) -> Vec<Line<'static>> {
    let ago = |at: Option<f64>, none: &str| {
        at.map_or(none.to_owned(), |at| format!("{} ago", span(now - at)))
    };
    let tokens = match summary.token_display.raw() {
        "hash" => "keyed hashes".to_owned(),
        "prefix" => "prefix and hash".to_owned(),
        "full" => "sent".to_owned(),
        _ => summary.token_display.to_string(),
    };
    let up = brief(now - summary.observation_start);
    let facts = [
        (
            "Watching since",
            format!("{}, {up}", clock(summary.observation_start, now)),
        ),
        ("Clients connected", count(summary.clients_connected)),
        ("Last event", ago(summary.last_event, "none yet")),
        ("Oldest open attempt", ago(summary.oldest_open, "none open")),
        ("Events used", count(sum(&summary.events))),
        (
            "Clocks off by > 2 s",
            counted(summary.clock_suspect, "event"),
        ),
        ("Tokens shown as", tokens),
        (
            "Bad traceparent",
            counted(summary.traceparent_malformed, "event"),
        ),
        ("Readers of the stream", count(summary.streams)),
        ("Version", summary.version.to_string()),
    ];
    let columns = if paper.cells >= 74 { 2 } else { 1 };
    let each = paper.cells / columns;
    // The version is the longest: it has a row of its own.
    let (short, long) = facts.split_at(facts.len() - 1);
    let rows = short.chunks(columns).chain([long]).map(|row| {
        let cells = row.iter().flat_map(|(name, value)| {
            [
                Span::styled(format!("{name:22}"), paper.look.quiet()),
                Span::raw(match row.len() {
                    1 => value.clone(),
                    _ => paper.left(value, each.saturating_sub(22)),
                }),
            ]
        });
        Line::from(cells.collect::<Vec<_>>())
    });
    rows.collect()
}

fn profiles(summary: &Summary, now: f64, paper: &Paper) -> Vec<Line<'static>> {
    let is_wide = paper.cells >= 70;
    let name = paper
        .cells
        .saturating_sub(if is_wide { 44 } else { 18 })
        .clamp(8, 40);
    let row = |api: &str, passed: &str, window: &str, used: &str| {
        let api = paper.left(api, name);
        let text = match is_wide {
            true => format!("{api} {window:>11} {passed:>16} {used:>13}"),
            false => format!("{api} {passed:>16}"),
        };
        paper.line(&text, Style::new())
    };
    let head = row("API", "window passed", "window", "capacity used");
    let mut lines = vec![head.style(paper.look.quiet())];
    for profile in used(summary) {
        let left = profile.lower_bound_until - now;
        let passed = if left > 0.0 {
            format!("in {}", span(left))
        } else {
            "yes".to_owned()
        };
        let share = sum(&profile.tokens) as f64 / profile.capacity.max(1) as f64;
        let share = format!("{:.1} %", share * 100.0);
        lines.push(row(
            &profile.api.shown(),
            &passed,
            &span(profile.window_s),
            &share,
        ));
        if let Some(tokens) = by_status(profile) {
            lines.push(paper.line(&format!("  {tokens}"), paper.look.quiet()));
        }
    }
    lines
}

/// How many tokens of each status; `None`: it has none.
fn by_status(profile: &ProfileUse) -> Option<String> {
    let some = profile.tokens.iter().filter(|(_, count)| **count > 0);
    let some = some.map(|(status, number)| match status.raw() {
        "in_flight" => format!("{} open", count(*number)),
        _ => format!("{} {status}", count(*number)),
    });
    let some: Vec<_> = some.collect();
    (!some.is_empty()).then(|| some.join(", "))
}

/// A line if there are none, else one for each with what it means.
fn named_counts(title: &str, counts: &Counts, paper: &Paper) -> Vec<Line<'static>> {
    let some: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    let heading = format!("{title:20} ");
    if some.is_empty() {
        return paper.paragraph(&heading, "none", Style::new());
    }
    let mut lines = Vec::new();
    for (i, (name, number)) in some.into_iter().enumerate() {
        let meaning = MEANINGS.iter().find(|(known, _)| *known == name.raw());
        let meaning = meaning.map_or(String::new(), |(_, meaning)| format!(": {meaning}"));
        let text = format!("{} {}{meaning}", count(*number), words(&name.shown()));
        let heading = if i == 0 {
            heading.clone()
        } else {
            " ".repeat(heading.len())
        };
        lines.extend(paper.paragraph(&heading, &text, paper.look.severity("warning")));
    }
    lines
}
