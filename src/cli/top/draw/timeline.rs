//! One token's life: attempts, gaps, lease and window to scale, and what was found about it.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Paper;
use crate::cli::top::answer::{Attempt, Finding, Foreign, Life, sender};
use crate::cli::top::state::{Over, State};
use crate::cli::top::text::{clock, counted, span, words};

/// The time that the drawing shows, and its columns.
struct Space {
    from: f64,
    to: f64,
    columns: usize,
}

impl Space {
    fn of(life: &Life, whole_window: bool, now: f64, columns: usize) -> Self {
        let from = begin(life);
        let last = last_moment(life, now);
        let window = life
            .window_end()
            .unwrap_or(life.token.first_start + life.window_s);
        let to = if whole_window { last.max(window) } else { last };
        // An instant has no length to divide by; nothing is longer than the eye can follow.
        let length = (to - from).clamp(0.001, 1e10) * 1.03;
        Self {
            from,
            to: from + length,
            columns: columns.max(1),
        }
    }

    fn column(&self, at: f64) -> usize {
        let share = ((at - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        let column = (share * self.columns as f64) as usize;
        column.min(self.columns - 1)
    }
}

fn begin(life: &Life) -> f64 {
    let starts = life.attempts.iter().map(|attempt| attempt.start);
    starts.fold(life.token.first_start, f64::min)
}

fn last_moment(life: &Life, now: f64) -> f64 {
    let ends = life.attempts.iter();
    let ends = ends.map(|attempt| attempt.end.unwrap_or(attempt.start.max(now)));
    let found = life.findings.iter().map(|finding| finding.at);
    ends.chain(found).fold(life.token.first_start, f64::max)
}

/// Whether the whole window can be drawn without making the attempts too small to tell apart.
pub fn fits_window(life: &Life) -> bool {
    let window = life
        .window_end()
        .unwrap_or(life.token.first_start + life.window_s);
    window - begin(life) <= 6.0 * (last_moment(life, 0.0) - begin(life))
}

pub fn body(state: &mut State, paper: &Paper) -> Vec<Line<'static>> {
    let now = state.now();
    let life = match &state.life {
        Some((name, life)) if Some(name) == state.life_name() => life.clone(),
        _ => {
            return vec![
                Line::default(),
                paper.line("Asking for the token.", paper.look.quiet()),
            ];
        }
    };
    let Some(Over::Life(view)) = state.over.last_mut() else {
        return Vec::new();
    };
    let Some(life) = life else {
        let text = format!(
            "The token {} of {} is not known, or no longer.",
            view.name.token, view.name.api
        );
        return paper.paragraph("", &text, paper.look.loud());
    };
    let whole = view.whole_window.unwrap_or_else(|| fits_window(&life));
    let space = Space::of(&life, whole, now, paper.cells.saturating_sub(2));
    let mut lines = Vec::new();
    if paper.rows >= 12 {
        lines.extend(facts(&life, now, paper));
    }
    lines.push(axis(&life, &space, paper));
    lines.push(window(&life, &space, paper));
    if paper.rows >= 14 {
        lines.push(legend(whole, paper));
    }
    let room = paper.rows.saturating_sub(lines.len());
    let entries = entries(&life, &space, now, view.cursor.index, paper);
    let heights: Vec<usize> = entries.iter().map(Vec::len).collect();
    view.cursor.place(
        entries.len(),
        fitting(&heights, view.cursor.top, view.cursor.index, room),
    );
    let first = view.cursor.top;
    let seen = entries.into_iter().skip(first).flatten();
    lines.extend(seen.take(room));
    lines
}

/// Entries that fit from `top` on; if the chosen one is below, those that fit above it.
fn fitting(heights: &[usize], top: usize, chosen: usize, room: usize) -> usize {
    let count = |heights: &mut dyn Iterator<Item = &usize>| {
        let mut used = 0;
        heights
            .take_while(|height| {
                used += **height;
                used <= room
            })
            .count()
            .max(1)
    };
    let down = count(&mut heights.iter().skip(top));
    if chosen < top + down {
        return down;
    }
    count(&mut heights[..(chosen + 1).min(heights.len())].iter().rev())
}

fn facts(life: &Life, now: f64, paper: &Paper) -> Vec<Line<'static>> {
    let token = &life.token;
    let scope = match token.scope.raw() {
        "" => String::new(),
        _ => format!("  scope {}", token.scope),
    };
    let style = if token.stuck {
        paper.look.severity("error")
    } else {
        Style::new()
    };
    let text = format!("{}  {}{scope}", token.token, token.api);
    let first = Line::from(vec![
        Span::styled("Token ", paper.look.head()),
        Span::raw(
            paper
                .left(&text, paper.cells.saturating_sub(6))
                .trim_end()
                .to_owned(),
        ),
    ]);
    let began = clock(token.first_start, now);
    let status = format!(
        "{}, lifecycle {} since {began} ({} ago), {}",
        token.status_words(),
        token.lifecycle,
        span(now - token.first_start),
        counted(life.attempts.len() as u64, "attempt"),
    );
    let lease = span(life.lease_s);
    let window = format!(
        "{}; lease {lease}; forgotten at {}",
        window_text(life, now),
        clock(token.expires, now)
    );
    let mut lines = vec![first];
    lines.extend(paper.paragraph("Now   ", &status, style));
    lines.extend(paper.paragraph("Rules ", &window, Style::new()));
    lines
}

fn window_text(life: &Life, now: f64) -> String {
    let length = span(life.window_s);
    match life.window_end() {
        None => format!("window {length} after the first completion, which has not been seen"),
        Some(end) if end < now => format!("window {length}, ended {} ago", span(now - end)),
        Some(end) => format!("window {length}, ends in {}", span(end - now)),
    }
}

/// Times at round steps.
fn axis(life: &Life, space: &Space, paper: &Paper) -> Line<'static> {
    let length = space.to - space.from;
    let step = round_step(length * 12.0 / space.columns as f64);
    let mut text = String::from("  ");
    let mut at = 0.0;
    while at <= length {
        let column = 2 + space.column(space.from + at);
        let label = if at == 0.0 {
            clock(begin(life), begin(life))
        } else {
            format!("|+{}", span(at))
        };
        if super::width(&text) <= column && column + label.len() <= paper.cells {
            text += &" ".repeat(column - super::width(&text));
            text += &label;
        }
        at += step;
    }
    paper.line(&text, paper.look.quiet())
}

/// The next round length of time.
fn round_step(wish: f64) -> f64 {
    // A table: without logarithms the program needs no libm, which an idle sidecar would keep in memory.
    const STEPS: [f64; 25] = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
        60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0, 43_200.0, 86_400.0,
    ];
    let long_enough = STEPS.into_iter().find(|step| *step >= wish);
    long_enough.unwrap_or(wish)
}

/// The server's memory of the token: sure, then the part that cannot be known exactly from here.
fn window(life: &Life, space: &Space, paper: &Paper) -> Line<'static> {
    let signs = paper.look.signs;
    let start = life.token.first_start;
    let sure = start + life.window_s;
    let end = life.window_end().unwrap_or(sure);
    let mut cells = vec![" "; space.columns];
    for (begun, ended) in life.earlier_windows() {
        fill(&mut cells, space, begun, ended, signs.window);
        cells[space.column(ended)] = signs.window_end;
    }
    fill(&mut cells, space, start, sure, signs.window);
    if end > sure {
        fill(&mut cells, space, sure, end, signs.edge);
    }
    let note = if end <= space.to {
        cells[space.column(end)] = signs.window_end;
        " window "
    } else {
        " window goes on > "
    };
    let mut text = cells.concat();
    // The word stands on the line, where the line is long enough.
    let at = space.column(start) + 2;
    let until = space.column(end.min(space.to));
    if until > at + note.len() + 2 {
        let place = if end <= space.to {
            at
        } else {
            until - note.len()
        };
        text = text
            .chars()
            .take(place)
            .chain(note.chars())
            .chain(text.chars().skip(place + note.len()))
            .collect();
    }
    paper.line(&format!("  {text}"), paper.look.good())
}

fn legend(whole: bool, paper: &Paper) -> Line<'static> {
    let signs = paper.look.signs;
    let scale = if whole { "whole window" } else { "attempts" };
    let text = format!(
        "  {} applied {} refused {} unclear {} open {} lease {} finding   scale: {scale}",
        signs.applied, signs.refused, signs.unclear, signs.open, signs.lease, signs.mark
    );
    paper.line(&text, paper.look.quiet())
}

/// Writes a sign into all columns between two times.
fn fill(cells: &mut [&'static str], space: &Space, from: f64, to: f64, sign: &'static str) {
    if to < space.from || from > space.to {
        return;
    }
    let (from, to) = (space.column(from), space.column(to));
    cells[from..=to.max(from)].fill(sign);
}

/// The attempts, each in words and drawn, then the findings.
fn entries(
    life: &Life,
    space: &Space,
    now: f64,
    chosen: usize,
    paper: &Paper,
) -> Vec<Vec<Line<'static>>> {
    let mut before: Option<f64> = None;
    let mut all = Vec::new();
    for (i, attempt) in life.attempts.iter().enumerate() {
        let words = attempt_words(attempt, before, space, i == chosen, paper);
        let lane = lane(life, i, before, space, now, paper);
        // An open attempt overlaps whatever comes after it.
        let end = attempt.end.unwrap_or(f64::INFINITY);
        before = Some(before.map_or(end, |before| before.max(end)));
        all.push(vec![words, lane]);
    }
    let findings = life.findings.iter().rev().enumerate();
    all.extend(findings.map(|(i, finding)| {
        let is_chosen = life.attempts.len() + i == chosen;
        finding_lines(finding, is_chosen, i == 0, now, paper)
    }));
    all
}

fn attempt_words(
    attempt: &Attempt,
    before: Option<f64>,
    space: &Space,
    chosen: bool,
    paper: &Paper,
) -> Line<'static> {
    let start = span(attempt.start - space.from);
    let gap = match before {
        Some(end) if end <= attempt.start => {
            format!(", gap {}", span(attempt.start - end))
        }
        Some(_) => ", while one is open".to_owned(),
        None => String::new(),
    };
    let ended = match (attempt.end, &attempt.class) {
        (Some(end), Some(class)) => format!(
            "{} after {}",
            words(&class.shown()),
            span(end - attempt.start)
        ),
        (Some(end), None) => format!("closed after {}", span(end - attempt.start)),
        _ => "open".to_owned(),
    };
    let verdict = attempt
        .verdict
        .as_ref()
        .map_or(String::new(), Foreign::to_string);
    let who = sender(attempt.client.as_ref(), None);
    let call = attempt.call.as_ref();
    let call = call.map_or(String::new(), |call| format!("  call {call}"));
    let rest = paper.cells.saturating_sub(2);
    let facts = format!("#{} {ended}  {verdict}", attempt.number);
    let name = rest.saturating_sub(super::width(&facts) + 2).clamp(8, 40);
    let who = super::fit(&who, name, paper.look.signs.ellipsis).into_owned();
    // What is cut off at the right matters least.
    let text = format!("{who} {facts}  +{start}{gap}{call}");
    paper.row(
        chosen,
        vec![Span::raw(paper.left(&text, rest).trim_end().to_owned())],
    )
}

/// Outcomes by what they mean for the write.
fn meaning(attempt: &Attempt, paper: &Paper) -> (&'static str, Style) {
    let (signs, look) = (paper.look.signs, paper.look);
    match (attempt.end, attempt.class.as_ref().map(Foreign::raw)) {
        (None, _) => (signs.open, Style::new()),
        (_, Some("success")) => (signs.applied, look.good()),
        (_, Some("cancelled" | "throttled" | "rejected" | "mismatch")) => {
            (signs.refused, look.severity("error"))
        }
        _ => (signs.unclear, look.severity("warning")),
    }
}

/// One attempt drawn: the gap before it, its bar, its lease, its findings.
fn lane(
    life: &Life,
    i: usize,
    before: Option<f64>,
    space: &Space,
    now: f64,
    paper: &Paper,
) -> Line<'static> {
    let signs = paper.look.signs;
    let attempt = &life.attempts[i];
    let mut cells = vec![" "; space.columns];
    if let Some(before) = before.filter(|before| *before < attempt.start) {
        fill(&mut cells, space, before, attempt.start, signs.gap);
    }
    let lease = attempt.start + life.lease_s;
    fill(&mut cells, space, attempt.start, lease, signs.lease);
    if lease <= space.to {
        cells[space.column(lease)] = signs.lease_end;
    }
    let (bar, style) = meaning(attempt, paper);
    let end = attempt.end.unwrap_or(now.max(attempt.start));
    fill(&mut cells, space, attempt.start, end, bar);
    for finding in life
        .findings
        .iter()
        .filter(|finding| is_about(finding, attempt))
    {
        cells[space.column(finding.at)] = signs.mark;
    }
    let parts = cells.chunk_by(|a, b| a == b).map(|part| {
        let text = part.concat();
        if part[0] == bar {
            Span::styled(text, style)
        } else if part[0] == signs.mark {
            Span::styled(text, paper.look.loud())
        } else {
            Span::styled(text, paper.look.quiet())
        }
    });
    Line::from(
        std::iter::once(Span::raw("  "))
            .chain(parts)
            .collect::<Vec<_>>(),
    )
}

fn is_about(finding: &Finding, attempt: &Attempt) -> bool {
    finding.attempt == attempt.number
        && finding.client == attempt.client
        && finding.call == attempt.call
        && attempt.start <= finding.at + 0.001
}

fn finding_lines(
    finding: &Finding,
    chosen: bool,
    first: bool,
    now: f64,
    paper: &Paper,
) -> Vec<Line<'static>> {
    let severity = finding.severity.shown();
    let style = paper.look.severity(&severity);
    let confirmed = if finding.confirmed { "  confirmed" } else { "" };
    let mut lines = Vec::new();
    if first {
        lines.push(paper.heading("What was found about it, newest first"));
    }
    lines.push(paper.row(
        chosen,
        vec![
            Span::raw(format!("{} ", clock(finding.at, now))),
            Span::styled(format!("{severity} "), style),
            Span::styled(format!("{}{confirmed}", finding.verdict), style),
        ],
    ));
    lines.extend(paper.paragraph("    ", &finding.message.shown(), Style::new()));
    lines.extend(paper.paragraph("    Do: ", &finding.remedy.shown(), Style::new()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::look::Look;

    const PAPER: Paper = Paper {
        look: Look::new(false, false),
        cells: 42,
        rows: 20,
    };

    fn attempt(number: u64, start: f64, end: Option<f64>, class: &str) -> Attempt {
        Attempt {
            number,
            start,
            end,
            class: end.map(|_| class.into()),
            ..Attempt::default()
        }
    }

    fn life(attempts: Vec<Attempt>) -> Life {
        let mut life = Life {
            window_s: 60.0,
            lease_s: 8.0,
            attempts,
            ..Life::default()
        };
        life.window_anchor = "first_completed".into();
        life.token.first_start = 100.0;
        life
    }

    fn drawn(life: &Life, i: usize, before: Option<f64>) -> String {
        let space = Space {
            from: 100.0,
            to: 140.0,
            columns: 40,
        };
        lane(life, i, before, &space, 130.0, &PAPER).to_string()
    }

    #[test]
    fn an_attempt_is_drawn_to_scale() {
        let life = life(vec![
            attempt(1, 100.0, Some(104.9), "no_response"),
            attempt(2, 110.0, Some(113.9), "success"),
            attempt(3, 120.0, None, ""),
        ]);
        assert_eq!(drawn(&life, 0, None).trim_end(), "  ?????---|");
        assert_eq!(
            drawn(&life, 1, Some(104.9)).trim_end(),
            "      ......####----|"
        );
        assert_eq!(
            drawn(&life, 2, Some(113.9)).trim_end(),
            format!("{}{}{}", " ".repeat(15), ".".repeat(7), "=".repeat(11))
        );
    }

    #[test]
    fn the_window_has_an_edge_and_an_end() {
        let mut life = life(vec![attempt(1, 100.0, Some(110.0), "success")]);
        life.window_s = 20.0;
        life.token.first_success = Some(110.0);
        let space = Space {
            from: 100.0,
            to: 140.0,
            columns: 40,
        };
        let line = window(&life, &space, &PAPER).to_string();
        assert_eq!(line.trim_end(), "  == window ==========~~~~~~~~~~|");
        life.window_s = 600.0;
        let line = window(&life, &space, &PAPER).to_string();
        assert_eq!(
            line.trim_end(),
            format!("  {} window goes on > =", "=".repeat(21))
        );
    }

    #[test]
    fn the_whole_window_is_chosen_when_the_attempts_stay_readable() {
        let mut life = life(vec![attempt(1, 100.0, Some(112.0), "success")]);
        life.token.first_success = Some(112.0);
        assert!(fits_window(&life));
        life.window_s = 600.0;
        assert!(!fits_window(&life));
        // No attempt, no length, no number.
        life.attempts.clear();
        life.window_s = f64::NAN;
        for whole in [true, false] {
            let space = Space::of(&life, whole, f64::NAN, 0);
            assert_eq!(space.column(f64::INFINITY), 0);
        }
    }

    #[test]
    fn the_chosen_entry_fits() {
        assert_eq!(fitting(&[2, 2, 2, 5], 0, 0, 6), 3);
        assert_eq!(fitting(&[2, 2, 2, 5], 0, 3, 7), 2);
        assert_eq!(fitting(&[2, 2, 2, 5], 0, 3, 1), 1);
        assert_eq!(fitting(&[], 0, 0, 9), 1);
    }
}
