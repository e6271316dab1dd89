//! The demo's output as lines of text: the live frame, the final table.

use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::tally::Tally;
use crate::cli::terminal;
use crate::detect::finding::Finding;
use crate::detect::time::Timestamp;
use crate::detect::verdict::{Severity, Verdict};

/// Width of the longest name, `fresh_token_after_unknown`.
const NAME_COLUMNS: usize = 25;
/// Rows from which each verdict has one of its own in the live frame.
const ROWS_FULL: usize = 38;
/// Hints that a small terminal has room for.
const HINTS_SMALL: usize = 3;

/// Where lines are to fit, and whether in colour.
#[derive(Clone, Copy, Debug)]
pub struct Paper {
    /// Columns of a line.
    pub columns: usize,
    /// Lines of a frame.
    pub rows: usize,
    /// Whether to write colours.
    pub colour: bool,
}

/// Something to look at, and how.
#[derive(Clone, Debug)]
pub struct Hint {
    /// What it shows.
    pub label: &'static str,
    /// An address or a command.
    pub text: String,
}

/// All that a live frame shows.
pub struct View<'a> {
    /// The counts.
    pub tally: &'a Tally,
    /// When the demo began.
    pub begun: Timestamp,
    /// How long ago.
    pub elapsed: Duration,
    /// Where to look.
    pub hints: &'a [Hint],
    /// What the story tells now.
    pub scene: &'a str,
    /// Newest first; as many as a tall terminal shows.
    pub latest: &'a [Arc<Finding>],
}

/// The lines of a live frame, at most as many as there are rows.
pub fn frame(view: &View<'_>, paper: Paper) -> Vec<String> {
    let full = paper.rows >= ROWS_FULL;
    let mut lines = vec![title(view, paper)];
    let hints = if full { view.hints.len() } else { HINTS_SMALL };
    lines.extend(
        view.hints
            .iter()
            .take(hints)
            .map(|hint| hint_line(hint, paper)),
    );
    let mut row = Row::new(paper);
    row.put(Style::new().bold(), "now       ");
    row.put(Style::new(), view.scene);
    lines.push(row.text);
    if full {
        lines.push(String::new());
        lines.extend(table(view.tally, paper));
    } else {
        lines.extend(two_columns(view.tally, paper));
    }
    lines.push(totals(view.tally, paper));
    lines.push(String::new());
    let room = paper.rows.saturating_sub(lines.len());
    let latest = view.latest.iter().take(room);
    lines.extend(latest.map(|finding| finding_line(finding, view.begun, paper)));
    lines.truncate(paper.rows);
    lines
}

fn title(view: &View<'_>, paper: Paper) -> String {
    let (seen, all) = (view.tally.seen(), Verdict::ALL.len());
    let mut row = Row::new(paper);
    row.put(Style::new().bold(), "oncewatch demo");
    row.put(
        Style::new(),
        &format!("  {:.1} s  ", view.elapsed.as_secs_f64()),
    );
    let style = if seen == all {
        AnsiColor::Green.on_default().bold()
    } else {
        Style::new().bold()
    };
    row.put(style, &format!("{seen} of {all} verdicts seen"));
    row.put(Style::new(), "  Ctrl-C ends it");
    row.text
}

/// One line that says where to look.
pub fn hint_line(hint: &Hint, paper: Paper) -> String {
    let mut row = Row::new(paper);
    row.put(Style::new().bold(), &format!("{:<10}", hint.label));
    row.put(Style::new(), &hint.text);
    row.text
}

/// One verdict a line, with what it means.
pub fn table(tally: &Tally, paper: Paper) -> Vec<String> {
    let mut head = Row::new(paper);
    let columns = format!(
        "{:<NAME_COLUMNS$}  {:<8} {:>6}  {:>8}  when",
        "verdict", "severity", "count", "first at"
    );
    head.put(Style::new().underline(), &columns);
    let mut lines = vec![head.text];
    for verdict in Verdict::ALL {
        let mut row = Row::new(paper);
        let (count, first, style) = cells(tally, verdict);
        row.put(style, &format!("{verdict:<NAME_COLUMNS$}  "));
        let severity = verdict.severity();
        row.put(terminal::style(severity), &format!("{severity:<8}"));
        row.put(style, &format!(" {count:>6}  {first:>8}  "));
        row.put(Style::new().dimmed(), verdict.summary());
        lines.push(row.text);
    }
    lines
}

/// Two verdicts a line, with the severity as a letter.
fn two_columns(tally: &Tally, paper: Paper) -> Vec<String> {
    let columns = format!("  {:<NAME_COLUMNS$}{:>5}{:>6}", "verdict", "count", "first");
    let mut head = Row::new(paper);
    head.put(Style::new().underline(), &format!("{columns}  {columns}"));
    let half = Verdict::ALL.len().div_ceil(2);
    let (left, right) = Verdict::ALL.split_at(half);
    let mut lines = vec![head.text];
    for (i, &verdict) in left.iter().enumerate() {
        let mut row = Row::new(paper);
        for verdict in [Some(&verdict), right.get(i)].into_iter().flatten() {
            let (count, first, style) = cells(tally, *verdict);
            let severity = verdict.severity();
            row.put(terminal::style(severity), letter(severity));
            let first = first.replace(' ', "");
            let cells = format!(" {verdict:<NAME_COLUMNS$}{count:>5}{first:>6}  ");
            row.put(style, &cells);
        }
        lines.push(row.text);
    }
    lines
}

/// A verdict's count and first time as texts, and the style of its row.
fn cells(tally: &Tally, verdict: Verdict) -> (String, String, Style) {
    match tally.first(verdict) {
        None => ("-".into(), "-".into(), Style::new().dimmed()),
        Some(first) => {
            let first = format!("{:.1} s", first.as_secs_f64());
            (tally.count(verdict).to_string(), first, Style::new())
        }
    }
}

const fn letter(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "i",
        Severity::Warning => "W",
        Severity::Error => "E",
        Severity::Critical => "C",
    }
}

/// How many verdicts there were of each severity.
pub fn totals(tally: &Tally, paper: Paper) -> String {
    let mut row = Row::new(paper);
    row.put(Style::new().bold(), "total     ");
    for severity in Severity::ALL {
        row.put(terminal::style(severity), letter(severity));
        let count = terminal::grouped(tally.of_severity(severity));
        row.put(Style::new(), &format!(" {severity} {count}   "));
    }
    row.text
}

/// A finding in a line of its own.
fn finding_line(finding: &Finding, begun: Timestamp, paper: Paper) -> String {
    let mut row = Row::new(paper);
    let after = finding.at.since(begun).as_secs_f64();
    row.put(Style::new(), &format!("{after:>6.1} s  "));
    row.put(
        terminal::style(finding.severity()),
        letter(finding.severity()),
    );
    row.put(Style::new().bold(), &format!(" {}: ", finding.verdict));
    row.put(Style::new(), &terminal::printable(&finding.message));
    row.text
}

/// The first appearance of a verdict, with the sentence that tells of it.
pub fn appearance(verdict: Verdict, after: Duration, sentence: &str, paper: Paper) -> String {
    let mut row = Row::new(paper);
    let severity = verdict.severity();
    row.put(Style::new(), &format!("{:>6.1} s  ", after.as_secs_f64()));
    row.put(Style::new().bold(), &format!("{verdict:<NAME_COLUMNS$}  "));
    row.put(terminal::style(severity), &format!("{severity:<8}"));
    row.put(Style::new(), "  ");
    row.put(Style::new(), &terminal::printable(sentence));
    row.text
}

/// A line that ends where the paper does.
struct Row {
    text: String,
    room: usize,
    colour: bool,
}

impl Row {
    const fn new(paper: Paper) -> Self {
        Self {
            text: String::new(),
            room: paper.columns,
            colour: paper.colour,
        }
    }

    fn put(&mut self, style: Style, text: &str) {
        if self.room == 0 {
            return;
        }
        let length = text.chars().count();
        let fits = length <= self.room;
        let mut shown: String = text.chars().take(self.room - usize::from(!fits)).collect();
        if !fits {
            shown.push('…');
        }
        self.room -= length.min(self.room);
        if self.colour {
            self.text += &format!("{style}{shown}{style:#}");
        } else {
            self.text += &shown;
        }
    }
}

#[cfg(test)]
mod tests;
