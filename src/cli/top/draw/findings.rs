//! The latest findings, and all of the chosen one.

use ratatui::text::{Line, Span};

use super::Paper;
use crate::cli::top::answer::{Finding, sender};
use crate::cli::top::state::State;
use crate::cli::top::text::{clock, counted, span};
use crate::cli::top::wanted::SeverityFilter;

/// From this width on, the chosen one stands beside the list.
const BESIDE: usize = 130;

pub fn body(state: &mut State, paper: &Paper) -> Vec<Line<'static>> {
    let now = state.now();
    let head = head(state, paper);
    let shown: Vec<Finding> = state.findings.shown().into_iter().cloned().collect();
    if shown.is_empty() {
        let text = nothing(state);
        let mut lines = vec![head, Line::default()];
        lines.extend(paper.paragraph("", &text, paper.look.good()));
        return lines;
    }
    let room = paper.rows.saturating_sub(1);
    let is_beside = paper.cells >= BESIDE;
    let (list, detail) = if is_beside {
        let cells = paper.cells * 55 / 100;
        (
            Paper {
                cells,
                rows: room,
                ..*paper
            },
            Paper {
                cells: paper.cells - cells - 3,
                rows: room,
                ..*paper
            },
        )
    } else {
        let rows = (room * 13 / 20).clamp(1, 14);
        (
            Paper {
                rows: room - rows,
                ..*paper
            },
            Paper { rows, ..*paper },
        )
    };
    let cursor = &mut state.findings.cursor;
    cursor.place(shown.len(), list.rows);
    let rows = cursor
        .range()
        .map(|i| row(&shown[i], i == cursor.index, now, &list));
    let rows: Vec<_> = rows.collect();
    let detail = detail_lines(&shown[cursor.index], now, &detail);
    let mut lines = vec![head];
    if is_beside {
        lines.extend(beside(rows, detail, &list));
    } else {
        lines.extend(rows);
        lines.extend(detail);
    }
    lines
}

/// Two columns with a line between them.
fn beside(
    left: Vec<Line<'static>>,
    right: Vec<Line<'static>>,
    paper: &Paper,
) -> Vec<Line<'static>> {
    let rows = left.len().max(right.len());
    let mut left = left.into_iter();
    let mut right = right.into_iter();
    let join = |_| {
        let mut line = left.next().unwrap_or_default();
        let fill = paper.cells.saturating_sub(line.width());
        // The style of a chosen row must not reach the other column.
        let style = line.style;
        for span in &mut line.spans {
            span.style = style.patch(span.style);
        }
        line.style = ratatui::style::Style::new();
        line.push_span(Span::raw(format!("{} {} ", " ".repeat(fill), "│")));
        for span in right.next().unwrap_or_default().spans {
            line.push_span(span);
        }
        line
    };
    (0..rows).map(join).collect()
}

fn head(state: &State, paper: &Paper) -> Line<'static> {
    let findings = &state.findings;
    let mut text = "Latest findings".to_owned();
    if findings.severity != SeverityFilter::All {
        text += &format!("  severity {}", findings.severity.words());
    }
    if !findings.search.is_empty() {
        text += &format!("  search {}", super::super::text::visible(&findings.search));
    }
    let shown = findings.shown().len();
    if shown < findings.total() {
        text += &format!("  {shown} of {}", findings.total());
    }
    if let Some(position) = findings.cursor.position() {
        text += &format!("  {position}");
    }
    if let Some(waiting) = findings.waiting() {
        text += &format!("  HELD, {waiting} new: p goes on");
    }
    paper.line(&text, paper.look.head())
}

fn nothing(state: &State) -> String {
    let findings = &state.findings;
    if !findings.asked {
        "Asking for the findings.".to_owned()
    } else if findings.total() == 0 {
        "No findings: every use of a token so far was a healthy one. New ones appear here by \
         themselves."
            .to_owned()
    } else {
        let latest = counted(findings.total() as u64, "finding");
        format!(
            "None of the latest {latest} matches. s changes the severity, esc takes the search away."
        )
    }
}

fn row(finding: &Finding, chosen: bool, now: f64, paper: &Paper) -> Line<'static> {
    let severity = finding.severity.shown();
    let style = paper.look.severity(&severity);
    let time = clock(finding.at, now);
    let time = time.get(time.len().saturating_sub(8)..).unwrap_or_default();
    let confirmed = match finding.confirmed && paper.cells >= 100 {
        true => " confirmed",
        false => "",
    };
    // On a narrow screen the verdict says more than the severity.
    let mut spans = vec![Span::raw(format!("{time} "))];
    if paper.cells >= 60 {
        spans.push(Span::styled(format!("{severity:8} "), style));
    } else {
        let letter: String = severity.chars().take(1).collect();
        spans.push(Span::styled(format!("{} ", letter.to_uppercase()), style));
    }
    let verdict = finding.verdict.shown();
    let used = 2 + Line::from(spans.clone()).width();
    let verdict = paper.left(&verdict, 25.min(paper.cells.saturating_sub(used)));
    let rest = paper.cells.saturating_sub(used + 26);
    spans.push(Span::styled(verdict, style));
    if rest > 8 {
        let who = sender(finding.client.as_ref(), None);
        let text = format!("{who}{confirmed}  {}", finding.message.shown());
        let text = if paper.cells >= 60 { text } else { who };
        spans.push(Span::raw(format!(" {}", paper.left(&text, rest))));
    }
    paper.row(chosen, spans)
}

/// Everything about one finding, from the message on.
fn detail_lines(finding: &Finding, now: f64, paper: &Paper) -> Vec<Line<'static>> {
    let severity = finding.severity.shown();
    let look = paper.look;
    let plain = ratatui::style::Style::new();
    let confirmed = if finding.confirmed { ", confirmed" } else { "" };
    let at = clock(finding.at, now);
    let ago = span(now - finding.at);
    let mut lines = Vec::new();
    if paper.rows >= 6 {
        lines.push(paper.heading(&format!("{} ({severity}{confirmed})", finding.verdict)));
    }
    lines.extend(paper.paragraph("", &finding.message.shown(), look.severity(&severity)));
    lines.extend(paper.paragraph("Do     ", &finding.remedy.shown(), plain));
    let who = sender(finding.client.as_ref(), None);
    let call = finding.call.as_ref();
    let call = call.map_or(String::new(), |call| format!(", call {call}"));
    let by = format!(
        "{who}, attempt {}, {ago} ago at {at}{call}",
        finding.attempt
    );
    lines.extend(paper.paragraph("By     ", &by, plain));
    if let Some(holder) = &finding.holder {
        let who = sender(holder.client.as_ref(), None);
        let call = holder.call.as_ref();
        let call = call.map_or(String::new(), |call| format!(", call {call}"));
        let since = clock(holder.since, now);
        let before = span(finding.at - holder.since);
        let token = holder.token.as_ref();
        let token = token.map_or(String::new(), |token| format!(", token {token}"));
        let text = format!("{who} since {since}, {before} before{token}{call}");
        lines.extend(paper.paragraph("Holder ", &text, plain));
    }
    let scope = match finding.scope.raw() {
        "" => String::new(),
        _ => format!(", scope {}", finding.scope),
    };
    let token = format!("{} of {}{scope}", finding.token, finding.api);
    lines.extend(paper.paragraph("Token  ", &token, plain));
    if let Some(trace) = &finding.trace_id {
        lines.extend(paper.paragraph("Trace  ", &trace.shown(), plain));
    }
    if lines.len() > paper.rows && paper.rows > 0 {
        lines.truncate(paper.rows);
        let ellipsis = look.signs.ellipsis;
        let more = format!("{ellipsis} enter shows more");
        if let Some(last) = lines.last_mut() {
            *last = paper.line(&more, look.quiet());
        }
    }
    lines
}

/// The newest ones in a line each, under a heading, on so many rows.
pub fn latest(state: &State, paper: &Paper, rows: usize) -> Vec<Line<'static>> {
    let now = state.now();
    let mut lines = vec![paper.heading("Latest findings")];
    let shown = state.findings.newest(rows.saturating_sub(1));
    if shown.is_empty() {
        lines.push(paper.line("  none", paper.look.quiet()));
    }
    lines.extend(shown.iter().map(|finding| row(finding, false, now, paper)));
    lines
}

/// The newest ones in full, for a reader who has no keys.
pub fn in_full(state: &State, paper: &Paper, count: usize) -> Vec<Line<'static>> {
    let now = state.now();
    let mut lines = vec![paper.heading("Latest findings")];
    let shown = state.findings.newest(count);
    if shown.is_empty() {
        lines.push(Line::raw(nothing(state)));
    }
    let paper = Paper {
        rows: usize::MAX,
        ..*paper
    };
    for (i, finding) in shown.iter().enumerate() {
        if i > 0 {
            lines.push(Line::default());
        }
        lines.extend(detail_lines(finding, now, &paper));
    }
    lines
}
